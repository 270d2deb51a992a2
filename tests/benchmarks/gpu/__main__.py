"""`make gpu-check`: measure, print, write the page."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.inference import infer
from benchmarks.gpu.machine import Machine, look
from benchmarks.gpu.measuring import NO_MEMORY, Measured, release
from benchmarks.gpu.page import page, table, verdict
from benchmarks.gpu.shapes import SHAPES, TINY, Shape, write_checkpoint
from benchmarks.gpu.training import dpo, sft


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; 2 where there is no GPU and `--tiny` was not asked for."""
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="one tiny shape, on any device: checks the check")
    parser.add_argument("--out", type=Path, help="page to write")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    machine = look()
    if machine.device == "cpu" and not chosen.tiny:
        sys.stderr.write(
            "error: `gpu-check` needs a CUDA device, this machine has none; `--tiny` tries it on the CPU\n"
        )
        return 2
    for name, why in machine.left_out.items():
        sys.stderr.write(f"left out: {name} ({why})\n")
    results: list[Measured] = []
    for shape in (TINY,) if chosen.tiny else SHAPES:
        for found in check(machine, shape):
            sys.stderr.write(table([found]).splitlines()[-1] + "\n")
            results.append(found)
    sys.stdout.write(f"{table(results)}\n\n{verdict(results)}\n")
    if chosen.out is not None:
        chosen.out.write_text(page(machine, results), encoding="utf-8")
    return 0


def check(machine: Machine, shape: Shape) -> Iterator[Measured]:
    """Every case of one shape; one that does not fit the memory, even to load, is a result like another."""
    import torch

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_checkpoint(shape, folder)
        for case, run in cases(machine, shape, folder):
            release(machine.device)
            try:
                yield from run()
            except torch.OutOfMemoryError:
                yield Measured(model=shape.name, case=case, unit="tokens", missing=NO_MEMORY)


def cases(machine: Machine, shape: Shape, folder: Path) -> Iterator[tuple[str, Callable[[], Sequence[Measured]]]]:
    """What is measured: the usual training, then one thing changed at a time, then DPO and inference."""
    best = machine.attention

    def train(
        case: str, *, attention: str = best, is_packed: bool = True, has_noise: bool = True
    ) -> tuple[str, Callable[[], Sequence[Measured]]]:
        options: dict[str, Any] = {"attention": attention, "is_packed": is_packed, "has_noise": has_noise}
        return case, lambda: [sft(machine, shape, folder, case=case, **options)]

    yield train(f"SFT, packed, NEFTune, {best}")
    yield train("SFT, without NEFTune", has_noise=False)
    yield train("SFT, padded", is_packed=False)
    if best == "sdpa":
        why = machine.left_out.get("flash_attn", "not there")
        absent = Measured(model=shape.name, case="SFT, FlashAttention", unit="tokens", missing=why)
        yield absent.case, lambda: [absent]
    else:
        yield train("SFT, sdpa", attention="sdpa")
    yield "DPO", lambda: [dpo(machine, shape, folder, attention=best)]
    yield "inference", lambda: infer(machine, shape, folder, attention=best)


if __name__ == "__main__":
    sys.exit(main())
