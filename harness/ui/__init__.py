"""Streamlit pages: the logic under app.py."""
