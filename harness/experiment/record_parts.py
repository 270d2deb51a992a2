"""The parts of a report record that are not numbers: who was compared, what they said, what was missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.composing import compose
from harness.experiment.analysis.contrasts import called
from harness.experiment.analysis.seeded import SeededArm
from harness.experiment.kinds import stage_kind
from harness.experiment.lineage import OTHER, REFERENCE, Training, pairs_behind, training_of
from harness.experiment.questions import Question
from harness.judging.scored import ScoredGeneration
from harness.measures.reply_metrics import reply_status
from harness.reporting.ablation_record import CurvePoint, LossCurve
from harness.reporting.record import (
    DataCard,
    Declaration,
    Declared,
    Line,
    MissingRow,
    Sample,
    SampleReply,
    SampleScore,
    SplitRow,
    StageLine,
)
from harness.store.artifacts import read_json, read_manifest, read_parquet
from harness.store.tracking import StageResult, Tracking
from harness.task_kinds import TaskKind
from harness.types import SPLITS, Generation, Prompt, Qualification, ScoreStatus, Variant

MISSING_WHY: Mapping[str, str] = {
    "low_mass": "too little of the probability lay on the score tokens",
    "empty": "the reply is empty",
    "truncated": "the reply was cut off",
    "refused": "the judge refused, or there was a refusal instead of a reply",
    "failed": "the judge failed, or the reply did",
    "unparsable": "the judge's answer holds no score",
    "unsupported": "the judge cannot score this",
}
REPLY_WHY: Mapping[str, str] = {
    "empty": "the reply has no text",
    "failed": "the reply could not be generated",
    "refused": "the model refused",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFacts:
    """What a report says of the training behind a variant."""

    curve: LossCurve | None
    n_tokens: int | None
    caveats: tuple[str, ...]  # what its data cannot show


def describe_variant(variant: Variant) -> str:
    """A variant in a few words."""
    if variant.kind == "file":
        return f"generations from {variant.model or Path(variant.path or '').name}"
    if variant.kind == "scores":
        return f"scores alone, from {variant.model}"
    if variant.kind == "function":
        return f"the Python function {variant.model}"
    if variant.kind == "endpoint":
        return ", ".join([f"{variant.model} behind an endpoint", *(f"without `{name}`" for name in variant.without)])
    parts = ["the base" if variant.adapter is None else "base + LoRA adapter"]
    if variant.shots:
        parts.append(f"{len(variant.shots)} examples in the prompt")
    parts += variant.template
    return ", ".join(parts)


def base_name(variant: Variant) -> str:
    """The base as printed."""
    if variant.base is None:
        return "unknown" if variant.kind in ("file", "scores") else variant.model or "unknown"
    revision = f" @ {variant.base.revision[:8]}" if variant.base.revision else ""
    return f"{variant.base.source}{revision}"


def adapter_label(variant: Variant) -> str | None:
    """The adapter as printed."""
    if variant.adapter is None:
        return None
    version = f"/{variant.adapter.version}" if variant.adapter.version else ""
    return f"{variant.adapter.name}{version}"


def cluster_noun(prepared: StageResult, kind: TaskKind) -> str:
    """What is resampled, in the singular: a row that stands alone is what the task calls it."""
    unit: str = read_json(prepared.folder / "summary.json")["cluster_unit"]
    return kind.noun if unit == "row" else unit


def called_as(found: Qualification, noun: str) -> Qualification:
    """A judge's controls in the words of data whose clusters are no films: a reply of another cluster."""
    families = tuple(
        replace(f, family=f.family.replace("film", noun), settle=called(f.settle, noun)) for f in found.families
    )
    return found if noun == "film" else replace(found, families=families, reason=called(found.reason, noun))


def data_card(prepared: StageResult, kind: TaskKind, why: str) -> DataCard:
    """Where the text came from, from what `prepare` counted, and what task it was taken for."""
    summary = read_json(prepared.folder / "summary.json")
    splits = summary["splits"]
    limit = summary["verdict_limit"]
    removed = sum(count for reason, count in summary["left_out"].items() if "nearly the same" in reason)
    told = (*summary["repaired"].items(), *summary["seen"].items())
    notes = tuple(f"{reason}: {count:,}" for reason, count in told)
    return DataCard(
        corpus=summary["corpus"],
        digest=summary["corpus_digest"],
        splits=tuple(
            SplitRow(
                split=name,
                n_films=splits[name]["n_clusters"],
                n_conversations=splits[name]["n_conversations"],
                n_prompts=splits[name]["windows"]["n_prompts"],
            )
            for name in SPLITS
        ),
        cluster_noun=cluster_noun(prepared, kind),
        n_duplicates_removed=removed,
        n_skipped=sum(summary["skipped"].values()),
        warnings=(
            *((f"The data were {why}.",) if why else ()),
            *((f"Verdicts: {limit}.",) if limit else ()),
            *summary["notes"],
            *notes,
        ),
    )


