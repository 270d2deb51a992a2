"""The buttons of a rating page. Keys are slot ids and random showings: they say nothing of what is rated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from harness.studies.casting import MAX_REASON
from harness.studies.serving import RatingTask, Scale
from harness.types import VoteVerdict
from harness.ui.ballot import Ballot
from harness.ui.drawing import draw_scale

if TYPE_CHECKING:
    from sqlalchemy import Engine

VERDICTS: tuple[tuple[VoteVerdict, str, str], ...] = (  # verdict, label, key
    ("left", "Reply 1 is better", "1"),
    ("right", "Reply 2 is better", "2"),
    ("tie", "Equally good", "0"),
    ("both_bad", "Both bad", "b"),
)
REASONS = (
    "I cannot follow this conversation",
    "I know where this is from",
    "I would rather not read this",
)


def ask_verdict(engine: Engine, ballot: Ballot, task: RatingTask) -> None:
    """Which reply is better."""
    with st.container(key="verdicts", horizontal=True):
        for verdict, label, shortcut in VERDICTS:
            st.button(
                label,
                key=f"{verdict}-{task.slot}",
                shortcut=shortcut,
                wrap=True,
                width="stretch",
                on_click=ballot.vote,
                args=(engine, ballot.nonce, verdict),
            )


def ask_marks(engine: Engine, ballot: Ballot, task: RatingTask) -> None:
    """One row of marks for each criterion; the digits on the keyboard mark the first that has none."""
    current = next((scale.name for scale in task.scales if scale.name not in ballot.marks), None)
    for number, scale in enumerate(task.scales):
        st.html(draw_scale(scale))
        with st.container(key=f"marks-{number}", horizontal=True):
            for mark in range(scale.low, scale.high + 1):
                _mark_button(engine, ballot, task, scale, mark, is_current=scale.name == current)


def _mark_button(
    engine: Engine, ballot: Ballot, task: RatingTask, scale: Scale, mark: int, *, is_current: bool
) -> None:
    st.button(
        f"*{scale.name}* {mark}",  # the style hides the name from the eye alone
        key=f"{scale.name}-{mark}-{task.slot}",
        type="primary" if ballot.marks.get(scale.name) == mark else "secondary",
        shortcut=str(mark) if is_current and mark <= 9 else None,
        on_click=ballot.mark,
        args=(engine, ballot.nonce, scale.name, mark),
    )


def ask_reason(engine: Engine, ballot: Ballot, task: RatingTask) -> None:
    """Why an item is skipped: a key for the common reasons, words for the rest."""
    with st.container(key="reasons", horizontal=True):
        for number, reason in enumerate(REASONS, start=1):
            st.button(
                reason,
                key=f"reason-{number}-{task.slot}",
                shortcut=str(number),
                wrap=True,
                width="stretch",
                on_click=ballot.skip,
                args=(engine, ballot.nonce, reason),
            )
        st.button(
            "Do not skip", key=f"stay-{task.slot}", shortcut="Esc", width="stretch", on_click=_stay, args=(ballot,)
        )
    with st.form(f"other-{task.slot}", border=False):
        words = st.text_input("Another reason", max_chars=MAX_REASON, key=f"words-{task.slot}")
        if st.form_submit_button("Skip for this reason") and words.strip():
            ballot.skip(engine, ballot.nonce, words.strip())
            st.rerun()


def _stay(ballot: Ballot) -> None:
    ballot.is_skipping = False
