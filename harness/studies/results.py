"""What may be said of a study now, at any look: every figure an `Estimate` of `harness.stats`, none in rehearsal.

Win rates rest on prompt means of the panel: a prompt counts once everybody who is to rate it has done so (or skipped
it, left, or been excluded), in the order in which prompts were completed. So looking early, often, or stopping when it
suits does not raise the error rate.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, select

from harness.composing import compose
from harness.errors import InputError
from harness.stats import (
    BettingSequence,
    Look,
    Unfitted,
    Votes,
    WinRate,
    fit_rankings,
    fit_strengths,
    proportion_estimate,
    read_votes,
    win_rate,
)
from harness.studies.exclusion import RaterQuality, excluded_raters, left_share, rater_qualities
from harness.studies.marks import Agreement, MarkResult, mark_agreement, mark_results, vote_agreement
from harness.studies.rankings import as_pairs
from harness.studies.rating_rows import RatedSlot, counted, panel, read_rows
from harness.studies.sql_schema import items
from harness.studies.studies import Study
from harness.studies.tally import Tally, tally
from harness.types import Estimate

TRAIN_NOTE = "The prompts are of TRAIN: their ratings are preference data, and no variant is compared on them."
REHEARSAL_NOTE = "Rehearsal ratings are counted apart and enter no figure."


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """One variant against another."""

    variant: str
    opponent: str
    look: Look  # mean vote for `variant` per prompt with its confidence sequence, and whether to go on
    tally: Tally  # prompt by prompt
    n_prompts: int  # in the study
    n_waiting: int  # prompts not completed yet
    win: WinRate | None  # over votes, about these raters and about raters like them; for reading once, at the end
    why_not: str  # why `win` is not there
    is_open: bool  # the study takes ratings

    @property
    def reason(self) -> str:
        """Why, and whether the study holds as many prompts as it would take."""
        advice = self.look.advice
        is_short = self.is_open and advice.action == "continue" and (advice.expected_more or 0) > self.n_waiting > 0
        return f"{advice.reason} Only {self.n_waiting} are left." if is_short else advice.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Strengths:
    """Davidson's model of all votes, or Plackett and Luce's of rankings."""

    variants: tuple[str, ...] = ()
    strengths: tuple[Estimate, ...] = ()  # log-odds to the mean of all, in the order of `variants`; about these raters
    people: tuple[Estimate, ...] = ()  # the same about raters like these; empty with one rater
    tie: Estimate | None = None
    position: Estimate | None = None  # log-odds of the left side between equals
    length: Estimate | None = None  # log-odds per word that the left reply is longer
    why_not: str = ""  # why there are none


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResults:
    """A study as its owner sees it."""

    study: Study
    n_rated: int  # ratings of main items that count
    n_skipped: int
    n_waiting: int  # showings that the panel still owes
    n_rehearsal: int  # ratings given while trying it out
    raters: tuple[RaterQuality, ...]
    pairs: tuple[PairResult, ...]
    strengths: Strengths | None  # None: nothing was voted on
    left_share: Estimate | None  # of decisive votes: position bias
    both_bad: Estimate | None
    agreement: tuple[Agreement, ...]
    marks: tuple[MarkResult, ...]
    notes: tuple[str, ...]

    @property
    def seen(self) -> dict[str, object]:
        """What sets these figures apart from those of an earlier look."""
        return {"study": self.study.declaration, "name": self.study.name, "ratings": self.n_rated}


def study_results(engine: Engine, study: Study) -> StudyResults:
    """Everything that the ratings so far say."""
    rows = read_rows(engine, study)
    qualities = rater_qualities(study, rows)
    excluded = excluded_raters(qualities)
    due = panel(rows, excluded=excluded)
    rated = counted(rows, excluded=excluded)
    ranked = [row for row in rated if row.ranks]
    is_compared = not (study.split == "train" and study.kind == "pairwise")
    due_pairs = as_pairs(due)
    votes = [r for r in as_pairs(rated) if r.winner is not None]
    main = _main_items(engine, study)
    n_rehearsal = sum(r.is_rehearsal and r.rating is not None for r in rows)
    return StudyResults(
        study=study,
        n_rated=len(rated),
        n_skipped=sum(r.state == "skipped" for r in due),
        n_waiting=_n_waiting(study, due, sum(main.values())),
        n_rehearsal=n_rehearsal,
        raters=qualities,
        pairs=_pairs(study, due_pairs, main) if is_compared and study.kind != "likert" else (),
        strengths=_ranked_strengths(study, ranked)
        if ranked
        else _strengths(study, votes)
        if votes and is_compared
        else None,
        left_share=left_share(votes, level=study.design.level, by=lambda r: r.cluster),
        both_bad=_both_bad(study, votes),
        agreement=vote_agreement(study, votes) + mark_agreement(study, rated),
        marks=mark_results(study, rated),
        notes=(() if is_compared else (TRAIN_NOTE,)) + ((REHEARSAL_NOTE,) if n_rehearsal else ()),
    )


def is_settled(rows: Sequence[RatedSlot], *, overlap: int | None = None) -> bool:
    """Whether nobody is waited for any more among the slots of one item, and somebody has rated it.

    In a crowd nobody is waited for by name: an item is settled once it has its `overlap` of ratings.
    """
    if overlap is not None:
        return sum(r.rating is not None for r in rows) >= overlap
    return not any(r.state == "pending" and not r.is_revoked for r in rows) and any(r.rating for r in rows)


def _main_items(engine: Engine, study: Study) -> Counter[tuple[str, ...]]:
    """Variants of an item -> how many items there are, shown or not."""
    of_study = select(items.c.replies).where(items.c.study_id == study.id, items.c.purpose == "main")
    with engine.begin() as connection:
        names = [[r["variant"] for r in row.replies] for row in connection.execute(of_study)]
    return Counter(pair for one in names for pair in (itertools.combinations(one, 2) if len(one) > 1 else [tuple(one)]))


def _n_waiting(study: Study, due: Sequence[RatedSlot], n_items: int) -> int:
    if study.design.crowd is None:
        return sum(r.state == "pending" and not r.is_revoked for r in due)
    overlap, rated = study.design.crowd.overlap, Counter(r.item_id for r in due if r.rating is not None)
    return n_items * overlap - sum(min(n, overlap) for n in rated.values())


def _pairs(study: Study, due: Sequence[RatedSlot], main: Mapping[tuple[str, ...], int]) -> tuple[PairResult, ...]:
    pairs: dict[tuple[str, str], list[RatedSlot]] = {}
    for row in due:
        pairs.setdefault((row.replies[0].variant, row.replies[1].variant), []).append(row)
    return tuple(_pair(study, names, rows, n_prompts=main[names]) for names, rows in sorted(pairs.items()))


def _pair(study: Study, names: tuple[str, str], due: Sequence[RatedSlot], *, n_prompts: int) -> PairResult:
    by_prompt: dict[int, list[RatedSlot]] = {}
    for row in due:
        by_prompt.setdefault(row.item_id, []).append(row)
    overlap = study.design.crowd.overlap if study.design.crowd is not None else None
    settled = [rows for rows in by_prompt.values() if is_settled(rows, overlap=overlap)]
    settled.sort(key=lambda rows: (max(r.cast_at or 0.0 for r in rows), rows[0].rank))
    # Not the finite set: once all its prompts are rated its mean is known, and says nothing of the next prompt.
    race = BettingSequence(level=study.design.level)
    counted_up = tally(settled, race=race, level=study.design.level)
    rated = [r for r in due if r.winner is not None]
    n_missing = sum(r.state == "skipped" for r in due)
    win: WinRate | None = None
    why_not = "nobody has voted yet"
    if rated:
        try:
            win, why_not = win_rate(_votes(rated, n_missing=n_missing), *names, level=study.design.level), ""
        except InputError as err:
            why_not = str(err)
    return PairResult(
        variant=names[0],
        opponent=names[1],
        look=race.look(),
        tally=counted_up,
        n_prompts=n_prompts,
        n_waiting=n_prompts - len(settled),
        win=win,
        why_not=why_not,
        is_open=study.is_open,
    )


def _votes(rows: Sequence[RatedSlot], *, n_missing: int = 0, with_length: bool = False) -> Votes:
    lengths = [len(r.shown[0].text.split()) - len(r.shown[1].text.split()) for r in rows]
    return read_votes(
        [r.shown[0].variant for r in rows],
        [r.shown[1].variant for r in rows],
        [str(r.verdict) for r in rows],
        clusters=[r.cluster for r in rows],
        raters=[r.rater for r in rows],
        length_difference=lengths if with_length else None,
        n_missing=n_missing,
    )


def _strengths(study: Study, rows: Sequence[RatedSlot]) -> Strengths:
    fit = fit_strengths(_votes(rows), level=study.design.level)
    if isinstance(fit, Unfitted):
        return Strengths(why_not=fit.reason)
    lengths_differ = len({len(r.shown[0].text.split()) - len(r.shown[1].text.split()) for r in rows}) > 1
    longer = fit_strengths(_votes(rows, with_length=True), level=study.design.level) if lengths_differ else None
    length = None if longer is None or isinstance(longer, Unfitted) else longer.length
    return compose(Strengths, fit, variants=tuple(map(str, fit.variants)), length=length, why_not="")


def _ranked_strengths(study: Study, rows: Sequence[RatedSlot]) -> Strengths:
    """Plackett–Luce's, of whole rankings."""
    fit = fit_rankings([r.ranks for r in rows], clusters=[r.cluster for r in rows], level=study.design.level)
    if isinstance(fit, Unfitted):
        return Strengths(why_not=fit.reason)
    return Strengths(variants=fit.variants, strengths=fit.strengths)


def _both_bad(study: Study, rows: Sequence[RatedSlot]) -> Estimate | None:
    if not rows:
        return None
    return proportion_estimate(
        [float(r.winner == "both_bad") for r in rows], clusters=[r.cluster for r in rows], level=study.design.level
    )
