"""Loops and echoes: what a reply says twice, and what it merely says back."""

from __future__ import annotations

from collections.abc import Sequence

from harness.measures.measure import Measure
from harness.measures.words import grams, words

MEASURES = (
    Measure(
        name="repetition",
        label="Repetition",
        unit="share",
        better="lower",
        description="Share of a reply's word n-grams that it has said before: loops show here.",
        phrase=("repeats itself less within a reply", "repeats itself more within a reply"),
        origin="replies",
        is_rate=True,
    ),
    Measure(
        name="echo",
        label="Echo of the context",
        unit="share",
        better="lower",
        description="Share of a reply's word n-grams copied from the conversation so far.",
        phrase=("copies less of the conversation", "copies more of the conversation"),
        origin="replies",
        is_rate=True,
    ),
)

ORDER = 3  # words: short enough to find a loop in one line, long enough that "I don't" is none


def repetition(text: str, *, n: int = ORDER) -> float | None:
    """Share of a reply's n-grams that it has said before: 1 − distinct n-grams / n-grams.

    0 for a reply of fewer than n words, which has no room for a loop; None (missing) for an empty one. The
    sequence-level repetition of Welleck et al. (1908.04319, section 6.1) with words for tokens.
    """
    tokens = words(text)
    if not tokens:
        return None
    found = grams(tokens, n)
    return 1 - len(set(found)) / len(found) if found else 0.0


def echo(text: str, context: Sequence[str], *, n: int = ORDER) -> float | None:
    """Share of a reply's n-grams that stand in one of the context's turns; None (missing) for an empty reply.

    A reply of fewer than n words is compared whole: it is an echo (1) if its words stand in a row in the context.
    """
    tokens = words(text)
    if not tokens:
        return None
    order = min(n, len(tokens))
    said = {gram for turn in context for gram in grams(words(turn), order)}
    found = grams(tokens, order)
    return sum(gram in said for gram in found) / len(found)