def titles(prepared: StageResult) -> dict[str, str]:
    """Film id → title."""
    rows = read_json(prepared.folder / "clusters.json")
    return {row["id"]: row["title"] or row["id"] for row in rows}


def stage_lines(stages: Sequence[StageResult], *, arms: Mapping[str, str]) -> tuple[StageLine, ...]:
    """The lineage: every stage under the numbers, by the run that did the work; `arms` whose replies a run has."""
    return tuple(
        compose(
            StageLine,
            stage,
            run_id=stage.source_run_id,
            is_reused=stage.reused,
            artifacts=read_manifest(stage.folder),
            arm=arms.get(stage.source_run_id, ""),
        )
        for stage in stages
    )


def samples(
    prompts: Sequence[Prompt],
    generations: Mapping[str, Sequence[Generation]],
    scores: Sequence[ScoredGeneration],
    *,
    film_titles: Mapping[str, str],
    chosen: Mapping[str, str],
) -> tuple[Sample, ...]:
    """The prompts of `chosen` (id → why) with every variant's reply; `scores` need be those of these prompts only."""
    by_reply: dict[tuple[str, str, int], list[SampleScore]] = {}
    for score in scores:
        marks = by_reply.setdefault((score.prompt_id, score.variant, score.draw), [])
        reason = score.reason if "explain" in score.mode and score.status == "ok" else ""
        marks.append(SampleScore(measure=score.criterion, value=score.value, status=score.status, reason=reason))
    replies: dict[tuple[str, str], Generation] = {}  # the first draw there is
    for name, group in generations.items():
        for g in group:
            replies.setdefault((g.prompt_id, name), g)
    return tuple(
        Sample(
            prompt_id=prompt.id,
            title=film_titles.get(prompt.cluster, prompt.cluster),
            history=tuple(Line(speaker=m.name or "", text=m.content) for m in prompt.messages),
            reference=None if prompt.reference is None else Line(speaker=_answerer(prompt), text=prompt.reference),
            replies=tuple(
                SampleReply(
                    variant=name,
                    text=replies[prompt.id, name].text,
                    finish_reason=replies[prompt.id, name].finish_reason,
                    scores=tuple(by_reply.get((prompt.id, name, replies[prompt.id, name].draw), ())),
                )
                for name in generations
                if (prompt.id, name) in replies
            ),
            why=chosen[prompt.id],
        )
        for prompt in sorted((p for p in prompts if p.id in chosen), key=lambda p: list(chosen).index(p.id))
    )


def missing_rows(generations: Mapping[str, Sequence[Generation]], lost: Sequence[LostScores]) -> tuple[MissingRow, ...]:
    """What should be there and is not, by variant and reason."""
    rows = [
        MissingRow(what=f"replies of {name}", n=n, of=len(group), why=_why(group, status))
        for name, group in generations.items()
        for status, n in Counter(map(reply_status, group)).items()
        if status != "ok"
    ]
    rows += [
        MissingRow(
            what=f"{score.criterion} by {score.judge_id}, {score.variant}",
            n=score.n,
            of=score.of,
            why=MISSING_WHY.get(score.status, score.status),
        )
        for score in lost
    ]
    return tuple(rows)


def _why(group: Sequence[Generation], status: ScoreStatus) -> str:
    """Why replies are missing, with the reason that most of them have in their own words."""
    why = REPLY_WHY.get(status, status)
    said = Counter(g.reason for g in group if reply_status(g) == status and g.reason)
    usual = said.most_common(1)[0][0] if said else ""
    return usual if usual.startswith(why) else f"{why}: {usual}" if usual else why


def missing_references(arms: Sequence[SeededArm]) -> tuple[MissingRow, ...]:
    """Prompts whose human reply could not be scored, because there is none: the same with every seed."""
    rows = {arm.arm: next(iter(arm.by_seed.values())).rows for arm in arms if arm.measure == "heldout_loss"}
    return tuple(
        MissingRow(what=f"held-out loss of {arm}", n=of.n_missing, of=len(of), why="the prompt has no human reply")
        for arm, of in rows.items()
        if of.n_missing
    )


