"""An invented report with invented figures, rich enough to look at. Nothing here was measured."""

from __future__ import annotations

import random
from dataclasses import replace

from harness.doors.text import repair_json
from harness.reporting.ablation_record import CurvePoint, LossCurve
from harness.reporting.record import (
    AuditRow,
    Cost,
    DataCard,
    Declaration,
    Distribution,
    JudgeRow,
    Line,
    Measure,
    MissingRow,
    ReportRecord,
    Sample,
    SampleReply,
    SampleScore,
    SplitRow,
    StageLine,
    VariantRow,
    distribution,
)
from harness.store.artifacts import from_json, to_json
from harness.types import (
    Contrast,
    ControlResult,
    Decoding,
    Estimate,
    Finding,
    Grain,
    Qualification,
    ScoreStatus,
    SmallestEffect,
    Source,
    Verdict,
)

VARIANTS = ("base", "base-shots", "sft")
RUNS = {"generate": "4c1d70a9be3f4f0c8b1c5f2f7a6e9d10", "judge": "a87e2b5cc0d14f1e9d7d0b6e3c2f4a51"}
LIKELIHOOD, GEVAL = "9f31c2d84b7a6e05d1c8", "02be77a1c9d3f4586aa0"


def estimate(value: float, low: float | None, high: float | None, **changes: object) -> Estimate:
    """An estimate on 60 rows of 12 films."""
    given = Estimate(
        value=value,
        low=low,
        high=high,
        level=0.95,
        n=60,
        n_clusters=12,
        n_missing=0,
        method="CR2 + Satterthwaite, paired by prompt",
        df=9.4,
    )
    return replace(given, **changes)  # type: ignore[arg-type]


def as_stored(record: ReportRecord) -> ReportRecord:
    """What can be read back: characters that no file can hold are repaired."""
    return from_json(ReportRecord, repair_json(to_json(record)).value)


def example_record() -> ReportRecord:
    """Three variants, five measures, two judges, missing rows, replies of every awkward kind."""
    return ReportRecord(
        title="Screentest quickstart",
        question="Does fine-tuning on film dialogue make a 134M model reply better on films it has not seen?",
        created="2026-11-22T18:04:11+00:00",
        run_id="d2f0c4a86b1e4a7f93c5e0b7a1d8f642",
        profile="quick",
        caveat="Twelve invented films and one training seed: enough to see a large effect on the held-out loss of "
        "human replies, too few to rank small ones.",
        findings=_findings(),
        contrasts=(
            Contrast(name="sft-base", arms=("sft", "base")),
            Contrast(name="sft-shots", arms=("sft", "base-shots")),
            Contrast(name="shots-base", arms=("base-shots", "base")),
        ),
        variants=_variants(),
        measures=_measures(),
        decoding=Decoding(),
        judges=(
            JudgeRow(
                judge_id=LIKELIHOOD,
                name="embedded-likelihood",
                description="Pointwise mutual information per reply token, SmolLM2-135M.",
                family="smollm2",
                mode="likelihood",
                is_self_family=True,
                exploratory_reason="It is the base model that the variants were made from.",
            ),
            JudgeRow(judge_id=GEVAL, name="qwen-geval", description="G-Eval, exact, Qwen 2.5 3B.", family="qwen2.5"),
        ),
        qualifications=_qualifications(),
        distributions=_distributions(),
        curves=(_curve("sft", 9), _curve("sft, no NEFTune", 12)),
        samples=_samples(),
        sampling="The first four prompts of a seeded shuffle of the test split; none was picked by hand.",
        missing=(
            MissingRow(
                what="fluency scores of sft", n=3, of=60, why="low mass: under 0.2 of the probability on the scale"
            ),
            MissingRow(what="coherence scores of base", n=1, of=60, why="empty reply"),
        ),
        stages=_stages(),
        data=DataCard(
            corpus="sample: 24 invented films",
            digest="5ac0de77f1" * 6,
            splits=(
                SplitRow(split="train", n_films=10, n_conversations=41, n_prompts=512),
                SplitRow(split="validation", n_films=2, n_conversations=8, n_prompts=101),
                SplitRow(split="test", n_films=12, n_conversations=47, n_prompts=60),
            ),
            n_duplicates_removed=3,
            warnings=("2 conversations have one line and give no prompt.",),
        ),
        audit=(
            AuditRow(label="No test prompt in training", is_passed=True, detail="0 of 60 test digests in the windows"),
            AuditRow(label="Loss on the reply only", is_passed=True, detail="12,044 of 61,870 tokens carry loss"),
            AuditRow(label="Adapter changes the logits", is_passed=None, detail="no probe prompt was given"),
        ),
        declaration=Declaration(status="before", digest="77d1e0b2c4f5" * 5, n_test_looks=2),
        limitations=(
            "Twelve films: effects that differ much from film to film could look smaller or larger than they are.",
            "The sample corpus is invented for this project and is not film dialogue as it was shot.",
            "No person has rated these replies.",
        ),
        config={
            "sft": {"base": "embedded", "neftune_alpha": 5, "lora": {"rank": 16, "targets": ["q_proj", "v_proj"]}},
            "decoding": {"max_new_tokens": 64, "temperature": 0.8},
        },
        versions={"python": "3.11.2", "torch": "2.13.0", "transformers": "5.17.0", "screentest": "0.1.0"},
        cost=Cost(seconds=431, device="2 CPU cores", peak_bytes=2_900_000_000, n_train_tokens=61_870),
    )


