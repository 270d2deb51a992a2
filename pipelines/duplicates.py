"""Near-duplicates across splits: exchanges and replies that stand, word for word or nearly, on both sides.

Scripts quote each other, sequels repeat scenes, and data sets hold one row twice. A reply that a model trained on says
nothing about it when it is tested on the same. Two rules, both over lower-case words without punctuation:

- *exchange*: the turn to answer and the reply are the same, with at least 8 words between them;
- *reply*: of the word trigrams of the shorter reply (at least 8 words) at least 80 % stand in the other.

"Yes." or "I don't know." is nobody's property and never a duplicate by itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.types import SPLITS

MIN_WORDS = 8
MIN_CONTAINMENT = 0.8

# A trigram in more texts than this is a set phrase and points at no particular one.
_MAX_TEXTS_PER_TRIGRAM = 200

# Scripts without spaces count by the character.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_APOSTROPHE = re.compile(r"['’]")

Rule = Literal["exchange", "reply"]
_Codes = NDArray[np.int8]
_Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """A window whose like stands in a split that is held out from it."""

    window: int  # index of the window that comes earlier in train < validation < test
    other: int  # index of its nearest like in the later split; the first of several
    rule: Rule
    similarity: float  # share of the shorter reply's trigrams that the other has; 1 for the same words


def find_duplicates(*, asked: Sequence[str], replies: Sequence[str], splits: _Codes) -> list[Duplicate]:
    """Windows of TRAIN that stand in VALIDATION or TEST, and of VALIDATION that stand in TEST.

    Args:
        asked: the turn to answer of each window, length n.
        replies: the reply of each window, length n.
        splits: index into SPLITS of each window, (n,).

    Returns:
        At most one duplicate per window and later split, the nearest; by window, then by split.

    Raises:
        ValueError: when the three lengths differ.
    """
    if not len(asked) == len(replies) == len(splits):
        lengths = f"{len(asked)}, {len(replies)} and {len(splits)}"
        raise ValueError(f"`asked`, `replies` and `splits` must be of one length, got {lengths}")
    reply_words = [words(text) for text in replies]
    found: list[Duplicate] = []
    for earlier, later in ((0, 1), (0, 2), (1, 2)):
        ours, theirs = np.flatnonzero(splits == earlier), np.flatnonzero(splits == later)
        matches = _near(reply_words, ours, theirs)
        matches.update(_exact(asked, reply_words, ours, theirs))
        found += matches.values()
    return sorted(found, key=lambda duplicate: (duplicate.window, splits[duplicate.other]))


def words(text: str) -> tuple[str, ...]:
    """Lower-case words; punctuation and apostrophes do not count."""
    return tuple(_WORD.findall(_APOSTROPHE.sub("", text.lower())))


def describe(duplicates: Sequence[Duplicate], splits: _Codes) -> dict[str, int]:
    """How many of each kind, e.g. `reply: train in test`."""
    counts: dict[str, int] = {}
    for duplicate in duplicates:
        key = f"{duplicate.rule}: {SPLITS[splits[duplicate.window]]} in {SPLITS[splits[duplicate.other]]}"
        counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))


def _exact(
    asked: Sequence[str], reply_words: Sequence[tuple[str, ...]], ours: _Integers, theirs: _Integers
) -> dict[int, Duplicate]:
    """The exchange rule, by window."""
    held: dict[tuple[tuple[str, ...], tuple[str, ...]], int] = {}
    for i in theirs.tolist():
        held.setdefault((words(asked[i]), reply_words[i]), i)
    matches = {}
    for i in ours.tolist():
        exchange = (words(asked[i]), reply_words[i])
        if len(exchange[0]) + len(exchange[1]) >= MIN_WORDS and exchange in held:
            matches[i] = Duplicate(window=i, other=held[exchange], rule="exchange", similarity=1.0)
    return matches


def _near(reply_words: Sequence[tuple[str, ...]], ours: _Integers, theirs: _Integers) -> dict[int, Duplicate]:
    """The reply rule, by window; each distinct text is compared once."""
    left, right = _distinct(reply_words, ours), _distinct(reply_words, theirs)
    best: dict[tuple[str, ...], tuple[float, int]] = {text: (1.0, right[text][0]) for text in left if text in right}
    lefts, rights = list(left), list(right)
    numbers: dict[str, int] = {}
    sets = [frozenset(_trigrams(text, numbers)) for text in (*lefts, *rights)]
    for i, j in _candidates(sets, len(lefts)):
        a, b = sets[i], sets[len(lefts) + j]
        similarity = len(a & b) / min(len(a), len(b))
        text, other = lefts[i], right[rights[j]][0]
        if similarity >= MIN_CONTAINMENT and (-similarity, other) < _rank(best.get(text)):
            best[text] = (similarity, other)
    return {
        window: Duplicate(window=window, other=other, rule="reply", similarity=similarity)
        for text, (similarity, other) in best.items()
        for window in left[text]
    }


def _rank(match: tuple[float, int] | None) -> tuple[float, int]:
    return (1.0, 0) if match is None else (-match[0], match[1])


def _distinct(reply_words: Sequence[tuple[str, ...]], indices: _Integers) -> dict[tuple[str, ...], list[int]]:
    texts: dict[tuple[str, ...], list[int]] = {}
    for i in indices.tolist():
        if len(reply_words[i]) >= MIN_WORDS:
            texts.setdefault(reply_words[i], []).append(i)
    return texts


def _trigrams(text: tuple[str, ...], numbers: dict[str, int]) -> Iterator[int]:
    """Neighbouring word triples as numbers; words are numbered as they come, so two runs agree."""
    ids = [numbers.setdefault(word, len(numbers)) for word in text]
    return ((a << 64) | (b << 32) | c for a, b, c in zip(ids, ids[1:], ids[2:], strict=False))


def _candidates(sets: Sequence[frozenset[int]], n_left: int) -> Iterator[tuple[int, int]]:
    """Pairs (left, right) that may contain one another, each once.

    If 80 % of A's n trigrams stand in B, then one of A's n − ⌈0.8 n⌉ + 1 rarest does (prefix filtering,
    Chaudhuri, Ganti & Kaushik 2006), and rare trigrams point at few texts.
    """
    frequency: dict[int, int] = {}
    for trigrams in sets:
        for trigram in trigrams:
            frequency[trigram] = frequency.get(trigram, 0) + 1
    holders: tuple[dict[int, list[int]], dict[int, list[int]]] = ({}, {})
    for number, trigrams in enumerate(sets):
        side = int(number >= n_left)
        for trigram in trigrams:
            if frequency[trigram] > 1:
                holders[side].setdefault(trigram, []).append(number)
    pairs: set[tuple[int, int]] = set()
    for number, trigrams in enumerate(sets):
        others = holders[int(number < n_left)]
        n_rarest = len(trigrams) - math.ceil(MIN_CONTAINMENT * len(trigrams) - 1e-9) + 1
        for trigram in sorted(trigrams, key=lambda t: (frequency[t], t))[:n_rarest]:
            for other in others.get(trigram, ())[:_MAX_TEXTS_PER_TRIGRAM]:
                pairs.add((min(number, other), max(number, other) - n_left))
    return iter(sorted(pairs))
