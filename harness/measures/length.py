"""How long replies are."""

from __future__ import annotations

from harness.measures.measure import Measure
from harness.measures.words import spoken_words

MEASURES = (
    Measure(
        name="length",
        label="Length",
        unit="words",
        better=None,
        description="Words per reply.",
        origin="replies",
    ),
)


def n_words(text: str) -> int:
    """Words of a reply, punctuation not counted."""
    return len(spoken_words(text))
