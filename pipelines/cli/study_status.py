"""What `screentest study status` finds: progress and raters first, then what may be said."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.reporting import study_text
from harness.reporting.looks import look_at_study
from harness.reporting.numbers import write_date, write_seconds
from harness.stats import RaterClaims
from harness.store.tracking import Tracking
from harness.studies.marks import VOTES
from harness.studies.results import PairResult, StudyResults, study_results
from harness.studies.studies import find_study, list_studies
from harness.studies.tally import OUTCOMES
from harness.terminal import bold, dim, warning
from harness.types import Grain
from pipelines.cli.presenter import FIGURES, Result, Table, figure, written

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from harness.studies.exclusion import RaterQuality

_RATERS = ("Rater", "Rated", "Left", "Checks passed", "Same when repeated", "Left side", "Pace", "Counts")
_FIELDS = (
    *("n_rated", "n_skipped", "n_waiting", "n_rehearsal", "raters", "pairs", "strengths", "left_share", "both_bad"),
    *("agreement", "marks", "notes"),
)
_NO_STUDY = "There is no study yet: `screentest study create experiments/studies/which_is_better.yaml` makes one."


def studies_of(engine: Engine) -> Result:
    """Every study of the store, newest first."""
    known = list_studies(engine)
    rows = [(s.name, s.kind, s.split.upper(), "open" if s.is_open else "closed", _date(s.created_at)) for s in known]
    return Result(
        data={"studies": [{"name": s.name, "kind": s.kind, "split": s.split, "open": s.is_open} for s in known]},
        shown=(Table(columns=("Study", "Kind", "Split", "State", "Made"), rows=rows),),
        notes=() if known else (_NO_STUDY,),
    )


def study_of(engine: Engine, name: str) -> Result:
    """One study with its figures."""
    found = study_results(engine, find_study(engine, name))
    looked = look_at_study(Tracking(), found)
    study = found.study
    data = {"study": study.name, "kind": study.kind, "split": study.split, "open": study.is_open}
    data |= {"declaration": study.declaration, "plan": study.plan}
    data |= {key: getattr(found, key) for key in _FIELDS}
    data["pairs"] = [_pair(pair) for pair in found.pairs]
    state = "open" if study.is_open else "closed"
    return Result(
        data={**data, "n_test_looks": looked.n},
        shown=(
            f"{bold(study.name)} ({study.kind}, {study.split.upper()}, {state}): {study.design.question}",
            dim(f"{study.plan} Declared {study.declaration[:12]}."),
            *(sentence(pair) for pair in found.pairs),
            study_text.counted(found),
            *filter(None, [study_text.dropped(found)]),
            Table(columns=_RATERS, rows=[_rater(quality) for quality in found.raters]),
            Table(columns=FIGURES, rows=list(_figures(found))),
        ),
        notes=(*(warning(note) for note in found.notes), *([dim(looked.said)] if looked.said else [])),
    )


def _pair(pair: PairResult) -> dict[str, object]:
    """Figures of a pair; of its prompts the counts alone, since their texts may still be rated blind."""
    told = {field.name: getattr(pair, field.name) for field in dataclasses.fields(pair) if field.name != "tally"}
    return {**told, "preferred": pair.tally.preferred, "outcomes": {name: pair.tally.n(name) for name in OUTCOMES}}


def sentence(pair: PairResult) -> str:
    """What may be said of two variants now."""
    if pair.look.estimate.n == 0:
        return f"{pair.variant} against {pair.opponent}: {study_text.waiting(pair)}"
    return f"{study_text.preferred(pair)} {study_text.mean_vote(pair)} {study_text.next_step(pair)}"


def _figures(found: StudyResults) -> Iterator[tuple[object, ...]]:
    """Every figure that the study has."""
    for label, share in (("Both bad", found.both_bad), ("Left side, of decisive votes", found.left_share)):
        if share is not None:
            yield figure(label, share, unit="share", grain=Grain.RATING)
    for agreed in found.agreement:
        if agreed.krippendorff is not None:
            grain = Grain.PAIR if agreed.about == VOTES else Grain.REPLY
            yield figure(f"Agreement on {agreed.about}", agreed.krippendorff, grain=grain)
    yield from _strengths(found)
    for marked in found.marks:
        for variant, mean in marked.means:
            yield from _claims(f"{marked.criterion}, {variant}", mean, is_difference=False)
        for variant, opponent, claims in marked.contrasts:
            yield from _claims(f"{marked.criterion}, {variant} − {opponent}", claims, is_difference=True)


def _strengths(found: StudyResults) -> Iterator[tuple[object, ...]]:
    strengths = found.strengths
    if strengths is None:
        return
    if strengths.why_not:
        yield ("Strengths", strengths.why_not, None)
    for label, of in (("these raters", strengths.strengths), ("raters like these", strengths.people)):
        for variant, strength in zip(strengths.variants, of, strict=False):
            name = f"Strength of {variant}, {label}"
            yield figure(name, strength, unit="log-odds", is_difference=True, grain=Grain.RATING)


def _claims(name: str, claims: RaterClaims, *, is_difference: bool) -> Iterator[tuple[object, ...]]:
    for label, test in (("these raters", claims.panel), ("raters like these", claims.people)):
        how = {"is_difference": is_difference, "grain": Grain.RATING}
        yield figure(f"{name}, {label}", test.estimate, unit="points", **how)


def _rater(quality: RaterQuality) -> tuple[object, ...]:
    counts = "rehearsal" if quality.is_rehearsal else "; ".join(quality.excluded_for) or "yes"
    shares = (quality.attention, quality.consistency, quality.left_share)
    return (
        quality.rater + (" (revoked)" if quality.is_revoked else ""),
        quality.n_rated,
        quality.n_waiting,
        *(written(share, unit="share") for share in shares),
        None if quality.median_seconds is None else write_seconds(quality.median_seconds),
        counts,
    )


def _date(seconds: float) -> str:
    return write_date(datetime.fromtimestamp(seconds, tz=UTC).isoformat())
