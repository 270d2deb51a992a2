"""How `screentest study status` shows a study: progress and raters first, then what may be said."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from harness.reporting.looks import look_at_study
from harness.reporting.numbers import write_count, write_date, write_estimate, write_seconds
from harness.stats import RaterClaims
from harness.store.artifacts import to_json
from harness.store.tracking import Tracking
from harness.studies.results import PairResult, StudyResults, study_results
from harness.studies.studies import find_study, list_studies
from harness.terminal import bold, dim, warning
from harness.types import Estimate
from pipelines.cli.console import emit, say, stdout, table

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from harness.studies.exclusion import RaterQuality


def show_studies(engine: Engine, *, json: bool) -> None:
    """Every study of the store, newest first."""
    known = list_studies(engine)
    if json:
        emit({"studies": [{"name": s.name, "kind": s.kind, "split": s.split, "open": s.is_open} for s in known]})
        return
    if not known:
        say("There is no study yet: `screentest study create experiments/studies/which_is_better.yaml` makes one.")
        return
    rows = [(s.name, s.kind, s.split.upper(), "open" if s.is_open else "closed", _date(s.created_at)) for s in known]
    table("", ("Study", "Kind", "Split", "State", "Made"), rows)


def show_study(engine: Engine, name: str, *, json: bool) -> None:
    """One study with its figures."""
    found = study_results(engine, find_study(engine, name))
    looked = look_at_study(Tracking(), found)
    if json:
        emit({**results_json(found), "n_test_looks": looked.n})
        return
    study = found.study
    state = "open" if study.is_open else "closed"
    stdout().print(f"{bold(study.name)} ({study.kind}, {study.split.upper()}, {state}): {study.design.question}")
    stdout().print(dim(f"{study.plan} Declared {study.declaration[:12]}."), soft_wrap=True)
    stdout().print(
        f"{found.n_rated} ratings count, {found.n_waiting} are waited for, {found.n_skipped} were skipped, "
        f"{found.n_rehearsal} in rehearsal",
        soft_wrap=True,
    )
    columns = ("Rater", "Rated", "Left", "Checks passed", "Same when repeated", "Left side", "Pace", "Counts")
    table("", columns, [_rater(quality) for quality in found.raters])
    for pair in found.pairs:
        stdout().print(sentence(pair), soft_wrap=True)
    _show_rest(found)
    for note in found.notes:
        say(warning(note))
    if looked.said:
        say(f"{dim(looked.said)}")


def sentence(pair: PairResult) -> str:
    """What may be said of two variants now."""
    look = pair.look
    if look.estimate.n == 0:
        return f"{pair.variant} against {pair.opponent}: no prompt has been rated by its whole panel yet."
    mean = write_estimate(look.estimate, unit="share")
    return (
        f"These raters prefer {pair.variant} to {pair.opponent} on {mean.effect} of prompts "
        f"({write_count(look.estimate.n, 'prompt')}, ties half; valid at any look). {pair.advice}"
    )


def results_json(found: StudyResults) -> dict[str, Any]:
    """The results as others script against them."""
    study = found.study
    return {
        "study": study.name,
        "kind": study.kind,
        "split": study.split,
        "open": study.is_open,
        "declaration": study.declaration,
        "plan": study.plan,
        **{key: to_json(getattr(found, key)) for key in ("n_rated", "n_skipped", "n_waiting", "n_rehearsal")},
        **{
            key: to_json(getattr(found, key))
            for key in ("raters", "pairs", "strengths", "left_share", "both_bad", "agreement", "marks", "notes")
        },
    }


def _show_rest(found: StudyResults) -> None:
    rows = [("Both bad", _share(found.both_bad)), ("Left side, of decisive votes", _share(found.left_share))]
    rows += [
        (f"Agreement on {a.about}", "" if a.krippendorff is None else write_estimate(a.krippendorff, unit="").effect)
        for a in found.agreement
    ]
    if found.strengths is not None:
        if found.strengths.why_not:
            rows.append(("Strengths", found.strengths.why_not))
        for label, strengths in (
            ("these raters", found.strengths.strengths),
            ("raters like these", found.strengths.people),
        ):
            for variant, strength in zip(found.strengths.variants, strengths, strict=False):
                written = write_estimate(strength, unit="log-odds", is_difference=True)
                rows.append((f"Strength of {variant}, {label}", written.effect))
    for marked in found.marks:
        for variant, mean in marked.means:
            rows += _claims(f"{marked.criterion}, {variant}", mean, is_difference=False)
        for variant, opponent, claims in marked.contrasts:
            rows += _claims(f"{marked.criterion}, {variant} − {opponent}", claims, is_difference=True)
    shown = [row for row in rows if row[1]]
    if shown:
        table("", ("Figure", "Value, 95 % interval"), shown)


def _claims(name: str, claims: RaterClaims, *, is_difference: bool) -> list[tuple[str, str]]:
    return [
        (f"{name}, {label}", write_estimate(test.estimate, unit="points", is_difference=is_difference).effect)
        for label, test in (("these raters", claims.panel), ("raters like these", claims.people))
    ]


def _rater(quality: RaterQuality) -> tuple[str, ...]:
    counts = "rehearsal" if quality.is_rehearsal else "; ".join(quality.excluded_for) or "yes"
    pace = "" if quality.median_seconds is None else write_seconds(quality.median_seconds)
    shares = (quality.attention, quality.consistency, quality.left_share)
    return (
        quality.rater + (" (revoked)" if quality.is_revoked else ""),
        str(quality.n_rated),
        str(quality.n_waiting),
        *(_share(share) for share in shares),
        pace,
        counts,
    )


def _share(estimate: Estimate | None) -> str:
    return "" if estimate is None else write_estimate(estimate, unit="share").effect


def _date(seconds: float) -> str:
    return write_date(datetime.fromtimestamp(seconds, tz=UTC).isoformat())
