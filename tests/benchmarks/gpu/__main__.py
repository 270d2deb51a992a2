"""`make gpu-check`: parts one after another, each a process; results as they come, then the page."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.gpu.data import ROOT, make_data
from benchmarks.gpu.exactness import exact
from benchmarks.gpu.inference import infer
from benchmarks.gpu.machine import environment
from benchmarks.gpu.measuring import Found, Job, read_results, tell
from benchmarks.gpu.page import page, table, verdicts
from benchmarks.gpu.preferences import dpo
from benchmarks.gpu.shapes import SHAPES, TINY
from benchmarks.gpu.supervised import sft
from benchmarks.gpu.where import profile

PARTS = {
    "environment": environment,
    "data": make_data,
    "exact": exact,
    "sft": sft,
    "dpo": dpo,
    "infer": infer,
    "profile": profile,
}
# What a part may take on a card.
SECONDS = {"environment": 60, "data": 90, "exact": 90, "sft": 200, "dpo": 150, "infer": 120, "profile": 120}
_LEAST = 20  # seconds in which a part is worth beginning
_TINY_FACTOR = 5  # on a busy CPU
# Targets are for the 3B, so it comes first after what tells whether anything is right. On an H100 its three parts take
# the nine minutes: the others come with `--shapes`, in another run.
_ON_A_CARD = (
    ("environment", "0.5B"), ("data", "0.5B"), ("exact", "0.5B"),
    *((part, shape) for shape in ("3B", "0.5B", "1.5B") for part in ("sft", "dpo", "infer", "profile")),
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; 2 where there is no GPU and `--tiny` was not asked for."""
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="one tiny shape, on any device: checks the check")
    parser.add_argument("--out", type=Path, help="page to write")
    parser.add_argument("--results", type=Path, default=Path("gpu-check.jsonl"), help="every result, as it comes")
    parser.add_argument("--limit", type=float, default=540, help="seconds that all parts may take together")
    parser.add_argument("--shapes", default=",".join(shape.name for shape in SHAPES), help="which, of %(default)s")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, of %(default)s")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--shape", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.part is not None:
        shape = next(shape for shape in (*SHAPES, TINY) if shape.name == chosen.shape)
        job = Job(part=chosen.part, shape=shape, is_tiny=chosen.tiny, folder=chosen.folder, results=chosen.results)
        with job.guarded(chosen.part):
            PARTS[chosen.part](job)
        return 0
    import torch

    if not chosen.tiny and not torch.cuda.is_available():
        sys.stderr.write(
            "error: `gpu-check` needs a CUDA device, this machine has none; `--tiny` tries it on the CPU\n"
        )
        return 2
    results = run_parts(chosen.results, plan=_plan(chosen), is_tiny=chosen.tiny, limit=chosen.limit)
    sys.stdout.write(f"{table(results)}\n\n{verdicts(results)}\n")
    if chosen.out is not None:
        chosen.out.write_text(page(results), encoding="utf-8")
    return 0


def _plan(chosen: argparse.Namespace) -> list[tuple[str, str]]:
    """Parts and their shapes, in order; data are made whatever is asked."""
    parts, shapes = {*chosen.parts.split(","), "data"}, chosen.shapes.split(",")
    if chosen.tiny:
        return [(part, TINY.name) for part in PARTS if part in parts]
    once = ("environment", "data", "exact")
    return [(part, shape) for part, shape in _ON_A_CARD if part in parts and (part in once or shape in shapes)]


def run_parts(file: Path, *, plan: Sequence[tuple[str, str]], is_tiny: bool, limit: float) -> list[Found]:
    """Every part within its own time and that of all; their results."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("", encoding="utf-8")
    end = time.monotonic() + limit
    with tempfile.TemporaryDirectory(dir=_memory_disk(), ignore_cleanup_errors=True) as scratch:
        for part, shape in plan:
            most = min(SECONDS[part] * (_TINY_FACTOR if is_tiny else 1), end - time.monotonic())
            told = Found(part=part, shape=shape, case=f"{part}, all of it")
            if most < _LEAST:
                tell(file, replace(told, missing="no time was left"))
                continue
            command = [sys.executable, "-m", "benchmarks.gpu", "--part", part, "--shape", shape]
            command += ["--folder", scratch, "--results", str(file), *(["--tiny"] if is_tiny else [])]
            began = time.monotonic()
            try:
                code = subprocess.run(command, env=_environment(scratch), timeout=most, check=False).returncode
            except subprocess.TimeoutExpired:
                tell(file, replace(told, missing=f"cut after {most:.0f} s"))
                continue
            ended = {"missing": f"its process ended with {code}"} if code else {}
            tell(file, replace(told, figures={"seconds": round(time.monotonic() - began, 1)}, **ended))
    return read_results(file)


def _memory_disk() -> str | None:
    """Where 10 GB of weights are read fastest."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _environment(scratch: str) -> dict[str, str]:
    """No network, no state of the user's; the repository beside what `PYTHONPATH` already names."""
    path = os.pathsep.join(filter(None, [str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH")]))
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    home = {"SCREENTEST_HOME": f"{scratch}/home", "SCREENTEST_CACHE": f"{scratch}/cache"}
    return {**os.environ, "PYTHONPATH": path, **quiet, **home}


if __name__ == "__main__":
    sys.exit(main())
