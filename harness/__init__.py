"""Screentest's evaluation library: generate, judge, estimate, report. Never imports `pipelines`."""
