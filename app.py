"""Streamlit entry: navigation over `harness/ui`, nothing else.

`screentest rate` starts it for raters, who get one page; `screentest rate --owner` starts it, in another process, with
`SCREENTEST_PAGES=owner`.
"""

from __future__ import annotations

import os

import streamlit as st

is_owner = os.environ.get("SCREENTEST_PAGES") == "owner"
st.set_page_config(page_title="Screentest", layout="wide" if is_owner else "centered")
if is_owner:
    from harness.ui.owner import pages

    st.navigation(pages()).run()
else:
    from harness.ui import rate

    st.navigation([st.Page(rate.show, title="Rate", default=True)], position="hidden").run()
