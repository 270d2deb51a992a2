"""The reports page: every finished evaluation of this store, newest first, shown as it was rendered."""

from __future__ import annotations

import streamlit as st

from harness.errors import ScreentestError
from harness.reporting.finished_reports import analyses, record_of
from harness.store.tracking import RunInfo, Tracking

PAGE_HEIGHT = 1400  # pixels; the report scrolls inside


def show() -> None:
    """Choose an evaluation and read its report."""
    st.title("Reports")
    tracking = Tracking()
    try:
        runs = analyses(tracking)
    except ScreentestError as err:
        st.error(str(err))
        return
    if not runs:
        st.info("Nothing has been evaluated yet. Run `screentest quickstart` and come back.")
        return
    chosen = st.selectbox("Evaluation", runs, format_func=lambda info: label_of(tracking, info))
    page = (tracking.folder(chosen.run_id) / "report.html").read_text(encoding="utf-8")
    st.download_button("Download this report", page, file_name="report.html", mime="text/html")
    st.iframe(page, height=PAGE_HEIGHT)


@st.cache_data(show_spinner=False)
def _labels(home: str, run_id: str) -> str:
    record = record_of(Tracking(), run_id)
    return f"{record.title} · {record.created[:16].replace('T', ' ')} · {record.question}"


def label_of(tracking: Tracking, info: RunInfo) -> str:
    """What an evaluation is called in a list of them."""
    return _labels(str(tracking.settings.home), info.run_id)
