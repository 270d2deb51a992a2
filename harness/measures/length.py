"""How long replies are."""

from __future__ import annotations

from harness.measures.words import spoken_words


def n_words(text: str) -> int:
    """Words of a reply, punctuation not counted."""
    return len(spoken_words(text))
