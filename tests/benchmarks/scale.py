"""1.2 million synthetic scores as the stages store them, and the analysis of them in a process of its own.

    python tests/benchmarks/scale.py make FOLDER      10,000 prompts × 6 variants × 5 draws × 4 criteria
    python tests/benchmarks/scale.py analyse FOLDER   findings and report; prints seconds of each part and peak memory

The files are written in columns here: only reading and analysing them is measured.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

N_PROMPTS, N_FILMS, N_DRAWS = 10_000, 400, 5
VARIANTS = ("base", "sft", "neftune", "dpo", "control", "large")
CRITERIA = ("coherence", "consistency", "fluency", "relevance")
JUDGE = "geval-exact-0123456789ab"
SHIFTS = dict(zip(VARIANTS, (0.0, 0.15, 0.16, 0.35, 0.0, 0.5), strict=True))  # of the latent quality
MISSING = 0.01


def prompt_id(prompt: int) -> str:
    """As `prepare` names prompts."""
    return f"m{prompt % N_FILMS}:L{prompt}"


def make(folder: Path) -> None:
    """Write generations and scores."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from harness.judging.scored import ScoredGeneration
    from harness.store.artifacts import arrow_schema, write_json, write_manifest
    from harness.types import Generation

    rng = np.random.default_rng(0)
    prompts = np.repeat(np.arange(N_PROMPTS), N_DRAWS)
    draws = np.tile(np.arange(N_DRAWS), N_PROMPTS)
    ids = pa.array([prompt_id(int(p)) for p in prompts])
    films = pa.array([f"m{p % N_FILMS}" for p in prompts])
    n = len(prompts)
    film, own = rng.normal(size=N_FILMS), rng.normal(size=N_PROMPTS)
    parts = []
    for variant in VARIANTS:
        lengths = rng.integers(4, 64, size=n)
        generations = {
            "prompt_id": ids,
            "variant": pa.array([variant] * n),
            "draw": draws,
            "text": pa.array(["so nobody kept a letter for you, my dear " * (length // 10 + 1) for length in lengths]),
            "seed": draws,
            "n_tokens": lengths,
            "finish_reason": np.where(rng.random(n) < 0.05, "length", "stop"),
            "cluster": films,
        }
        _write(folder / f"generate-{variant}", "generations.parquet", generations, Generation)
        for criterion in CRITERIA:
            quality = 0.3 * film[prompts % N_FILMS] + 0.6 * own[prompts] + SHIFTS[variant] + rng.normal(size=n)
            parts.append(_scores(variant, criterion, ids, films, draws, quality, rng))
    target = folder / "judge"
    target.mkdir(parents=True)
    pq.write_table(
        pa.concat_tables([p.cast(arrow_schema(ScoredGeneration)) for p in parts]),
        target / "scores.parquet",
        compression="zstd",
    )
    write_manifest(target)
    prepared = folder / "prepared"
    prepared.mkdir()
    counts = {"n_clusters": N_FILMS, "n_conversations": N_PROMPTS, "windows": {"n_prompts": N_PROMPTS}}
    summary: dict[str, Any] = {
        "corpus": "synthetic", "corpus_digest": "0" * 64, "cluster_unit": "film", "verdict_limit": None, "notes": [],
        "splits": dict.fromkeys(("train", "validation", "test"), counts),
        "left_out": {}, "repaired": {}, "skipped": {}, "seen": {},
    }  # fmt: skip
    write_json(prepared / "summary.json", summary)
    write_json(prepared / "clusters.json", [{"id": f"m{i}", "title": f"Film {i}"} for i in range(N_FILMS)])
    write_manifest(prepared)


def _scores(variant: str, criterion: str, ids: Any, films: Any, draws: Any, quality: Any, rng: Any) -> Any:
    import pyarrow as pa

    n = len(draws)
    shares = np.exp(-((np.arange(1, 6) - 3 - quality[:, None]) ** 2))
    shares /= shares.sum(axis=1, keepdims=True)
    is_missing = rng.random(n) < MISSING
    empty = pa.nulls(n)
    columns = {
        "prompt_id": ids,
        "variant": pa.array([variant] * n),
        "draw": draws,
        "cluster": films,
        "criterion": pa.array([criterion] * n),
        "judge_id": pa.array([JUDGE] * n),
        "value": pa.array(shares @ np.arange(1, 6), mask=is_missing),
        "status": np.where(is_missing, "low_mass", "ok"),
        "probabilities": pa.array(list(shares)),
        "mass": shares.max(axis=1),
        "entropy": shares.min(axis=1),
        "total": empty,
        "n_tokens": empty,
        "mode": pa.array(["exact"] * n),
        "reason": pa.array([""] * n),
        "item_id": pa.array([f"{variant}{i:08x}" for i in range(n)]),
    }
    return pa.table(columns)


def _write(folder: Path, name: str, columns: dict[str, Any], kind: type) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from harness.store.artifacts import arrow_schema, write_manifest

    folder.mkdir(parents=True)
    n = len(columns["prompt_id"])
    columns |= {f.name: pa.array([f.default] * n) for f in fields(kind) if f.name not in columns}
    pq.write_table(pa.table(columns).cast(arrow_schema(kind)), folder / name, compression="zstd")
    write_manifest(folder)


def analyse(folder: Path) -> dict[str, Any]:
    """The stage that `screentest evaluate` ends with, on the stored rows."""
    import pipelines  # noqa: F401  (what prepares data is named by it)
    from harness.experiment.analyse import analyse_stage
    from harness.experiment.session import Session
    from harness.models.memory import peak_bytes
    from harness.reporting.ablation_record import Work
    from harness.reporting.finished_reports import RECORD
    from harness.settings import Settings
    from harness.store.tracking import Tracking

    began = time.perf_counter()
    session = Session(tracking=Tracking(Settings.from_environment({"SCREENTEST_HOME": str(folder / "home")})))
    _ = session.tracking.client  # making an empty store is no part of an analysis
    marks = {"store": time.perf_counter() - began}
    began = time.perf_counter()
    design, plan, collected = _collected(folder)
    marks["read"] = time.perf_counter() - began
    work = Work(
        executor="this process", n_workers=1, n_stages=0, n_reused=0, n_retries=0, stage_seconds=0, wall_seconds=0
    )
    record = analyse_stage(session, design, plan=plan, collected=collected, profile=None, work=work)
    marks["all"] = time.perf_counter() - began
    (page,) = (session.done[-1].folder / RECORD,)
    return {
        "seconds": {name: round(value, 2) for name, value in marks.items()},
        "peak_gb": round(peak_bytes() / 1e9, 2),
        "report_mb": round(sum(p.stat().st_size for p in page.parent.glob("report.*")) / 1e6, 2),
        "rows": sum(len(arm.rows) for seeded in collected.arms for arm in seeded.by_seed.values()),
        "findings": [[f.name, f.variant or f.contrast, f.estimate.n, f.estimate.n_missing, f.estimate.value,
                      f.verdict.label if f.verdict else None] for f in record.findings],
        "missing": [[row.what, row.n, row.of] for row in record.missing],
        "samples": len(record.samples),
    }  # fmt: skip


def _collected(folder: Path) -> tuple[Any, Any, Any]:
    from harness.config import parse
    from harness.experiment.analysis.seeded import SeededArm
    from harness.experiment.collect import CellRows, Collected
    from harness.experiment.design import EvaluationDesign
    from harness.experiment.graph import Cell, Plan
    from harness.experiment.judges.judge_uses import JudgeUse
    from harness.experiment.measured_arms import SCORES, read_replies, score_arms
    from harness.judging.spec import load_judge_spec
    from harness.types import BaseModel, Message, Prompt, Qualification, Variant

    spec = load_judge_spec(Path(__file__).resolve().parents[2] / "experiments" / "judges" / "embedded-geval")
    design = parse(
        {
            "schema": 1,
            "name": "scale",
            "question": "Does a million scores fit?",
            "variants": {name: {"generations": f"{name}.jsonl"} for name in VARIANTS},
            "control": "base",
            "decoding": {"n_draws": N_DRAWS},
            "data": {"file": "test.jsonl", "prompts": N_PROMPTS},
            "measures": {
                name: {"judge": "j", "better": "higher", "smallest_effect": {"value": 0.1, "unit": "points"}}
                for name in CRITERIA
            },
            "contrasts": [{"name": f"{name}-base", "arms": [name, "base"]} for name in VARIANTS[1:]],
            "family": {"measures": list(CRITERIA)},
        },
        EvaluationDesign,
        where="scale",
    )
    judged = BaseModel(source="judge", revision=None, digest="1" * 64, family="judge")
    uses = {
        name: JudgeUse(
            criterion=name, spec=spec, base=judged, judge_id=JUDGE, is_self_family=False,
            status="qualified",
        )
        for name in CRITERIA
    }  # fmt: skip
    prompts = [
        Prompt(
            id=prompt_id(i), messages=(Message(role="user", content="Why?"),), split="test", cluster=f"m{i % N_FILMS}"
        )
        for i in range(N_PROMPTS)
    ]
    scored = _stage(folder / "judge")
    questions = design.questions({name: name for name in VARIANTS})
    cells = {
        name: Cell(
            name=name, arm=name, seed=7, prepared="p", adapter=None, settings={}, needs={}, generate=name
        )
        for name in VARIANTS
    }  # fmt: skip
    collected = Collected(
        arms=tuple(
            SeededArm(measure=arm.measure, arm=arm.variant, by_seed={7: arm}, is_trained=False, judge_id=JUDGE)
            for arm in score_arms(scored, measures=uses, variants=VARIANTS)
        ),
        margins=(),
        remarks={},
        ends=(),
        cells=tuple(
            CellRows(
                cell=cells[name],
                variant=Variant(name=name, kind="file", path=f"{name}.jsonl", digest=name),
                replies=read_replies(name, _stage(folder / f"generate-{name}")),
            )
            for name in VARIANTS
        ),
        lost={},
        prepared=_stage(folder / "prepared"),
        prompts=prompts,
        scores={scored.folder / SCORES: {name: (cell,) for name, cell in cells.items()}},
        uses=uses,
        qualifications=tuple(
            Qualification(judge_id=JUDGE, criterion=name, status="qualified", families=()) for name in CRITERIA
        ),
        compared=(),
        questions=questions,
        standing=(dict.fromkeys(VARIANTS, frozenset(question.digest for question in questions)),),
        absences=(),
        results={},
    )
    return design, Plan(tasks={}, cells=(), shipped=None, own={}, qualify={}), collected


def _stage(folder: Path) -> Any:
    from harness.store.artifacts import digest_folder
    from harness.store.tracking import StageResult

    return StageResult(
        name=folder.name, run_id=folder.name, source_run_id=folder.name, reused=False, folder=folder,
        digest=digest_folder(folder), fingerprint="", seconds=0.0, inputs={},
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]))
    else:
        print(json.dumps(analyse(Path(sys.argv[2]))))