def _measures() -> tuple[Measure, ...]:
    return (
        Measure(
            name="heldout_loss",
            label="Held-out loss",
            unit="bits per byte",
            better="lower",
            description="How many bits the variant needs for each byte of the human reply.",
            phrase=("fits what people wrote better", "fits what people wrote worse"),
            remarks=("sft: What shows at a glance: nothing.",),
            smallest_effect=SmallestEffect(value=0.02, unit="bits_per_byte"),
            band=0.02,
            grain=Grain.PROMPT,
        ),
        Measure(name="coherence", label="Coherence", unit="nats per token", better="higher"),
        Measure(name="fluency", label="Fluency", unit="points", better="higher"),
        Measure(
            name="distinct_2",
            label="Distinct bigrams",
            unit="share",
            better="higher",
            smallest_effect=SmallestEffect(value=0.02, unit="share"),
            band=0.02,
        ),
        Measure(name="length", label="Reply length", unit="words", better=None),
    )


def _finding(name: str, unit: str, better: str | None, given: Estimate, **subject: object) -> Finding:
    stage = "judge" if name in ("coherence", "fluency") else "generate"
    who = subject.get("variant") or subject.get("contrast")
    source = Source(
        run_id=RUNS[stage],
        artifact="scores.parquet" if stage == "judge" else "heldout.parquet",
        where={"measure": name, "subject": str(who)},
        digest=("3be1f0" if stage == "judge" else "c09a44") * 10,
    )
    return Finding(name=name, unit=unit, better=better, estimate=given, sources=(source,), **subject)  # type: ignore[arg-type]


def _verdict(label: str, reason: str, **changes: object) -> Verdict:
    return Verdict(label=label, reason=reason, **changes)  # type: ignore[arg-type]


