"""Absence is a finding: what was declared or given and is in no number, and which claims that forbids.

Rows that are missing can make a difference: a model that says nothing is never cut off. So a side gains nothing from
what it lacks. *Better* and *equivalent* need both sides; *worse* needs the side that it favours, the second. A claim is
withheld where

- an absence touches it: the side is mute, the measure has no rows, replies that were in a file were not looked at, …;
- more than 20 % of a side's draws are missing (the rule of five and twenty: Schulz & Grimes 2002);
- the least favourable values that the missing rows could have had would turn it (Manski 1990's bounds): shares lie in
  [0, 1], other measures in the range that was seen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.experiment.analysis.values import Lacking
from harness.experiment.design import ContrastDesign
from harness.measures.heldout import WEIGHINGS
from harness.measures.text_measures import reply_status
from harness.types import Absence, Estimate, Generation, Verdict

MAX_MISSING = 0.20  # share of a side's rows above which nothing in its favour is believed

ROUNDING = 1e-9  # a difference that a fill brings this close to 0 is none
SILENT = ("mute", "failed")  # kinds that say of a variant that nothing of it was measured
HINTS: Mapping[str, str] = {
    "cut_off": "the replies do not say how they ended (`finish_reason`)",
    "detectability": "it takes human replies to prompts of at least three films",
    **dict.fromkeys(WEIGHINGS, "it takes a model and prompts with human replies"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fills:
    """The mean difference with the most and the least favourable values in every missing row."""

    low: float
    high: float


def absent_replies(variant: str, generations: Sequence[Generation], *, measures: Sequence[str]) -> tuple[Absence, ...]:
    """Whether a variant says nothing at all, or too little for `measures`, those of replies, to speak of it."""
    counts = Counter(status for g in generations if (status := reply_status(g)) != "ok")
    n, of = counts.total(), len(generations)
    why = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    if n == of > 0:
        said = f"`{variant}` is mute: none of its {of:,} replies has text ({why}), so nothing is said in its favour."
        return (Absence(kind="mute", said=said, variants=(variant,)),)
    if n > MAX_MISSING * of:
        said = f"{n:,} of {of:,} replies of `{variant}` have no text ({why}): the others do not stand for them."
        return (Absence(kind="few_replies", said=said, variants=(variant,), measures=tuple(measures)),)
    return ()


def absent_rows(
    measured: Mapping[str, Mapping[str, int]], *, variants: Sequence[str], known: Sequence[Absence]
) -> tuple[Absence, ...]:
    """Declared measures without a value, of variants not known to be mute or lost; `measured` counts their values."""
    told = {name for absence in known if absence.kind in SILENT for name in absence.variants}
    found = []
    for measure, counts in measured.items():
        lacking = tuple(name for name in variants if name not in told and not counts.get(name))
        if lacking:
            who = "any variant" if len(lacking) == len(variants) else ", ".join(f"`{name}`" for name in lacking)
            hint = HINTS.get(measure, "it was not tested there")
            said = f"`{measure}` was declared and has no value for {who}: {hint}."
            found.append(Absence(kind="no_rows", said=said, variants=lacking, measures=(measure,)))
    return tuple(found)


def touching(absences: Sequence[Absence], *, measure: str, variants: Sequence[str]) -> Absence | None:
    """The first absence that touches a measure of one of these variants."""
    return next(
        (
            absence
            for absence in absences
            if (not absence.measures or measure in absence.measures)
            and (not absence.variants or set(absence.variants) & set(variants))
        ),
        None,
    )


def not_measured(*, n_missing: int, level: float) -> Estimate:
    """The estimate of a number that was declared and could not be taken."""
    return Estimate(
        value=math.nan, low=None, high=None, level=level, n=0, n_clusters=0, n_missing=n_missing, method="not measured"
    )


def withheld(verdict: Verdict, reason: str) -> Verdict:
    """The verdict without its claim, which the reason forbids."""
    return replace(verdict, label="inconclusive", reason=f"Not tested: {reason}", settle="", withheld=verdict.label)


def why_missing_pairs_forbid(
    verdict: Verdict, value: float, lacking: Lacking, *, is_rate: bool, margin: float | None
) -> str:
    """Why the pairs that are missing forbid a claim on the mean difference `value`; empty where they do not."""
    if verdict.label not in ("better", "worse", "equivalent"):
        return ""
    if verdict.label == "worse":  # it favours the second side: only what that lacks could have made it
        lacking = lacking.only(lacking.lost[:, 0] < 1)
        lacking = replace(lacking, lost=lacking.lost * [0, 1])
    n_all = lacking.n_pairs + lacking.n
    share = lacking.lost.sum(axis=0).max() / n_all
    if share == 0:
        return ""
    if share > MAX_MISSING:
        return f"{share:.0%} of one side's rows are missing, and the others do not stand for them."
    ends = fills(value, lacking, is_rate=is_rate)
    if verdict.label == "equivalent":
        is_firm = margin is not None and -margin < ends.low and ends.high < margin
    else:
        is_firm = ends.low > ROUNDING if value > 0 else ends.high < -ROUNDING
    return "" if is_firm else f"{len(lacking.lost):,} of {n_all:,} pairs lack rows that could turn it."


def fills(value: float, lacking: Lacking, *, is_rate: bool) -> Fills:
    """Manski's bounds: the mean difference with each missing draw at one end of its range, then at the other."""
    low, high = (0.0, 1.0) if is_rate else (lacking.low, lacking.high)
    values, (lost, control_lost) = np.nan_to_num(lacking.values), lacking.lost.T
    # What was seen of a pair counts as seen: its mean stands with the share of its draws that came.
    there_treatment, there_control = ((1 - lacking.lost) * values).T
    known = np.where(lacking.is_absent, 0.0, values[:, 0] - values[:, 1])  # what `value` holds of these pairs
    fixed = there_treatment - there_control - known
    least = fixed + lost * low - control_lost * high
    most = fixed + lost * high - control_lost * low
    n_all, there = lacking.n_pairs + lacking.n, value * lacking.n_pairs
    return Fills(low=float(there + least.sum()) / n_all, high=float(there + most.sum()) / n_all)


def arms_of(contrast: ContrastDesign) -> tuple[str, ...]:
    """Every arm of a contrast."""
    return tuple(name for side in contrast.sides for name in side)
