"""The buttons of a rating page. Keys are slot ids and random showings: they say nothing of what is rated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from harness.studies.casting import MAX_REASON
from harness.studies.serving import RatingTask
from harness.types import VoteVerdict
from harness.ui.ballot import Ballot
from harness.ui.drawing import REPLY, draw_criterion, draw_ranking
from harness.ui.translations import t

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


def press(label: str, key: str, shortcut: str | None, do: Callable[..., None], *told: object, **looks: Any) -> None:
    """A button of the page; `looks` are Streamlit's own options."""
    st.button(label, key=f"do-{key}", shortcut=shortcut, on_click=do, args=told, **looks)


def ask_verdict(ballot: Ballot, task: RatingTask) -> None:
    """Which reply is better."""
    comment = ask_comment(task)
    with st.container(key="verdicts", horizontal=True):
        for verdict, label, shortcut in VERDICTS:
            key, told = f"{verdict}-{task.slot}", (ballot.nonce, verdict, comment)
            press(t(label), key, shortcut, ballot.vote, *told, wrap=True, width="stretch")


def ask_marks(ballot: Ballot, task: RatingTask) -> None:
    """One criterion in view: its digits mark it and bring the next; what was given stands above."""
    comment = ask_comment(task)
    current = next(c for c in task.criteria if c.name not in ballot.marks)
    st.html(draw_criterion(current, given=ballot.marks, n=len(task.criteria)))
    with st.container(key="marks", horizontal=True):
        for mark in range(current.scale[0], current.scale[1] + 1):
            key, shortcut = f"mark-{task.criteria.index(current)}-{mark}-{task.slot}", str(mark) if mark <= 9 else None
            label = f"*{current.name}* {mark}"  # the style hides the name from the eye alone
            press(label, key, shortcut, ballot.mark, ballot.nonce, current.name, mark, comment)


def ask_ranking(ballot: Ballot, task: RatingTask) -> None:
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
                key, told = f"rank-{n}-{place}-{task.slot}", (ballot.nonce, place, comment)
                press(t(REPLY, place=place), key, str(place), ballot.rank, *told, width="stretch")


def ask_comment(task: RatingTask) -> str:
    """Words beside the rating, where the study asks for them."""
    if not task.takes_comment:
        return ""
    return st.text_input(t("Why? (if you like)"), key=f"comment-{task.slot}", max_chars=MAX_REASON).strip()


def ask_reason(ballot: Ballot, task: RatingTask) -> None:
    """Why an item is skipped: a key for the common reasons, words for the rest."""
    with st.container(key="reasons", horizontal=True):
        for n, reason in enumerate(REASONS, start=1):
            key, told = f"reason-{n}-{task.slot}", (ballot.nonce, reason)
            press(t(reason), key, str(n), ballot.skip, *told, wrap=True, width="stretch")
        stay: dict[str, Any] = {"kwargs": {"is_skipping": False}, "width": "stretch"}
        press(t("Do not skip"), f"stay-{task.slot}", "Esc", ballot.ask_reason, ballot.nonce, **stay)
    with st.form(f"other-{task.slot}", border=False):
        words = st.text_input(t("Another reason"), max_chars=MAX_REASON, key=f"words-{task.slot}")
        if st.form_submit_button(t("Skip for this reason")) and words.strip():
            ballot.skip(ballot.nonce, words.strip())
            st.rerun()