def _findings() -> tuple[Finding, ...]:
    loss, share = ("heldout_loss", "bits per byte", "lower"), ("distinct_2", "share", "higher")
    coherence, length = ("coherence", "nats per token", "higher"), ("length", "words", None)
    clear = "The whole interval lies below zero and beyond the smallest effect that matters."
    own_kind = "The judge shares weights with the variants."
    alone = {"method": "cluster bootstrap-t", "df": None}
    return (
        _finding(
            *loss,
            estimate(-0.214, -0.262, -0.166),
            contrast="sft-base",
            verdict=_verdict("better", clear, p_value=0.00002, p_adjusted=0.00006),
        ),
        _finding(
            *loss,
            estimate(-0.119, -0.181, -0.057),
            contrast="sft-shots",
            verdict=_verdict("better", clear, p_value=0.0016, p_adjusted=0.0032),
        ),
        _finding(
            *loss,
            estimate(-0.031, -0.078, 0.016),
            contrast="shots-base",
            verdict=_verdict(
                "inconclusive",
                "The interval holds zero and effects that matter.",
                p_value=0.17,
                p_adjusted=0.17,
                settle="about 31 films at the same spread between films.",
            ),
        ),
        *(
            _finding(*loss, estimate(v, v - 0.09, v + 0.1, **alone), variant=name)
            for name, v in zip(VARIANTS, (1.912, 1.817, 1.698), strict=True)
        ),
        _finding(
            *coherence,
            estimate(0.081, 0.012, 0.15, n=59, n_missing=1),
            contrast="sft-base",
            judge_id=LIKELIHOOD,
            verdict=_verdict("exploratory", own_kind, p_value=0.026),
        ),
        _finding(
            *coherence, estimate(0.204, 0.141, 0.262, n=59, n_missing=1, **alone), variant="base", judge_id=LIKELIHOOD
        ),
        _finding(*coherence, estimate(0.285, 0.2, 0.371, **alone), variant="sft", judge_id=LIKELIHOOD),
        _finding(
            "fluency",
            "points",
            "higher",
            estimate(0.02, -0.11, 0.15, n=57, n_missing=3),
            contrast="sft-base",
            judge_id=GEVAL,
            verdict=_verdict(
                "equivalent", "The interval lies within half a point of zero.", p_value=0.74, p_adjusted=0.74
            ),
        ),
        _finding(
            *share,
            estimate(-0.041, -0.066, -0.016),
            contrast="sft-base",
            verdict=_verdict("worse", "The whole interval lies below zero.", p_value=0.004, p_adjusted=0.008),
        ),
        _finding(*share, estimate(0.871, 0.842, 0.9, **alone), variant="base"),
        _finding(*share, estimate(0.83, 0.798, 0.861, **alone), variant="sft"),
        _finding(*length, estimate(11.4, 9.6, 13.3, **alone), variant="base"),
        _finding(*length, estimate(8.2, 7.1, 9.4, **alone), variant="sft"),
        _finding(
            *length,
            estimate(
                9.1, None, None, n=5, n_clusters=1, method="mean", df=None, notes=("one film: these replies only",)
            ),
            variant="base-shots",
        ),
    )


def _variants() -> tuple[VariantRow, ...]:
    described = ("the base alone", "the base with three exchanges as examples", "base + LoRA, NEFTune 5")
    return tuple(
        VariantRow(
            name=name,
            description=what,
            base="embedded SmolLM2-135M-Instruct",
            adapter="quickstart-sft/3" if name == "sft" else None,
            digest=f"{place}e" * 32,
            n_generations=60,
            cut_off=estimate(cut, max(cut - 0.06, 0.0), cut + 0.07, method="cluster bootstrap-t", df=None),
        )
        for place, (name, what, cut) in enumerate(zip(VARIANTS, described, (0.183, 0.067, 0.033), strict=True))
    )


def _control(
    criterion: str, family: str, kind: str, auc: float, half: float, status: str, settle: str
) -> ControlResult:
    given = estimate(auc, max(auc - half, 0.0), min(auc + half, 1.0), n=400, n_clusters=24, df=None, method="DeLong")
    paired = replace(given, value=min(auc + 0.02, 1.0), high=min(auc + half + 0.02, 1.0))
    return ControlResult(
        criterion=criterion,
        family=family,
        kind=kind,  # type: ignore[arg-type]
        auc=given,
        concordance=paired,
        status=status,  # type: ignore[arg-type]
        settle=settle,
    )


def _qualifications() -> tuple[Qualification, ...]:
    good, bad, open_ = "qualified", "not_qualified", "inconclusive"
    return (
        Qualification(
            judge_id=LIKELIHOOD,
            criterion="coherence",
            status="not_qualified",
            families=(
                _control("coherence", "other_film", "discrimination", 0.671, 0.05, good, ""),
                _control("coherence", "stock_reply", "adversarial", 0.62, 0.05, open_, "about 900 controls"),
                _control("coherence", "echo", "adversarial", 0.04, 0.03, bad, ""),
            ),
            repeatability=estimate(1.0, 0.97, 1.0, n=120, df=None, method="Wilson"),
            length_sensitivity=estimate(-0.12, -0.21, -0.02, n=400, n_clusters=24, df=None, method="bootstrap"),
            reason="It prefers a verbatim echo of the context to the true reply.",
        ),
        Qualification(
            judge_id=GEVAL,
            criterion="fluency",
            status="qualified",
            families=(
                _control("fluency", "shuffled_words", "discrimination", 0.982, 0.01, good, ""),
                _control("fluency", "corrupted_word", "discrimination", 0.741, 0.04, good, ""),
                _control("fluency", "looped_phrase", "adversarial", 0.93, 0.03, good, ""),
            ),
        ),
    )


