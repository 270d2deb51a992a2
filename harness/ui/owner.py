"""The owner's pages, each behind the owner's secret. They run in a process of their own, apart from the raters'."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from harness.errors import ConfigError
from harness.studies.links import is_owner
from harness.ui.frame import dress
from harness.ui.gate import OWNERS

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

PAUSE = 1.0  # seconds after a wrong secret


def pages() -> list[StreamlitPage]:
    """What the owner may open."""
    from harness.ui import browse, chat, reports, results

    shown = {"browse": browse.show, "reports": reports.show, "chat": chat.show}
    paged = [st.Page(_behind(shown[path]), title=path.capitalize(), url_path=path) for path in OWNERS]
    return [st.Page(_behind(results.show), title="Results", default=True), *paged]


def _behind(show: Callable[[], None]) -> Callable[[], None]:
    """A page that shows nothing before the secret was given in this session."""

    def gated() -> None:
        dress()
        if st.session_state.get("is_owner") or _ask():
            show()

    return gated


def _ask() -> bool:
    st.title("Owner's pages")
    with st.form("secret", border=False):
        given = st.text_input("The owner's secret, as set in SCREENTEST_OWNER_SECRET", type="password")
        is_sent = st.form_submit_button("Open", type="primary")
    if not is_sent:
        return False
    try:
        st.session_state.is_owner = is_owner(given)
    except ConfigError as err:
        st.error(str(err))
        return False
    if not st.session_state.is_owner:
        time.sleep(PAUSE)
        st.error("That is not the secret.")
        return False
    st.rerun()
