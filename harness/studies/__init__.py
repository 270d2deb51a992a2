"""Blind human ratings: studies, their schedule, the append-only store, what a rater sees, and what may be concluded.

Start with `studies.create_study`, `serving.next_task` and `casting.cast_rating`; docs/human-study.md walks through one.
"""
