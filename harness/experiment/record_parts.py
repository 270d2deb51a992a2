"""The parts of a report record that are not numbers: who was compared, what they said, what was missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.composing import compose
from harness.experiment.analysis.contrasts import called
from harness.experiment.lineage import OTHER, REFERENCE
from harness.experiment.questions import Question
from harness.measures.text_measures import reply_status
from harness.reporting.ablation_record import CurvePoint, LossCurve
from harness.reporting.record import (
    DataCard,
    Declaration,
    Declared,
    MissingRow,
    SplitRow,
    StageLine,
)
from harness.store.artifacts import read_json, read_manifest
from harness.store.tracking import StageResult
from harness.task_kinds import TaskKind
from harness.types import SPLITS, Generation, Qualification, ScoreStatus, Variant

if TYPE_CHECKING:
    from harness.experiment.collect import Collected

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


def stage_lines(stages: Sequence[StageResult], collected: Collected) -> tuple[StageLine, ...]:
    """The lineage: every stage under the numbers, by the run that did the work.

    Beside a run that generated replies stands the arm that they are of, in the arm's first seed.
    """
    first = {found.cell.arm: found.replies for found in reversed(collected.cells) if found.replies is not None}
    arms = {replies.stage.source_run_id: arm for arm, replies in first.items()}
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


def loss_curve(record: Mapping[str, Any], *, name: str, unit: str) -> LossCurve:
    """What a training logged of its loss."""
    train, validation = (
        tuple(CurvePoint(step=p["step"], value=p["value"]) for p in record["curves"] if p["name"] == f"{kind}/loss")
        for kind in ("train", "validation")
    )
    return LossCurve(name=name, train=train, validation=validation, best_step=record.get("best_step"), unit=unit)


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


def missing_rows(collected: Collected) -> tuple[MissingRow, ...]:
    """What should be there and is not: arms that failed, replies, scores and references, by arm and reason."""
    rows = [
        MissingRow(what=f"arm {name}", n=1, of=1, why=f"failed after a second try: {why}")
        for name, why in collected.lost.items()
    ]
    arms = dict.fromkeys(found.cell.arm for found in collected.cells)
    for name, group in {f.cell.label: f.generations for arm in arms for f in collected.speaking(arm)}.items():
        rows += [
            MissingRow(what=f"replies of {name}", n=n, of=len(group), why=_why(group, status))
            for status, n in Counter(map(reply_status, group)).items()
            if status != "ok"
        ]
    scores = [
        replace(lost, variant=label)
        for file, owners in collected.scores.items()
        for lost in lost_scores(file)
        for label in dict.fromkeys(cell.label for cell in owners.get(lost.variant, ()))
    ]
    for lost in sorted(scores, key=LostScores.place):
        what = f"{lost.criterion} by {lost.judge_id}, {lost.variant}"
        rows.append(MissingRow(what=what, n=lost.n, of=lost.of, why=MISSING_WHY.get(lost.status, lost.status)))
    # A prompt has a human reply or has none, the same with every seed.
    losses = {arm.arm: next(iter(arm.by_seed.values())).rows for arm in collected.arms if arm.measure == "heldout_loss"}
    rows += [
        MissingRow(what=f"held-out loss of {arm}", n=of.n_missing, of=len(of), why="the prompt has no human reply")
        for arm, of in losses.items()
        if of.n_missing
    ]
    return tuple(rows)


def _why(group: Sequence[Generation], status: ScoreStatus) -> str:
    """Why replies are missing, with the reason that most of them have in their own words."""
    why = REPLY_WHY.get(status, status)
    said = Counter(g.reason for g in group if reply_status(g) == status and g.reason)
    usual = said.most_common(1)[0][0] if said else ""
    return usual if usual.startswith(why) else f"{why}: {usual}" if usual else why


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

    def place(self) -> tuple[str, ...]:
        """Where it stands among others, whatever order they are counted in."""
        return self.judge_id, self.criterion, self.variant, self.status


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
    return sorted(found, key=LostScores.place)
