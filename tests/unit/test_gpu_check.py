"""The GPU check on tiny shapes: every case runs, and what was not measured is not claimed."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks.gpu.machine import look
from benchmarks.gpu.measuring import Measured, measure
from benchmarks.gpu.page import GIB, page, table, verdict
from benchmarks.gpu.shapes import SHAPES, TINY, write_checkpoint
from benchmarks.gpu.training import lengths, packed_rows, padded_rows
from stories import REPOSITORY, environment


@pytest.mark.slow
def test_the_check_runs_on_a_cpu_in_a_process_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "gpu.md"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--out", str(file)],
        cwd=REPOSITORY,
        env=environment(tmp_path, {"PYTHONPATH": str(REPOSITORY / "tests")}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| tiny")]
    assert len(rows) == 7
    assert sum("missing" in row for row in rows) == 1  # FlashAttention
    assert "has not been measured" in done.stdout
    assert "Left out: flash_attn" in file.read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.gpu.__main__ import main

    assert main([]) == 2
    assert "needs a CUDA device" in capsys.readouterr().err


def test_the_shapes_have_the_sizes_that_are_published() -> None:
    for shape, millions in zip(SHAPES, (494, 1544, 3086), strict=True):
        width, d_kv = shape.hidden, shape.hidden // shape.heads * shape.kv_heads
        attention = 2 * width * width + 2 * width * d_kv + width + 2 * d_kv
        layer = attention + 3 * width * shape.intermediate + 2 * width
        assert round((shape.vocabulary * width + shape.layers * layer + width) / 1e6) == millions


def test_a_checkpoint_has_the_parameters_of_its_shape(tmp_path: Path) -> None:
    n = write_checkpoint(TINY, tmp_path)
    width, d_kv = 64, 32
    layer = 2 * width * width + 2 * width * d_kv + width + 2 * d_kv + 3 * width * 128 + 2 * width
    assert n == 512 * width + 2 * layer + width


def test_packed_and_padded_rows_hold_the_same_exchanges() -> None:
    machine = look()
    many = lengths(200_000, seed=1)
    assert statistics.mean(many) == pytest.approx(38, rel=0.05)
    packed = packed_rows(TINY, machine, is_variable_length=True)
    assert packed["input_ids"].shape == (1, TINY.row_tokens)
    assert int((packed["position_ids"] == 0).sum()) == len(lengths(TINY.row_tokens))
    assert packed["cu_seq_lens_q"].tolist()[-1] == TINY.row_tokens
    assert int(padded_rows(TINY, machine)["attention_mask"].sum()) == TINY.row_tokens


def test_out_of_memory_is_a_result_and_no_figure_is_made_up() -> None:
    def step() -> int:
        raise torch.OutOfMemoryError

    found = measure("3B", "DPO", unit="tokens", step=step, device="cpu")
    assert (found.rate, found.missing) == (None, "out of memory")
    assert "missing: out of memory" in table([found])
    assert verdict([found]) == "Whether the 3B trains within 8 GiB has not been measured."


@pytest.mark.parametrize(("peak", "word"), [(7.9, "trains"), (8.1, "does not train")])
def test_the_verdict_is_the_highest_peak_of_training(peak: float, word: str) -> None:
    sft = Measured(model="3B", case="SFT", unit="tokens", rates=(1.0, 3.0, 2.0), peak=math.floor(peak * GIB))
    judge = Measured(model="3B", case="exact judge", unit="prompts", rates=(1.0,), peak=20 * GIB)
    text = page(look(), [sft, judge])
    assert f"The 3B {word} within 8 GiB" in text
    assert f"| 3B | SFT | 2.0 tokens/s | 1.0 – 3.0 | 3 | {peak:.2f} GiB |" in text