def training_facts(tracking: Tracking, variant: Variant) -> TrainingFacts:
    """Curve and token count of the training behind a variant; nothing where it was not trained here."""
    training = None if variant.adapter is None else training_of(tracking, variant.adapter)
    if training is None:
        return TrainingFacts(curve=None, n_tokens=None, caveats=())
    record = training.record
    curve = loss_curve(record, name=variant.name, unit=stage_kind(training.stage).loss)
    caveats = _pair_caveats(tracking, training, variant.name) if training.is_preference else ()
    return TrainingFacts(curve=curve, n_tokens=record["n_tokens"], caveats=caveats)


def loss_curve(record: Mapping[str, Any], *, name: str, unit: str) -> LossCurve:
    """What a training logged of its loss."""
    train, validation = (
        tuple(CurvePoint(step=p["step"], value=p["value"]) for p in record["curves"] if p["name"] == f"{kind}/loss")
        for kind in ("train", "validation")
    )
    return LossCurve(name=name, train=train, validation=validation, best_step=record.get("best_step"), unit=unit)


def _pair_caveats(tracking: Tracking, training: Training, name: str) -> tuple[str, ...]:
    """What the pairs behind a variant could teach beside quality."""
    folder = pairs_behind(tracking, training)
    return () if folder is None else (pair_caveat(name, read_json(folder / "audit.json")),)


def pair_caveat(name: str, audit: Mapping[str, Any]) -> str:
    """What a variant learned to prefer, by who preferred in its pairs, and what in them is systematic."""
    said = " ".join(bias["sentence"] for bias in audit["biases"]) or "no systematic bias was found."
    whose = {
        REFERENCE: "to prefer people's replies to samples of the model it started from. Nobody judged which is better, "
        "so it shows that preference training works and how far it moves the model",
        OTHER: "to prefer what people replied to what people replied in other films. Both are people's words, so it "
        "shows how far preference training moves the model towards replies that fit",
    }.get(audit["preferred_by"])
    judged = f"the preferences of {audit['preferred_by']}, not people's"
    learned = f"{whose}, not that people like the replies more" if whose else judged
    return f"{name} learned {learned}. Of its {audit['n_pairs']} pairs: {said}"


def _answerer(prompt: Prompt) -> str:
    """The character who answers: the one whose lines are the assistant's."""
    return next((m.name for m in reversed(prompt.messages) if m.role == "assistant" and m.name), "")


def declaration(
    questions: Sequence[Question],
    late: tuple[str, ...],
    looks: Mapping[str, frozenset[str]],
    *,
    digest: str,
    run_id: str,
) -> Declaration:
    """Which questions were declared before their own data, and how often each was looked at, this look included."""
    others = [known for run, known in looks.items() if run != run_id]
    is_late: Declared = "after" if len(late) == len(questions) else "partly"
    return Declaration(
        status=is_late if late else "before",
        digest=digest,
        n_test_looks=len(looks.keys() | {run_id}),
        late=late,
        question_looks={q.label: 1 + sum(q.digest in known for known in others) for q in questions},
    )


GROUP = ("judge_id", "criterion", "variant")


@dataclass(frozen=True, slots=True, kw_only=True)
class LostScores:
    """Scores of one judge, criterion and variant that are missing for one reason."""

    judge_id: str
    criterion: str
    variant: str
    status: str
    n: int
    of: int  # scores that there should be


def scores_of(file: Path, prompt_ids: Collection[str]) -> list[ScoredGeneration]:
    """Every score of the replies to these prompts."""
    return read_parquet(file, ScoredGeneration, where={"prompt_id": prompt_ids})


def lost_scores(file: Path) -> list[LostScores]:
    """What is missing in a judge's table and why, in one order whatever order it is counted in."""
    import pyarrow.parquet as pq

    table = pq.read_table(file, columns=[*GROUP, "status", "value"])
    totals = {
        tuple(row[name] for name in GROUP): row["count_all"]
        for row in table.group_by(list(GROUP)).aggregate([([], "count_all")]).to_pylist()
    }
    missing = table.filter(table["value"].is_null())
    counted = missing.group_by([*GROUP, "status"]).aggregate([([], "count_all")]).to_pylist()
    found = [
        LostScores(n=row.pop("count_all"), of=totals[tuple(row[name] for name in GROUP)], **row) for row in counted
    ]
    return sorted(found, key=lambda row: (row.judge_id, row.criterion, row.variant, row.status))
