"""Ratings as files: votes for evalica and its like, every row as JSONL, preference pairs for training.

Ratings of TEST prompts never become preference pairs, and those of TRAIN prompts become nothing else. Rehearsal ratings
and raters excluded by the declared rules leave no row in votes and pairs; in the JSONL they stand, marked.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Engine

from harness.composing import compose
from harness.errors import SplitError
from harness.store.artifacts import write_jsonl
from harness.studies.exclusion import checks_passed, counting, excluded_raters, rater_qualities, scale_middle
from harness.studies.rankings import as_pairs
from harness.studies.rating_rows import RatedSlot, read_rows
from harness.studies.studies import Study
from harness.types import Message, PreferencePair, Prompt

Format = Literal["votes", "ratings", "preferences"]
COLUMNS = ("left", "right", "winner", "rater", "prompt_id", "cluster")
WINNERS = {"left": "left", "right": "right", "tie": "tie", "both_bad": "tie"}  # evalica drops a name it does not know
PREFERRED_BY = "human"


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingRow:
    """One rating as exported: who, what, on which side, and what they made of it."""

    study: str
    declaration: str  # digest of the study file
    slot: str
    kind: str  # main | repeat | attention
    rater: str
    prompt_id: str
    cluster: str
    probability: float | None  # with which the prompt was drawn
    left: str  # variant; the marked one where there is one reply
    left_draw: int
    right: str | None
    right_draw: int | None
    verdict: str | None  # left | right | tie | both_bad
    winner: str | None  # the verdict as a variant
    ranks: dict[str, int]  # variant -> rank, of a ranking
    marks: dict[str, float]
    has_passed: bool | None  # attention checks
    reason: str  # of a skip
    comment: str  # beside a vote
    shown_at: float
    cast_at: float
    is_rehearsal: bool
    is_excluded: bool  # by the rules that the study declared


def rating_rows(engine: Engine, study: Study) -> list[RatingRow]:
    """Every rating and skip that stands, practice left out. Raises SplitError: the prompts are of TRAIN."""
    _require_test(study)
    rows = read_rows(engine, study)
    excluded = excluded_raters(rater_qualities(study, rows))
    passed = checks_passed(rows, middle=scale_middle(study))
    return [
        compose(
            RatingRow,
            row,
            study=study.name,
            declaration=study.declaration,
            left=row.shown[0].variant,
            left_draw=row.shown[0].draw,
            right=row.shown[1].variant if len(row.shown) > 1 else None,
            right_draw=row.shown[1].draw if len(row.shown) > 1 else None,
            marks=dict(row.marks),
            has_passed=passed.get(row.slot),
            shown_at=row.shown_at or 0.0,
            is_excluded=row.rater in excluded,
        )
        for row in rows
        if row.kind != "practice" and row.cast_at is not None
    ]


def votes_csv(engine: Engine, study: Study) -> str:
    """`left,right,winner` with rater, prompt and film: votes that count, in the order cast.

    `winner` is left, right or tie, as evalica reads it; "both bad" is a tie there.

    Raises SplitError: the prompts are of TRAIN.
    """
    _require_test(study)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    rows = [r for r in as_pairs(counting(study, read_rows(engine, study))) if r.winner is not None]
    for row in sorted(rows, key=lambda r: (r.cast_at, r.slot)):
        left, right = (reply.variant for reply in row.shown)
        writer.writerow([left, right, WINNERS[str(row.verdict)], row.rater, row.prompt_id, row.cluster])
    return out.getvalue()


def preference_pairs(engine: Engine, study: Study) -> list[PreferencePair]:
    """Prompts of TRAIN on which a majority of the decisive votes prefers one reply.

    The margin is the share of decisive votes for the chosen reply minus the share against it; an even split gives no
    pair, and neither do votes that are all ties.

    Raises SplitError: the prompts are of another split: what tests must not train.
    """
    if study.split != "train" or study.kind != "pairwise":
        raise SplitError(
            f"preference pairs come from votes on TRAIN prompts, got a study of kind {study.kind} on "
            f"{study.split.upper()}; ratings of TEST never train"
        )
    items: dict[int, list[RatedSlot]] = {}
    for row in counting(study, read_rows(engine, study)):
        items.setdefault(row.item_id, []).append(row)
    return [pair for rows in items.values() if (pair := _pair(study, rows)) is not None]


def export(engine: Engine, study: Study, kind: Format, path: Path) -> int:
    """Write one of the formats; returns how many rows."""
    if kind == "votes":
        text = votes_csv(engine, study)
        path.write_text(text, encoding="utf-8")
        return len(text.splitlines()) - 1
    if kind == "ratings":
        return write_jsonl(path, rating_rows(engine, study))
    return write_jsonl(path, [trl_row(pair) for pair in preference_pairs(engine, study)])


def trl_row(pair: PreferencePair) -> dict[str, object]:
    """A pair as TRL's conversational preference format holds it."""
    return {
        "prompt": [_chat(message) for message in pair.prompt.messages],
        "chosen": [{"role": "assistant", "content": pair.chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
        "prompt_id": pair.prompt.id,
        "cluster": pair.prompt.cluster,
        "split": pair.prompt.split,
        "margin": pair.margin,
        "preferred_by": pair.preferred_by,
    }


def _chat(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _pair(study: Study, rows: Sequence[RatedSlot]) -> PreferencePair | None:
    decisive = [r.winner for r in rows if r.winner not in (None, "tie", "both_bad")]
    first, second = rows[0].replies
    lead = sum(1 if winner == first.variant else -1 for winner in decisive)
    if lead == 0:
        return None
    chosen, rejected = (first, second) if lead > 0 else (second, first)
    return PreferencePair(
        prompt=Prompt(id=rows[0].prompt_id, messages=rows[0].messages, split=study.split, cluster=rows[0].cluster),
        chosen=chosen.text,
        rejected=rejected.text,
        margin=abs(lead) / len(decisive),
        preferred_by=PREFERRED_BY,
        reason=f"{(len(decisive) + abs(lead)) // 2} of {len(decisive)} decisive votes, {len(rows)} raters",
    )


def _require_test(study: Study) -> None:
    if study.split != "test" and study.kind == "pairwise":
        raise SplitError(
            f"`{study.name}` is a study of TRAIN prompts: its votes leave as preference pairs and as nothing else; "
            "use --format preferences"
        )
