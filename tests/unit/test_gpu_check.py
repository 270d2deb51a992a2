"""The GPU check on a tiny shape: every case runs, and what was not measured is not claimed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.gpu import preferences, supervised
from benchmarks.gpu.__main__ import PARTS, main
from benchmarks.gpu.inference import case_of
from benchmarks.gpu.measuring import Clock, Found, Job, StepClock, read_results, tell
from benchmarks.gpu.page import TARGETS, page, verdict
from benchmarks.gpu.shapes import SHAPES, TINY
from stories import REPOSITORY

from harness.types import Progress

CARD = Found(part="environment", shape="0.5B", case="device", figures={"name": "H100", "gib": 79.2})
SFT, BESIDE_BARE, SFT_MEMORY, DPO, DPO_MEMORY, REPLIES = TARGETS


def _found(case: str, **figures: Any) -> Found:
    return Found(part="sft", shape="3B", case=case, figures={"quantization": "nf4", **figures})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of libraries that it compares us with
def test_the_check_runs_whole_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part in this process, which has the libraries loaded; that parts have processes of their own is below."""

    def here(command: list[str], env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        for name in ("SCREENTEST_HOME", "SCREENTEST_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.setenv(name, env[name])
        return subprocess.CompletedProcess(command, main(command[3:]))

    out, results = tmp_path / "gpu.md", tmp_path / "results.jsonl"
    monkeypatch.setattr(subprocess, "run", here)
    assert main(["--tiny", "--out", str(out), "--results", str(results)]) == 0
    found = {result.case: result for result in read_results(results)}
    assert {case: result.missing for case, result in found.items() if result.missing} == {}
    assert {f"{part}, all of it" for part in PARTS} <= found.keys()
    for case in (*(t.case for t in TARGETS), *(t.over for t in TARGETS if t.over is not None), supervised.PADDED):
        assert max(found[case].figures.get(name, 0) for name in ("tokens_per_s", "new_tokens_per_s")) > 0, case
    exact = found["exact, float32, sdpa"].figures
    assert max(exact["packed_logits"], exact["packed_nats"], exact["tree_nats"]) < 1e-4 < exact["without_isolation"]
    agreement = found["greedy replies, alone and in a batch"].figures
    assert agreement["alone_equals_batch"] == agreement["batch_repeats"] == agreement["of"] == 16
    text = out.read_text()
    assert text.count("not measured: no GPU") == len(TARGETS)
    assert "says nothing of a GPU" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "needs a CUDA device" in capsys.readouterr().err


def test_the_shapes_have_the_sizes_that_are_published_and_a_recipe_each() -> None:
    for shape, millions in zip(SHAPES, (494, 1544, 3086), strict=True):
        width, d_kv = shape.hidden, shape.hidden // shape.heads * shape.kv_heads
        attention = 2 * width * width + 2 * width * d_kv + width + 2 * d_kv
        layer = attention + 3 * width * shape.intermediate + 2 * width
        assert round((shape.vocabulary * width + shape.layers * layer + width) / 1e6) == millions
        assert all((REPOSITORY / "experiments" / "recipes" / m / shape.recipe).is_file() for m in ("sft", "dpo"))


def test_what_goes_wrong_in_a_case_is_its_result_and_a_torn_line_is_none(tmp_path: Path) -> None:
    job = Job(part="sft", shape=TINY, is_tiny=True, folder=tmp_path, results=tmp_path / "results.jsonl")
    errors = (torch.OutOfMemoryError("CUDA out of memory. Tried"), ImportError("no", name="trl"), ValueError("a\nb"))
    for error in errors:
        with job.case(type(error).__name__):
            raise error
    with job.case("well") as figures:
        figures["tokens_per_s"] = 1.0
    with job.results.open("a") as file:
        file.write('{"part": "sft", "sha')
    *failed, well = read_results(job.results)
    assert [found.missing for found in failed] == ["out of memory", "trl is not installed", "ValueError: a b"]
    assert (well.figures, well.missing) == ({"tokens_per_s": 1.0}, "")


def test_a_step_clock_ticks_at_the_beginning_and_after_each_whole_step() -> None:
    clock = StepClock("cpu", tokens=[30, 20])
    for done in (0, 10, 30, 45, 50, 50):
        clock(Progress(done=done, total=50, unit="tokens"))
    assert len(clock.moments) == 3


def test_rates_leave_the_first_step_out_and_the_whole_does_not() -> None:
    clock = Clock("cpu")
    clock.moments = [0.0, 8.0, 10.0, 11.0]
    found = clock.rates([100, 100, 100])
    assert (found["tokens_per_s"], found["slowest"], found["fastest"]) == (round(200 / 3, 1), 50.0, 100.0)
    assert found["whole_tokens_per_s"] == round(300 / 11, 1)
    clock.moments = [0.0, 8.0]
    with pytest.raises(ValueError, match="two steps"):
        clock.rates([100])


def test_verdicts_are_ratios_and_peaks_of_the_largest_shape() -> None:
    results = [
        CARD,
        _found(supervised.PRODUCT, tokens_per_s=95.0),
        _found(supervised.TRL, tokens_per_s=100.0),
        _found(supervised.BARE, tokens_per_s=100.0),
        _found(supervised.CAPPED, peak_gib=7.4),
        _found(preferences.PRODUCT, tokens_per_s=400.0, whole_tokens_per_s=210.0),
        _found(preferences.TRL, tokens_per_s=100.0, whole_tokens_per_s=100.0),
        Found(part="dpo", shape="3B", case=preferences.CAPPED, missing="out of memory"),
        _found(case_of(64, is_ours=True), new_tokens_per_s=70.0),
        _found(case_of(64, is_ours=False), new_tokens_per_s=100.0),
    ]
    assert verdict(SFT, results) == ("0.95", "missed")
    assert verdict(BESIDE_BARE, results) == ("0.95", "met")
    assert verdict(SFT_MEMORY, results) == ("7.95 GB", "met")  # 7.4 · 2³⁰ / 10⁹
    assert verdict(DPO, results) == ("2.10", "met")  # with the reference, not without it
    assert verdict(DPO_MEMORY, results) == ("out of memory", "missed")
    assert verdict(REPLIES, results) == ("0.70", "met")
    assert "| SFT in 8 GB | under 8 GB | 7.95 GB | met |" in page(results)


def test_nothing_is_judged_without_4_bit_bases_a_card_or_both_figures() -> None:
    sixteen = [
        CARD, _found(supervised.PRODUCT, tokens_per_s=9.0, quantization="none"),
        _found(supervised.TRL, tokens_per_s=1.0),
    ]  # fmt: skip
    assert verdict(SFT, sixteen)[1].startswith("not judged: bitsandbytes is not there")
    assert verdict(SFT, sixteen[1:]) == ("", "not measured: no GPU")
    assert verdict(SFT, sixteen[:2]) == ("", "not measured: time ran out")
    absent = Found(part="sft", shape="3B", case=supervised.TRL, missing="trl is not installed")
    assert verdict(SFT, [*sixteen[:2], absent]) == ("", "not measured: trl is not installed")


def test_a_part_that_outlives_its_time_is_cut_the_next_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import benchmarks.gpu.__main__ as check

    monkeypatch.setattr(check, "_LEAST", 0.2)
    monkeypatch.setattr(check, "PARTS", dict.fromkeys(("environment", "data")))
    found = check.run_parts(
        tmp_path / "results.jsonl", plan=[("environment", "tiny"), ("data", "tiny")], is_tiny=True, limit=0.3
    )
    assert [result.missing for result in found] == ["cut after 0 s", "no time was left"]
    tell(tmp_path / "results.jsonl", CARD)
    assert read_results(tmp_path / "results.jsonl")[-1] == CARD