def _distributions() -> tuple[Distribution, ...]:
    rng = random.Random(7)
    made = [
        distribution("heldout_loss", name, [rng.lognormvariate(0.0, 0.22) * mean for _ in range(60)])
        for name, mean in zip(VARIANTS, (1.87, 1.78, 1.66), strict=True)
    ]
    made += [
        distribution("coherence", name, [None, *(rng.gauss(mean, 0.3) for _ in range(59))])
        for name, mean in (("base", 0.2), ("sft", 0.28))
    ]
    made += [
        distribution("length", name, [float(1 + int(rng.expovariate(1 / mean))) for _ in range(5000)])
        for name, mean in (("base", 11), ("sft", 8))
    ]
    return tuple(made)


def _curve(name: str, seed: int) -> LossCurve:
    rng = random.Random(seed)
    steps = range(0, 121, 4)
    return LossCurve(
        name=name,
        train=tuple(CurvePoint(step=s, value=3.1 + 0.9 / (1 + s / 14) + rng.gauss(0, 0.06)) for s in steps),
        validation=tuple(CurvePoint(step=s, value=3.32 + 0.75 / (1 + s / 16)) for s in range(0, 121, 20)),
        best_step=120,
    )


def _samples() -> tuple[Sample, ...]:
    def scores(a: float | None, b: float) -> tuple[SampleScore, ...]:
        status: ScoreStatus = "ok" if a is not None else "empty"
        reason = "It takes up <what> was said." if a is not None else ""
        first = SampleScore(measure="coherence", value=a, status=status, reason=reason)
        return (first, SampleScore(measure="distinct_2", value=b))

    scene = (
        Line(speaker="Mara", text="You said the projector was fixed."),
        Line(speaker="Ilya", text="I said it was running. Fixed is a bigger word."),
        Line(speaker="Mara", text="There are two hundred people out there, Ilya, and every one of them paid."),
    )
    hostile = "<script>alert('x')</script><img src=x onerror=alert(1)> {{ 7*7 }} | `tick` \x00\x1b[31m"
    return (
        Sample(
            prompt_id="m14/L2207",
            title="The Last Reel",
            history=scene,
            reference=Line(speaker="Ilya", text="Then we give them the dark for a minute. It is a good dark."),
            replies=(
                SampleReply(
                    variant="base",
                    text="I am sorry to hear that the projector is not working. Here are some steps that you can take "
                    "to resolve the issue: 1. Check the power. 2. Check the lamp. 3. Check the",
                    finish_reason="length",
                    scores=scores(0.113, 0.94),
                ),
                SampleReply(variant="base-shots", text="I know. I'll fix it.", scores=scores(0.31, 1.0)),
                SampleReply(variant="sft", text="So let them wait. They waited for worse.", scores=scores(0.42, 1.0)),
            ),
        ),
        Sample(
            prompt_id="m03/L118",
            title="Salt & Iron <uncut>",
            history=(Line(speaker="", text="Who is it?"),),
            reference=Line(speaker="יעל", text="אני כאן, ואתה?"),
            replies=(
                SampleReply(variant="base", text=hostile, scores=scores(-0.5, 0.7)),
                SampleReply(variant="base-shots", text="", scores=scores(None, 0.0)),
                SampleReply(variant="sft", text="‮evil‬ مرحبا بك " + "a" * 300, scores=scores(0.2, 1.0)),
            ),
        ),
        *(
            Sample(
                prompt_id=f"m2{i}/L9{i}",
                title="Harbour Lights",
                history=scene[:2],
                reference=None,
                replies=tuple(SampleReply(variant=v, text="We will see.", scores=scores(0.1, 1.0)) for v in VARIANTS),
            )
            for i in range(3)
        ),
    )


def _stages() -> tuple[StageLine, ...]:
    names = (("prepare", "1f" * 16, 4.2), ("sft", "2e" * 16, 251.0), *((n, r, 74.0) for n, r in RUNS.items()))
    return tuple(
        StageLine(
            name=name,
            run_id=run,
            is_reused=name == "prepare",
            fingerprint=f"{place}b" * 32,
            seconds=seconds,
            inputs={"corpus": "5ac0de77f1" * 6},
            artifacts={f"{name}.parquet": "c09a44" * 10},
        )
        for place, (name, run, seconds) in enumerate(names)
    )
