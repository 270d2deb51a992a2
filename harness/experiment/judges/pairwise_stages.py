"""Pairwise judges as stages: two files of replies, or every variant of an experiment against its control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import ConfigError, InputError
from harness.experiment.judges.judge_uses import JudgeUse, judge_of
from harness.experiment.measured_arms import SCORES, Replies
from harness.experiment.session import OnProgress, Session
from harness.judging.preferences import ComparedGenerations, item_values, join_preferences, judged_pairs
from harness.judging.results import ScoredGeneration, item_id
from harness.store.artifacts import write_parquet
from harness.store.tracking import Stage, StageResult
from harness.types import Generation, Prompt

if TYPE_CHECKING:
    from harness.judging.protocol import Judge

COMPARE_REVISION = 1
VERSUS_REVISION = 1
PREFERENCES = "preferences.parquet"
ITSELF = "the control against itself: one half, by definition"


def compare_stage(
    session: Session, use: JudgeUse, *, first: Replies, second: Replies, prompts: Sequence[Prompt]
) -> StageResult:
    """Every criterion of a pairwise judge on two variants' replies to the same prompts, in both orders."""

    def work(stage: Stage, on_progress: OnProgress) -> None:
        rows = compare_replies(judge_of(session, use), first, second, prompts, on_progress)
        write_parquet(stage.folder / PREFERENCES, rows, ComparedGenerations)
        _note(stage, use, rows)

    return session.stage(
        "judge-pairs",
        label=f"Compare ({use.spec.name})",
        revision=COMPARE_REVISION,
        config={"judge_id": use.judge_id},
        inputs={"first": first.stage.digest, "second": second.stage.digest},
        work=work,
    )


def versus_stage(
    session: Session, use: JudgeUse, *, replies: Mapping[str, Replies], prompts: Sequence[Prompt], control: str
) -> StageResult:
    """Every variant's share of wins against the control, as score rows: 1, ½ or 0 in each order, and the mean.

    A reply's score is missing unless both orders have a verdict. The control's own rows are one half, so that a
    contrast with it is the share of wins above one half.
    """

    def work(stage: Stage, on_progress: OnProgress) -> None:
        judge = judge_of(session, use)
        compared: list[ComparedGenerations] = []
        for name, reply in replies.items():
            if name != control:
                compared += compare_replies(judge, reply, replies[control], prompts, on_progress)
        write_parquet(stage.folder / PREFERENCES, compared, ComparedGenerations)
        rows = versus_rows(judge, {name: r.generations for name, r in replies.items()}, compared, control=control)
        write_parquet(stage.folder / SCORES, rows, ScoredGeneration)
        _note(stage, use, compared)

    return session.stage(
        "judge-versus",
        label=f"Compare ({use.spec.name})",
        revision=VERSUS_REVISION,
        config={"judge_id": use.judge_id, "control": control},
        inputs={f"replies {name}": reply.stage.digest for name, reply in replies.items()},
        work=work,
    )


def compare_replies(
    judge: Judge,
    first: Replies,
    second: Replies,
    prompts: Sequence[Prompt],
    on_progress: OnProgress,
) -> list[ComparedGenerations]:
    """Two verdicts per pair of replies and criterion.

    Raises:
        ConfigError: the judge scores single replies.
        InputError: a variant against itself.
    """
    if not judge.compares:
        raise ConfigError(f"`{judge.id}` must be a pairwise judge to compare replies; it scores them one by one")
    if first.variant == second.variant:
        raise InputError(f"`{first.variant}` must be compared with another variant, got itself")
    pairs = judged_pairs(prompts, first.generations, second.generations)
    said = judge.score(pairs, on_progress=on_progress)
    return join_preferences(first.generations, second.generations, said)


def versus_rows(
    judge: Judge,
    generations: Mapping[str, Sequence[Generation]],
    compared: Sequence[ComparedGenerations],
    *,
    control: str,
) -> list[ScoredGeneration]:
    """Score rows of every variant: shares of wins against the control, one half for the control itself."""
    rows: list[ScoredGeneration] = []
    for name, own in generations.items():
        of_variant = [row for row in compared if row.first == name]
        rows += _halves(own, judge) if name == control else _shares(own, of_variant)
    return rows


def _note(stage: Stage, use: JudgeUse, rows: Sequence[ComparedGenerations]) -> None:
    stage.set_tag("judge_id", use.judge_id)
    stage.log_metric("missing", sum(row.preferred is None for row in rows))


def _shares(generations: Sequence[Generation], compared: Sequence[ComparedGenerations]) -> list[ScoredGeneration]:
    shares = item_values(compared)
    known = {(g.prompt_id, g.draw): g for g in generations}
    worst = {(row.pair_id, row.criterion): row for row in compared if row.preferred is None}
    first = {(row.pair_id, row.criterion): row for row in reversed(compared)}
    rows = []
    for key, share in shares.items():
        told = first[key] if share is not None else worst[key]
        generation = known[told.prompt_id, told.draw]
        blank = _blank(generation, told.criterion, judge_id=told.judge_id, mode=told.mode)
        rows.append(replace(blank, value=share, status=told.status, reason=told.reason))
    return rows


def _halves(generations: Sequence[Generation], judge: Judge) -> list[ScoredGeneration]:
    return [
        replace(_blank(g, c.name, judge_id=judge.id, mode="definition"), value=0.5, status="ok", reason=ITSELF)
        for g in generations
        for c in judge.criteria
    ]


def _blank(generation: Generation, criterion: str, *, judge_id: str, mode: str) -> ScoredGeneration:
    return ScoredGeneration(
        prompt_id=generation.prompt_id,
        variant=generation.variant,
        draw=generation.draw,
        cluster=generation.cluster,
        criterion=criterion,
        judge_id=judge_id,
        value=None,
        status="failed",
        probabilities=None,
        mass=None,
        entropy=None,
        total=None,
        n_tokens=None,
        mode=mode,
        reason="",
        item_id=item_id(generation),
    )
