"""What every page shares: the store, the look, and the companion that speaks to screen readers and minds the focus."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from harness.settings import Settings
from harness.store.database import open_database
from harness.ui.translations import spoken_language, t

if TYPE_CHECKING:
    from sqlalchemy import Engine

ASSETS = Path(__file__).parent / "assets"
_REGION = '<div role="status" aria-live="polite"></div>'
_HIDDEN = "div { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }"

LINE = {
    "saving": "Saving…",
    "lost": "The line is lost. What you pressed is kept here and is sent when the line is back.",
    "reading": "The line is lost. You can go on reading; what you press is kept and sent when it is back.",
}


@st.cache_resource(show_spinner=False)
def store() -> Engine:
    """The ratings, opened once for all sessions of this process."""
    return open_database(Settings.from_environment().database_url)


@cache
def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def dress() -> None:
    """Put the style on the page."""
    st.html(f"<style>{_asset('page.css')}</style>")


def accompany(*, item: str, says: str, showing: str = "", heard: int = 0, given: int = 0) -> None:
    """Say something aloud once, bring focus to the heading marked with `item` when that is new, and see presses home.

    `showing`, `heard` and `given` tell the page in the browser whether its last press has arrived: of which showing of
    the item this is, how many presses the session has heard, how many of the item it holds.
    """
    data = {"item": item, "says": says, "showing": showing, "heard": heard, "given": given}
    data |= {"language": spoken_language(), "line": {name: t(said) for name, said in LINE.items()}}
    _companion()(key="companion", data=data, height="content")


@st.cache_resource(show_spinner=False)
def _companion() -> Any:
    return st.components.v2.component("screentest_companion", html=_REGION, css=_HIDDEN, js=_asset("companion.js"))


def letter(title: str, *paragraphs: str, item: str) -> None:
    """A page of a few sentences: a heading and plain paragraphs."""
    body = "".join(f"<p>{escape(text)}</p>" for text in paragraphs)
    st.html(
        f'<section class="read prose"><h1 tabindex="-1" data-item="{escape(item)}">{escape(title)}</h1>{body}</section>'
    )
