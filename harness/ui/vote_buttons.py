"""The buttons of a rating page. Keys are slot ids and random showings: they say nothing of what is rated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from harness.studies.casting import MAX_REASON
from harness.studies.serving import RatingTask
from harness.types import VoteVerdict
from harness.ui.ballot import Ballot
from harness.ui.drawing import REPLY, draw_criterion, draw_ranking
from harness.ui.translations import t

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
    comment = ask_comment(task)
    with st.container(key="verdicts", horizontal=True):
        for verdict, label, shortcut in VERDICTS:
            st.button(
                t(label),
                key=f"do-{verdict}-{task.slot}",
                shortcut=shortcut,
                wrap=True,
                width="stretch",
                on_click=ballot.vote,
                args=(engine, ballot.nonce, verdict, comment),
            )


def ask_marks(engine: Engine, ballot: Ballot, task: RatingTask) -> None:
    """One criterion in view: its digits mark it and bring the next; what was given stands above."""
    comment = ask_comment(task)
    current = next(c for c in task.criteria if c.name not in ballot.marks)
    st.html(draw_criterion(current, given=ballot.marks, n=len(task.criteria)))
    with st.container(key="marks", horizontal=True):
        for mark in range(current.scale[0], current.scale[1] + 1):
            st.button(
                f"*{current.name}* {mark}",  # the style hides the name from the eye alone
                key=f"do-mark-{task.criteria.index(current)}-{mark}-{task.slot}",
                shortcut=str(mark) if mark <= 9 else None,
                on_click=ballot.mark,
                args=(engine, ballot.nonce, current.name, mark, comment),
            )


def ask_ranking(engine: Engine, ballot: Ballot, task: RatingTask) -> None:
    """Which is the best of what is left, until the order is there; or the best, then the worst."""
    comment = ask_comment(task)
    n = len(ballot.marks)
    ask = ("Which is the best?", "Which is the worst?" if task.is_best_worst else "Which is the best of the others?")[
        n > 0
    ]
    with st.container(key="verdicts", horizontal=True):
        st.html(draw_ranking(t(ask), given=ballot.marks))
        for place in range(1, len(task.replies) + 1):
            if str(place) not in ballot.marks:
                st.button(
                    t(REPLY, place=place),
                    key=f"do-rank-{n}-{place}-{task.slot}",
                    shortcut=str(place),
                    width="stretch",
                    on_click=ballot.rank,
                    args=(engine, ballot.nonce, place, comment),
                )


def ask_comment(task: RatingTask) -> str:
    """Words beside the rating, where the study asks for them."""
    if not task.takes_comment:
        return ""
    return st.text_input(t("Why? (if you like)"), key=f"comment-{task.slot}", max_chars=MAX_REASON).strip()


def ask_reason(engine: Engine, ballot: Ballot, task: RatingTask) -> None:
    """Why an item is skipped: a key for the common reasons, words for the rest."""
    with st.container(key="reasons", horizontal=True):
        for number, reason in enumerate(REASONS, start=1):
            st.button(
                t(reason),
                key=f"do-reason-{number}-{task.slot}",
                shortcut=str(number),
                wrap=True,
                width="stretch",
                on_click=ballot.skip,
                args=(engine, ballot.nonce, reason),
            )
        st.button(
            t("Do not skip"), key=f"do-stay-{task.slot}", shortcut="Esc", width="stretch", on_click=ballot.ask_reason,
            args=(ballot.nonce,), kwargs={"is_skipping": False},
        )  # fmt: skip
    with st.form(f"other-{task.slot}", border=False):
        words = st.text_input(t("Another reason"), max_chars=MAX_REASON, key=f"words-{task.slot}")
        if st.form_submit_button(t("Skip for this reason")) and words.strip():
            ballot.skip(engine, ballot.nonce, words.strip())
            st.rerun()
