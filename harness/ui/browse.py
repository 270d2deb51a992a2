"""The browse page: any generations side by side with judge scores; closed while a study's raters must stay blind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import streamlit as st

from harness.errors import ScreentestError
from harness.reporting.finished_reports import record_of
from harness.reporting.looks import log_look
from harness.reporting.numbers import write_count, write_observation
from harness.reporting.record import SampleScore
from harness.store.tracking import Tracking
from harness.types import Generation
from harness.ui.drawing import draw_card, draw_scene, inert
from harness.ui.frame import store
from harness.ui.gallery import (
    Exhibit,
    Votes,
    against_people,
    low_tail,
    prepared_by,
    read_gallery,
    score_names,
    studies_in_the_way,
    text_of,
    votes_on,
)
from harness.ui.reports import choose_evaluation

PER_PAGE = 10
ALL = "all"
EMPTY: Mapping[str, str] = MappingProxyType({})
NONE: Mapping[tuple[str, str], int] = MappingProxyType({})


def show() -> None:
    """Choose an evaluation, search it, and read."""
    st.title("Browse")
    tracking = Tracking()
    if (chosen := choose_evaluation(tracking)) is None:
        return
    home = str(tracking.settings.home)
    try:
        exhibits = _exhibits(home, chosen.run_id)
    except ScreentestError as err:
        st.error(str(err))
        return
    if names := studies_in_the_way(store(), exhibits):
        st.warning(
            f"These replies are being rated blind in {', '.join(names)}. They can be browsed once that is over: "
            + " ".join(f"`screentest study close {name}`" for name in names)
        )
        return
    if looked := _looked(home, chosen.run_id):
        st.caption(looked)
    votes = _votes(home, chosen.run_id)
    _show_exhibits(_narrowed(exhibits, votes), votes)


@st.cache_data(show_spinner="Reading replies", max_entries=4)
def _exhibits(home: str, run_id: str) -> tuple[Exhibit, ...]:
    tracking = Tracking()
    return read_gallery(tracking, record_of(tracking, run_id))


@st.cache_data(show_spinner="Reading votes", ttl=60)
def _votes(home: str, run_id: str) -> Votes:
    return votes_on(store(), _exhibits(home, run_id))


@st.cache_data(show_spinner=False, ttl=60)
def _looked(home: str, run_id: str) -> str:
    """The look on record: reading an evaluation's replies is one beside its report, however often it is done."""
    tracking = Tracking()
    prepared = prepared_by(record_of(tracking, run_id))
    return "" if prepared is None else log_look(tracking, prepared, through="browse", seen={"run": run_id}).said


def _narrowed(exhibits: tuple[Exhibit, ...], votes: Votes) -> list[Exhibit]:
    """What search and filter leave."""
    left, middle, right = st.columns([2, 2, 1])
    words = left.text_input("Search", placeholder="words in prompt or reply")
    names = score_names(exhibits)
    by = middle.selectbox("Lowest scores first", [None, *names], format_func=lambda name: name or "in corpus order")
    share = right.selectbox("Low tail", [5, 10, 25, 100], index=1, format_func=lambda n: f"lowest {n} %")
    variants = list(dict.fromkeys(r.variant for e in exhibits for r in e.replies))
    found = list(exhibits)
    if by is not None:
        whose = st.segmented_control("Low in", [ALL, *variants], default=ALL)
        if votes and st.toggle("Only where people preferred the reply with the lower score"):
            found = against_people(exhibits, votes, score=by)
        else:
            found = low_tail(exhibits, score=by, share=share / 100, variant=None if whose in (None, ALL) else whose)
    return [e for e in found if not words.strip() or e.holds(words.strip())]


def _show_exhibits(exhibits: list[Exhibit], votes: Votes) -> None:
    n_pages = max(1, -(-len(exhibits) // PER_PAGE))
    page = st.number_input(f"Page, of {n_pages}", 1, n_pages, 1) if n_pages > 1 else 1
    st.caption(write_count(len(exhibits), "prompt"))
    if not exhibits:
        st.info("No prompt is left. Empty the search, or choose another score, share or variant.")
    for exhibit in exhibits[(page - 1) * PER_PAGE : page * PER_PAGE]:
        st.html(draw_exhibit(exhibit, votes.get(exhibit.prompt.id, {})))
        st.divider()


def draw_exhibit(exhibit: Exhibit, votes: Mapping[tuple[str, str], int] = NONE) -> str:
    """One prompt with its replies."""
    prompt = exhibit.prompt
    cards = "".join(_card(reply, exhibit.scores.get(reply.variant, {}), votes) for reply in exhibit.replies)
    if prompt.reference:
        cards += _box("human", prompt.reference, ())
    scene = f'<p class="read quiet">{inert(prompt.cluster)}</p>{draw_scene(prompt.messages)}'
    return f'{scene}<div class="read gallery">{cards}</div>'


def _card(reply: Generation, scores: Mapping[str, SampleScore], votes: Mapping[tuple[str, str], int]) -> str:
    n, won = (sum(k for pair, k in votes.items() if reply.variant in pair[:places]) for places in (2, 1))
    marks = [f"preferred in {won} of {write_count(n, 'vote')}"] if n else []
    marks += [f"{name}: {write_observation(score)}" for name, score in sorted(scores.items())]
    ended = {"length": "cut off", "refused": "refused: no reply", "error": "failed: no reply"}
    marks += [ended[reply.finish_reason]] if reply.finish_reason in ended else []
    reasons = {name: score.reason for name, score in sorted(scores.items()) if score.reason}
    return _box(reply.variant, text_of(reply), marks, thinking=reply.thinking, reasons=reasons)


def _box(name: str, text: str, marks: Sequence[str], *, thinking: str = "", reasons: Mapping[str, str] = EMPTY) -> str:
    before = f"<details><summary>thinking</summary>{inert(thinking)}</details>" if thinking else ""
    after = f'<p class="marks">{"".join(f"<span>{inert(mark)}</span>" for mark in marks)}</p>'
    after += "".join(f'<p class="quiet" dir="auto">{inert(of)}: {inert(said)}</p>' for of, said in reasons.items())
    return draw_card(inert(name), inert(text), before=before, after=after)
