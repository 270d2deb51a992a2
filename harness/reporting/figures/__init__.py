"""Pictures as inline SVG, written by ourselves: no script, no font, no colour but the page's own variables.

Each picture is drawn twice, for a wide page and for a phone, because scaled text cannot be read; the style sheet shows
one. A new picture is a new module here that returns a `Figure`, and one line in `harness.reporting.page`.
"""
