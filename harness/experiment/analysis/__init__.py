"""Analysis: rows of measures become findings with intervals and verdicts."""
