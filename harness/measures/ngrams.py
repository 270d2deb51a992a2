"""Words and n-grams, the same for every metric of a text."""

from __future__ import annotations

import re
from collections.abc import Sequence

Gram = tuple[str, ...]

# Letters, digits and inner apostrophes make a word; any other visible sign stands alone.
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def words(text: str) -> list[str]:
    """Lower-cased words and punctuation marks of a text."""
    return _WORD.findall(text.lower())


def spoken_words(text: str) -> list[str]:
    """Words alone, without punctuation marks."""
    return [word for word in words(text) if word[0].isalnum() or word[0] == "_"]


def grams(tokens: Sequence[str], n: int) -> list[Gram]:
    """All n-grams in order; none when the text is shorter."""
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
