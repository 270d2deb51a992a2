"""The results page: what a study says now. Numbers come as `Estimate` and leave as text with interval and n."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from harness.reporting.looks import Looked, look_at_study
from harness.reporting.numbers import write_count, write_date, write_estimate, write_seconds
from harness.stats import RaterClaims
from harness.store.tracking import Tracking
from harness.studies.exclusion import RaterQuality
from harness.studies.marks import VOTES
from harness.studies.results import PairResult, Strengths, StudyResults, study_results
from harness.studies.studies import Study, find_study, list_studies
from harness.types import Estimate, Grain
from harness.ui.drawing import inert
from harness.ui.frame import store
from harness.ui.tables import draw_table

REFRESH_SECONDS = 15
NONE_YET = "none yet"
PANEL, PEOPLE = "these raters", "raters like these"


def show() -> None:
    """Choose a study and read it; the page follows the votes as they come."""
    st.title("Results")
    studies = list_studies(store())
    if not studies:
        st.info("There is no study yet. `screentest study create` makes one from a finished evaluation.")
        return
    chosen = st.selectbox("Study", studies, format_func=_label)
    _live(chosen.name)


@st.fragment(run_every=REFRESH_SECONDS)
def _live(name: str) -> None:
    found = study_results(store(), find_study(store(), name))
    st.html(draw_results(found))
    if (looked := _look(found)).said:
        st.caption(looked.said)
    now = write_date(datetime.now(tz=UTC).replace(microsecond=0).isoformat())
    st.caption(
        f"As of {now}; looks again every {REFRESH_SECONDS} seconds. Looking often costs nothing: the intervals hold."
    )


def _look(found: StudyResults) -> Looked:
    """The look on record; the store of runs is asked once for every new rating, not at every refresh."""
    key = str(found.seen)
    if st.session_state.get("looked_at") != key:
        st.session_state.looked_at, st.session_state.looked = key, look_at_study(Tracking(), found)
    looked: Looked = st.session_state.looked
    return looked


def _label(study: Study) -> str:
    return f"{study.name} · {study.kind} · {'open' if study.is_open else 'closed'}"


def draw_results(found: StudyResults) -> str:
    """Everything on one page, what may be said first."""
    study = found.study
    parts = [
        f'<section class="read prose"><h2>Question</h2><p class="claim">{inert(study.design.question)}</p>'
        f'<p class="quiet">{inert(study.plan)} Declared before the first rating as {inert(study.declaration[:12])}.</p>'
        f"<p>{inert(_counts(found))}</p></section>"
    ]
    parts += [_note(note) for note in found.notes]
    parts += [_pair(pair) for pair in found.pairs]
    parts += [_strengths(found.strengths)] if found.strengths is not None else []
    if figures := _figures(found):
        parts.append(draw_table("Figures", ("What", "Value", "Rests on"), figures))
    parts.append(draw_table("Raters", RATER_COLUMNS, [_rater(q) for q in found.raters]))
    return "".join(parts)


def _counts(found: StudyResults) -> str:
    return (
        f"{write_count(found.n_rated, 'rating')} {'counts' if found.n_rated == 1 else 'count'}; "
        f"{found.n_waiting:,} are waited for, {found.n_skipped:,} were skipped, {found.n_rehearsal:,} were given in "
        "rehearsal and count nowhere."
    )


def _note(text: str) -> str:
    return f'<p class="read notice">{inert(text)}</p>'


def _pair(pair: PairResult) -> str:
    """One sentence that may be quoted, and whether to go on."""
    look = pair.look
    names = f"{pair.variant} against {pair.opponent}"
    if look.estimate.n == 0:
        return (
            f'<section class="read prose"><h2>{inert(names)}</h2><p>No prompt has been rated by its whole panel yet; '
            f"{write_count(pair.n_waiting, 'prompt')} to go.</p></section>"
        )
    written = write_estimate(look.estimate, unit="share")
    claim = f"These raters prefer {pair.variant} to {pair.opponent} on {written.effect} of prompts."
    basis = f"{write_count(look.estimate.n, 'prompt')}, {written.missing}"
    badge: str = look.advice.action
    if badge == "continue" and pair.n_waiting == 0:
        badge = "all rated"
    elif badge == "continue" and not pair.is_open:
        badge = "closed"
    return (
        f'<section class="read prose"><h2>{inert(names)}</h2><p class="claim">{inert(claim)}</p>'
        f'<p class="quiet">{inert(basis)}; ties and both bad are half; {inert(written.level)} confidence '
        f"sequence, valid at every look; {write_count(pair.n_waiting, 'prompt')} of {pair.n_prompts:,} to go.</p>"
        f'<p><span class="badge">{inert(badge)}</span> {inert(pair.reason)}</p></section>'
    )


def _strengths(fit: Strengths) -> str:
    if fit.why_not:
        return _note(f"No Davidson strengths: {fit.why_not}")
    rows = []
    for variant, *claims in zip(fit.variants, fit.strengths, *([fit.people] if fit.people else []), strict=True):
        rows += [
            (f"{variant}, {label}", *_cells(claim, unit="log-odds", is_difference=True))
            for label, claim in zip((PANEL, PEOPLE), claims, strict=False)
        ]
    extras = (("Left side, between equals", fit.position), ("Left reply longer, a word", fit.length), ("Ties", fit.tie))
    rows += [(name, *_cells(e, unit="log-odds", is_difference=True)) for name, e in extras if e is not None]
    return draw_table("Davidson strengths, to the mean of all", ("Variant", "Strength", "Rests on"), rows)


def _figures(found: StudyResults) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    if found.study.kind != "likert":
        rows.append(("Decisive votes for the left side (50 % without position bias)", *_share(found.left_share)))
        rows.append(("Both bad", *_share(found.both_bad)))
    for pair in found.pairs:
        name = f"Decisive votes for {pair.variant} against {pair.opponent}"
        if pair.win is None:
            rows.append((name, pair.why_not, ""))
        elif not found.study.is_open:  # an interval for one look: shown when there will be no other
            rows.append((f"{name}, at the end, {PANEL}", *_share(pair.win.decisive)))
            rows += [(f"{name}, at the end, {PEOPLE}", *_share(pair.win.people))] if pair.win.people else []
    for agreement in found.agreement:
        name, grain = f"Agreement on {agreement.about}", Grain.PAIR if agreement.about == VOTES else Grain.REPLY
        measured = {"Krippendorff": agreement.krippendorff, "Fleiss": agreement.fleiss}
        shown = [(f"{name}, {who}", *_cells(e, unit="", grain=grain)) for who, e in measured.items() if e is not None]
        rows += shown or [(name, agreement.why_not, "")]
    for marked in found.marks:
        for variant, mean in marked.means:
            rows += _claims(f"{marked.criterion}: {variant}", mean, is_difference=False)
        for a, b, claims in marked.contrasts:
            rows += _claims(f"{marked.criterion}: {a} − {b}", claims, is_difference=True)
    return rows


def _claims(name: str, claims: RaterClaims, *, is_difference: bool) -> list[tuple[str, ...]]:
    """Both claims about people, these raters first."""
    return [
        (f"{name}, {label}", *_cells(test.estimate, unit="points", is_difference=is_difference))
        for label, test in ((PANEL, claims.panel), (PEOPLE, claims.people))
    ]


RATER_COLUMNS = (
    "Rater",
    "Counts",
    "Rated",
    "Waiting",
    "Checks passed",
    "Same when repeated",
    "Left side",
    "Median time",
)


def _rater(quality: RaterQuality) -> tuple[str, ...]:
    if quality.is_rehearsal:
        counts = "no: rehearsal"
    elif quality.is_excluded:
        counts = "no, by the declared rules: " + "; ".join(quality.excluded_for)
    else:
        counts = "yes"
    return (
        quality.rater + (" (link withdrawn)" if quality.is_revoked else ""),
        counts,
        f"{quality.n_rated:,}",
        f"{quality.n_waiting:,}",
        *(_share(share)[0] for share in (quality.attention, quality.consistency, quality.left_share)),
        NONE_YET if quality.median_seconds is None else write_seconds(quality.median_seconds),
    )


def _share(estimate: Estimate | None) -> tuple[str, str]:
    return (NONE_YET, "") if estimate is None else _cells(estimate, unit="share")


def _cells(
    estimate: Estimate, *, unit: str, is_difference: bool = False, grain: Grain = Grain.RATING
) -> tuple[str, str]:
    written = write_estimate(estimate, unit=unit, is_difference=is_difference, grain=grain)
    return written.effect, written.basis
