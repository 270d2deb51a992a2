"""What the machine has: device, packages by version, what it can reach at most, and what NF4 loses on it."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.gpu.measuring import GIB, Job, sync

PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl", "bitsandbytes", "datasets", "pydantic", "triton")
NEEDED = ("bitsandbytes", "trl", "datasets", "pydantic", "flash_attn")  # whose absence leaves cases out
_SIDE = 8192  # of the matrices whose product is the ceiling


def has(package: str) -> bool:
    """Whether a package can be imported; one that was built for another CUDA cannot."""
    if package == "bitsandbytes":
        from harness.models.quantization import import_bitsandbytes as load
    else:

        def load() -> None:
            importlib.import_module(package)

    try:
        load()
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def quantization() -> str:
    """`nf4` where bitsandbytes is, else `none`: nothing of 16 bits is called QLoRA."""
    return "nf4" if has("bitsandbytes") else "none"


def environment(job: Job) -> None:
    """Versions, device, ceilings, NF4's error."""
    versions = {name: found for name in PACKAGES if (found := _version(name)) is not None}
    left_out = [name for name in NEEDED if not has(name)]
    job.tell("versions", python=sys.version.split()[0], **versions, left_out=left_out)
    if job.device == "cuda":
        with job.case("device") as figures:
            figures |= _device()
        with job.case("ceilings") as figures:
            figures |= _ceilings()
    with job.case("NF4") as figures:
        figures |= _nf4(job.device)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device() -> dict[str, Any]:
    import torch

    card = torch.cuda.get_device_properties(0)
    return {"name": card.name, "gib": round(card.total_memory / GIB, 1), "capability": f"{card.major}.{card.minor}"}


def _ceilings() -> dict[str, Any]:
    """What no kernel can be faster than: a large product in bfloat16, a large copy."""
    import torch

    a = torch.randn(_SIDE, _SIDE, device="cuda", dtype=torch.bfloat16)
    source = torch.empty(2 * GIB, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    seconds = []
    runs: list[Callable[[], Any]] = [lambda: a @ a, lambda: target.copy_(source)]
    for run in runs:
        for _ in range(3):
            run()
        sync("cuda")
        began = time.perf_counter()
        for _ in range(10):
            run()
        sync("cuda")
        seconds.append((time.perf_counter() - began) / 10)
    product, copy = seconds
    return {"bf16_tflops": round(2 * _SIDE**3 / product / 1e12, 1), "copy_tb_per_s": round(4 * GIB / copy / 1e12, 2)}


def _nf4(device: str) -> dict[str, Any]:
    import torch

    from harness.models.quantization import import_bitsandbytes

    import_bitsandbytes()
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    weights = torch.randn(512, 512, generator=torch.Generator().manual_seed(0)).to(device)
    packed, state = quantize_4bit(weights, quant_type="nf4", compress_statistics=True)
    error = (dequantize_4bit(packed, state) - weights).norm() / weights.norm()
    return {"relative_error": round(float(error), 4)}
