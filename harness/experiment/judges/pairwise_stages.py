"""Pairwise judges as stages: two files of replies, or every variant of an experiment against its control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError, InputError
from harness.experiment.judges.judge_uses import JudgeUse, judge_of
from harness.experiment.measured_arms import SCORES, Replies
from harness.experiment.session import OnProgress, Session
from harness.judging.preferences import ComparedGenerations, item_values, join_preferences, judged_pairs
from harness.judging.scored import ScoredGeneration, item_id, join_scores
from harness.store.artifacts import write_parquet
from harness.store.tracking import Stage, StageResult
from harness.types import Generation, Prompt, Score

if TYPE_CHECKING:
    from harness.judging.judge_protocol import Judge

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
    judge: Judge, first: Replies, second: Replies, prompts: Sequence[Prompt], on_progress: OnProgress
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
        rows += join_scores(own, _halves(own, judge) if name == control else _shares(own, of_variant))
    return rows


def _note(stage: Stage, use: JudgeUse, rows: Sequence[ComparedGenerations]) -> None:
    stage.set_tag("judge_id", use.judge_id)
    stage.log_metric("missing", sum(row.preferred is None for row in rows))


def _shares(generations: Sequence[Generation], compared: Sequence[ComparedGenerations]) -> list[Score]:
    known = {(g.prompt_id, g.draw): item_id(g) for g in generations}
    worst = {(row.pair_id, row.criterion): row for row in compared if row.preferred is None}
    told = {(row.pair_id, row.criterion): row for row in reversed(compared)} | worst
    return [
        Score(
            item_id=known[row.prompt_id, row.draw],
            criterion=row.criterion,
            judge_id=row.judge_id,
            value=share,
            status=row.status,
            mode=row.mode,
            reason=row.reason,
        )
        for row, share in ((told[key], share) for key, share in item_values(compared).items())
    ]


def _halves(generations: Sequence[Generation], judge: Judge) -> list[Score]:
    how: dict[str, Any] = {"judge_id": judge.id, "value": 0.5, "status": "ok", "mode": "definition", "reason": ITSELF}
    return [Score(item_id=item_id(g), criterion=c.name, **how) for g in generations for c in judge.criteria]
