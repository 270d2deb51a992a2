"""Streamlit entry: `streamlit run app.py`. Navigation over `harness/ui`, nothing else."""

from __future__ import annotations

import streamlit as st

from harness.ui import reports

st.set_page_config(page_title="Screentest", layout="wide")
st.navigation([st.Page(reports.show, title="Reports", url_path="reports", default=True)]).run()
