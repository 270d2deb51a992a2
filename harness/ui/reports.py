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
    if (chosen := choose_evaluation(tracking)) is None:
        return
    page = (tracking.folder(chosen.run_id) / "report.html").read_text(encoding="utf-8")
    st.download_button("Download this report", page, file_name="report.html", mime="text/html")
    st.iframe(page, height=PAGE_HEIGHT)


@st.cache_data(show_spinner=False)
def _label(home: str, run_id: str) -> str:
    record = record_of(Tracking(), run_id)
    return f"{record.title} · {record.created[:16].replace('T', ' ')} · {record.question}"


def choose_evaluation(tracking: Tracking) -> RunInfo | None:
    """One of the finished evaluations; None where there is none, which the page then says."""
    home = str(tracking.settings.home)
    try:
        if runs := analyses(tracking):
            return st.selectbox("Evaluation", runs, format_func=lambda info: _label(home, info.run_id))
        st.info("Nothing has been evaluated yet. Run `screentest quickstart` and come back.")
    except ScreentestError as err:
        st.error(str(err))
    return None
