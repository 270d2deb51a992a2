"""Where the time of an SFT step and of a decoding step goes, by torch's profiler: device beside Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.gpu.data import checkpoint, prepared
from benchmarks.gpu.inference import requests
from benchmarks.gpu.measuring import Job, sync
from benchmarks.gpu.supervised import asked_of

from harness.types import Decoding, Progress

_N_SHOWN = 12


def profile(job: Job) -> None:
    """The second step of a training, and sixteen tokens of 64 replies."""
    with job.case("profile of an SFT step") as figures:
        figures |= _sft(job)
    with job.case("profile of 16 tokens of 64 replies") as figures:
        figures |= _generation(job)


class _Profiled:
    """Profiles what happens between its beginning and its end."""

    def __init__(self, device: str) -> None:
        from torch.profiler import ProfilerActivity
        from torch.profiler import profile as profiler

        self._device = device
        both = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
        self._profiler = profiler(activities=both)
        self.seconds: float | None = None

    def begin(self) -> None:
        """From here."""
        sync(self._device)
        self._profiler.start()
        self._began = time.perf_counter()

    def end(self) -> None:
        """To here."""
        sync(self._device)
        self.seconds = round(time.perf_counter() - self._began, 3)
        self._profiler.stop()

    def figures(self) -> dict[str, Any]:
        """Seconds in all and on the device, kernels launched, and what took longest on each side."""
        from torch._C._autograd import DeviceType

        means: list[Any] = list(self._profiler.key_averages())
        # An operation's time on the device is that of its kernels, which are listed beside it.
        kernels = [op for op in means if op.device_type == DeviceType.CUDA and not op.is_user_annotation]
        device = sorted(kernels, key=lambda op: -op.self_device_time_total)[:_N_SHOWN]
        python = sorted(means, key=lambda op: -op.self_cpu_time_total)[:_N_SHOWN]
        return {
            "seconds": self.seconds,
            "device_seconds": round(sum(op.self_device_time_total for op in kernels) / 1e6, 3),
            "n_launches": sum(op.count for op in means if "LaunchKernel" in op.key),
            "on_device": [f"{op.key[:60]} {op.self_device_time_total / 1e3:.1f} ms in {op.count}" for op in device],
            "on_cpu": [f"{op.key[:60]} {op.self_cpu_time_total / 1e3:.1f} ms in {op.count}" for op in python],
        }


def _sft(job: Job) -> dict[str, Any]:
    from pipelines import sft as product

    asked, watched = asked_of(job), _Profiled(job.device)
    first, second = asked.tokens[0], sum(asked.tokens[:2])

    def follow(progress: Progress) -> None:
        if progress.done == first:
            watched.begin()
        elif progress.done == second and watched.seconds is None:
            watched.end()

    product.run(asked.recipe, prepared=prepared(job), folder=job.folder / f"{job.shape.name}-seen", on_progress=follow)
    return watched.figures()


def _generation(job: Job) -> dict[str, Any]:
    from harness.models.bases import resolve_base
    from harness.models.local import LocalModel

    local = LocalModel.load(resolve_base(str(checkpoint(job))))
    run: Callable[[], Any] = lambda: local.generate(  # noqa: E731
        requests(64), decoding=Decoding(max_new_tokens=16, temperature=1.0, top_p=1.0, seed=1)
    )
    run()
    watched = _Profiled(job.device)
    watched.begin()
    run()
    watched.end()
    return watched.figures()
