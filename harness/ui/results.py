"""The results page: what a study says now. Numbers come as `Estimate` and leave as text with interval and n."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import streamlit as st

from harness.reporting import study_text
from harness.reporting.looks import Looked, look_at_study
from harness.reporting.numbers import write_date, write_estimate, write_seconds
from harness.store.tracking import Tracking
from harness.studies.exclusion import RaterQuality
from harness.studies.marks import VOTES
from harness.studies.results import PairResult, StudyResults, study_results
from harness.studies.studies import Study, find_study, list_studies
from harness.studies.tally import PromptVotes
from harness.types import Estimate, Grain
from harness.ui.drawing import draw_card, draw_notice, draw_table, inert
from harness.ui.frame import store
from harness.ui.picture import draw_votes

REFRESH_SECONDS = 15
NONE_YET = "none yet"
RATE = "screentest rate"
MOST_DISPUTED = 6


def show() -> None:
    """Choose a study and read it; the page follows the votes as they come."""
    st.title("Results")
    studies = list_studies(store())
    if not studies:
        st.info(
            "There is no study yet. After an evaluation (`screentest quickstart` makes one) run "
            "`screentest study create experiments/studies/which_is_better.yaml`."
        )
        return
    chosen = st.selectbox("Study", studies, format_func=_label)
    _live(chosen.name)


@st.fragment(run_every=REFRESH_SECONDS)
def _live(name: str) -> None:
    found = study_results(store(), find_study(store(), name))
    st.html(draw_answer(found))
    if disputes := draw_disputes(found):
        st.html(disputes)
    for title, text in draw_folded(found):
        with st.expander(title):
            st.html(text)
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


def draw_answer(found: StudyResults) -> str:
    """What a person who asked three friends wants to know: one sentence, one picture, what to do."""
    study = found.study
    parts = [f'<section class="read prose"><h2>Question</h2><p>{inert(study.design.question)}</p></section>']
    parts += [draw_notice(note) for note in found.notes]
    parts += [_pair(pair) for pair in found.pairs]
    parts += [_marked(found)] if found.marks else []
    last = f"{study.plan} Declared before the first rating as {study.declaration[:12]}."
    texts = filter(None, (study_text.counted(found), study_text.dropped(found), last))
    told = "".join(f'<p class="quiet">{inert(text)}</p>' for text in texts)
    return "".join([*parts, f'<section class="read prose">{told}</section>'])


def _pair(pair: PairResult) -> str:
    """Sentences that may be quoted, the picture, and whether to go on."""
    names = f"<h2>{inert(f'{pair.variant} against {pair.opponent}')}</h2>"
    if pair.look.estimate.n == 0:
        how = f"<p>Raters come by their links, to <code>{RATE}</code>.</p>" if pair.is_open else ""
        return f'<section class="read prose">{names}<p>{inert(study_text.waiting(pair))}</p>{how}</section>'
    return (
        f'<section class="read prose">{names}<p class="claim">{inert(study_text.preferred(pair))}</p>'
        f"<p>{inert(study_text.mean_vote(pair))}</p></section>{draw_votes(pair)}"
        f'<section class="read prose"><p><b>{inert(study_text.next_step(pair))}</b></p></section>'
    )


def _marked(found: StudyResults) -> str:
    """Differences of marks, about these raters."""
    lines = "".join(
        f'<p class="claim">{inert(study_text.marked(of.criterion, a, b, claims))}</p>'
        for of in found.marks
        for a, b, claims in of.contrasts
    )
    none = "<p>No rater has marked two variants on one prompt yet.</p>"
    return f'<section class="read prose"><h2>Marks</h2>{lines or none}</section>'


def draw_disputes(found: StudyResults) -> str:
    """The prompts on which raters preferred opposite replies; not while somebody may still rate them blind."""
    if found.study.is_open and found.n_waiting:
        return ""
    return "".join(
        f'<section class="read"><h2>Where they disagreed most on {inert(pair.variant)} and {inert(pair.opponent)}</h2>'
        f"{''.join(_disputed(prompt) for prompt in pair.tally.disputed[:MOST_DISPUTED])}</section>"
        for pair in found.pairs
        if pair.tally.disputed
    )


def _disputed(prompt: PromptVotes) -> str:
    last = prompt.messages[-1]
    line = f"<bdi>{inert(last.name or '')}</bdi>{': ' if last.name else ''}<bdi>{inert(last.content)}</bdi>"
    said = Counter(vote for _, vote in prompt.votes)
    others = ", ".join(
        f"{said[key]} {word}" for key, word in (("tie", "equally good"), ("both_bad", "both bad")) if said[key]
    )
    cards = "".join(
        draw_card(f"{name}: {said[reply.variant]} of {len(prompt.votes)}", inert(reply.text), label=name, level=3)
        for reply in prompt.replies
        for name in (inert(reply.variant),)
    )
    words = "".join(f"<p class='quiet'>“{inert(text)}”</p>" for text in prompt.comments)
    more = f'<p class="quiet">{inert(others)}</p>' if others else ""
    return f'<p class="prompt">{line}</p><div class="replies">{cards}</div>{more}{words}'


def draw_folded(found: StudyResults) -> list[tuple[str, str]]:
    """Everything else, each under a title."""
    n_excluded = sum(rater.is_excluded for rater in found.raters)
    raters = f"Raters, one by one ({len(found.raters)}{f', {n_excluded} not counted' if n_excluded else ''})"
    folded = [("Would other people say the same?", _others(found))]
    if figures := _figures(found):
        folded.append(
            ("Agreement, sides, marks", draw_table("About these raters", ("What", "Value", "Rests on"), figures))
        )
    return [
        *(part for part in folded if part[1]),
        (raters, draw_table("Raters", RATER_COLUMNS, [_rater(q) for q in found.raters])),
    ]


def _others(found: StudyResults) -> str:
    """Claims about raters like these; what says nothing is told once."""
    claims: list[tuple[str, Estimate, str, float | None, bool]] = []
    for pair in found.pairs:
        if pair.win is not None and pair.win.people is not None and not found.study.is_open:
            claims.append((f"Decisive votes for {pair.variant}", pair.win.people, "share", 1.0, False))
    if found.strengths is not None:
        fit = found.strengths
        claims += [
            (f"Strength of {v}", e, "log-odds", None, True) for v, e in zip(fit.variants, fit.people, strict=False)
        ]
    span = {c.name: float(c.scale[1] - c.scale[0]) for c in found.study.criteria}
    for of in found.marks:
        claims += [
            (f"{of.criterion}: {v}", m.people.estimate, "points", span[of.criterion], False) for v, m in of.means
        ]
        claims += [
            (f"{of.criterion}: {a} − {b}", c.people.estimate, "points", 2 * span[of.criterion], True)
            for a, b, c in of.contrasts
        ]
    rows = [
        (what, *_cells(estimate, unit=unit, is_difference=signed))
        for what, estimate, unit, most, signed in claims
        if not study_text.says_nothing(estimate, span=most)
    ]
    shown = draw_table("About raters like these", ("What", "Value", "Rests on"), rows) if rows else ""
    return shown + (draw_notice(study_text.too_few(found)) if len(rows) < len(claims) else "")


def _figures(found: StudyResults) -> list[tuple[str, ...]]:
    """About these raters."""
    rows: list[tuple[str, ...]] = []
    if found.study.kind != "likert":
        rows.append(("Decisive votes for the left side (50 % without position bias)", *_share(found.left_share)))
        rows.append(("Both bad", *_share(found.both_bad)))
    for pair in found.pairs:
        if pair.win is None:
            rows.append((f"Decisive votes for {pair.variant} against {pair.opponent}", pair.why_not, ""))
        elif not found.study.is_open:  # an interval for one look: shown when there will be no other
            rows.append((f"Decisive votes for {pair.variant}, at the end", *_share(pair.win.decisive)))
    for agreement in found.agreement:
        name, grain = f"Agreement on {agreement.about}", Grain.PAIR if agreement.about == VOTES else Grain.REPLY
        measured = {"Krippendorff": agreement.krippendorff, "Fleiss": agreement.fleiss}
        shown = [(f"{name}, {who}", *_cells(e, unit="", grain=grain)) for who, e in measured.items() if e is not None]
        rows += shown or [(name, agreement.why_not, "")]
    fit, model = found.strengths, "Plackett–Luce" if found.study.kind == "ranking" else "Davidson"
    if fit is not None and fit.why_not:
        rows.append((f"{model} strengths", fit.why_not, ""))
    elif fit is not None:
        named = [(f"{model} strength of {v}", e) for v, e in zip(fit.variants, fit.strengths, strict=True)]
        named += [(n, e) for n, e in (("Left reply longer, a word", fit.length),) if e is not None]
        rows += [(name, *_cells(e, unit="log-odds", is_difference=True)) for name, e in named]
    for marked in found.marks:
        rows += [(f"{marked.criterion}: {v}", *_cells(m.panel.estimate, unit="points")) for v, m in marked.means]
    return rows


RATER_COLUMNS = (
    *("Rater", "Counts", "Rated", "Waiting"),
    *("Checks passed", "Same when repeated", "Left side", "Median time"),
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
