"""Near-duplicates across splits: exchanges and replies that stand, word for word or nearly, on both sides.

Scripts quote each other, sequels repeat scenes, and data sets hold one row twice. A reply that a model trained on says
nothing about it when it is tested on the same. Two rules, both over lower-case words without punctuation:

- *exchange*: the turn to answer and the reply are the same, with at least 8 words between them;
- *reply*: of the word trigrams of the shorter reply (at least 8 words) at least 80 % stand in the other.

"Yes." or "I don't know." is nobody's property and never a duplicate by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.types import SPLITS
from pipelines.corpus.blocks import ragged_range

MIN_WORDS = 8
MIN_CONTAINMENT = 0.8

# A trigram in more texts than this is a set phrase and points at no particular one.
_MAX_TEXTS_PER_TRIGRAM = 100

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
        splits: index into SPLITS of each window, (n,).

    Returns:
        At most one duplicate per window and later split, the nearest; by window, then by split.
    """
    plain = {text: " ".join(words(text)) for text in {*asked, *replies}}
    asked, replies = [plain[text] for text in asked], [plain[text] for text in replies]
    texts = _Texts(replies)
    found: list[Duplicate] = []
    for earlier, later in ((0, 1), (0, 2), (1, 2)):
        ours, theirs = np.flatnonzero(splits == earlier), np.flatnonzero(splits == later)
        matches = _near(texts, replies, ours, theirs)
        matches.update(_exact(asked, replies, ours, theirs))
        found += matches.values()
    return sorted(found, key=lambda duplicate: (duplicate.window, splits[duplicate.other]))


def words(text: str) -> list[str]:
    """Lower-case words; punctuation and apostrophes do not count."""
    return _WORD.findall(_APOSTROPHE.sub("", text.lower()))


def is_near_copy(reply: str, other: str) -> bool:
    """Whether two texts are nearly the same by the rule *reply*: 8 words, and 80 % of the shorter's trigrams."""
    one, two = sorted((words(reply), words(other)), key=len)
    if len(one) < MIN_WORDS:
        return False
    wanted, there = (set(zip(text, text[1:], text[2:], strict=False)) for text in (one, two))
    return len(wanted & there) >= MIN_CONTAINMENT * len(wanted)


def describe(duplicates: Sequence[Duplicate], splits: _Codes) -> dict[str, int]:
    """How many of each kind, e.g. `reply: train in test`."""
    counts: dict[str, int] = {}
    for duplicate in duplicates:
        key = f"{duplicate.rule}: {SPLITS[splits[duplicate.window]]} in {SPLITS[splits[duplicate.other]]}"
        counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))


def _exact(asked: Sequence[str], replies: Sequence[str], ours: _Integers, theirs: _Integers) -> dict[int, Duplicate]:
    """The exchange rule, by window."""
    held: dict[tuple[str, str], int] = {}
    for i in theirs.tolist():
        held.setdefault((asked[i], replies[i]), i)
    matches = {}
    for i in ours.tolist():
        exchange = (asked[i], replies[i])
        if exchange in held and len(asked[i].split()) + len(replies[i].split()) >= MIN_WORDS:
            matches[i] = Duplicate(window=i, other=held[exchange], rule="exchange", similarity=1.0)
    return matches


def _near(texts: _Texts, replies: Sequence[str], ours: _Integers, theirs: _Integers) -> dict[int, Duplicate]:
    """The reply rule, by window; each distinct text is compared once."""
    left, right = _windows_of(texts, replies, ours), _windows_of(texts, replies, theirs)
    best = {text: (-1.0, right[text][0]) for text in left if text in right}
    pairs = texts.alike(np.array(sorted(left), dtype=np.int64), np.array(sorted(right), dtype=np.int64))
    for text, other, similarity in zip(*(column.tolist() for column in pairs), strict=True):
        candidate = (-similarity, right[other][0])
        best[text] = min(best.get(text, candidate), candidate)
    return {
        window: Duplicate(window=window, other=other, rule="reply", similarity=-negative)
        for text, (negative, other) in best.items()
        for window in left[text]
    }


def _windows_of(texts: _Texts, replies: Sequence[str], indices: _Integers) -> dict[int, list[int]]:
    """The windows of each text that is long enough to compare."""
    windows: dict[int, list[int]] = {}
    for i in indices.tolist():
        text = texts.numbers.get(replies[i])
        if text is not None:
            windows.setdefault(text, []).append(i)
    return windows


class _Texts:
    """The distinct replies of 8 words or more with their trigrams as numbers.

    `_texts` and `_trigrams` are columns of one table without repeated rows, ordered by text, then trigram.
    """

    def __init__(self, replies: Sequence[str]) -> None:
        self.numbers: dict[str, int] = {}
        vocabulary: dict[str, int] = {}
        flat: list[int] = []
        lengths: list[int] = []
        for reply in replies:
            if reply in self.numbers or reply.count(" ") < MIN_WORDS - 1:
                continue
            self.numbers[reply] = len(lengths)
            ids = [vocabulary.setdefault(word, len(vocabulary)) for word in reply.split(" ")]
            flat += ids
            lengths.append(len(ids))
        n_words = np.array(lengths, dtype=np.int64)
        places = ragged_range(np.cumsum(n_words) - n_words, n_words - 2)
        trigrams = _triples(np.array(flat, dtype=np.int64), places, len(vocabulary))
        self._base = int(trigrams.max()) + 1 if len(trigrams) else 1
        self._rows = np.unique(np.repeat(np.arange(len(lengths)), n_words - 2) * self._base + trigrams)
        self._texts, self._trigrams = np.divmod(self._rows, self._base)
        self._n = np.bincount(self._texts, minlength=len(lengths))
        self._starts = np.cumsum(self._n) - self._n
        self._is_rare = self._rarest()

    def alike(self, left: _Integers, right: _Integers) -> tuple[_Integers, _Integers, NDArray[np.float64]]:
        """Columns of all pairs that contain one another: left text, right text, share of the shorter's trigrams."""
        one, two = self._meetings(left, right), self._meetings(right, left)
        n = len(self._n)
        pairs = np.unique(np.concatenate([one[0] * n + one[1], two[1] * n + two[0]]))
        a, b = np.divmod(pairs, max(n, 1))
        a, b = a[a != b], b[a != b]
        shorter, longer = np.where(self._n[a] <= self._n[b], (a, b), (b, a))
        wanted = ragged_range(self._starts[shorter], self._n[shorter])
        keys = np.repeat(longer, self._n[shorter]) * self._base + self._trigrams[wanted]
        places = np.minimum(np.searchsorted(self._rows, keys), max(len(self._rows) - 1, 0))
        hits = np.bincount(np.repeat(np.arange(len(a)), self._n[shorter]), self._rows[places] == keys, len(a))
        shares = hits / self._n[shorter]
        enough = shares >= MIN_CONTAINMENT
        return a[enough], b[enough], shares[enough]

    def _rarest(self) -> NDArray[np.bool_]:
        """Marks the rows by which a text is looked up.

        If 80 % of A's n trigrams stand in B, then one of A's n − ⌈0.8 n⌉ + 1 rarest does (prefix filtering,
        Chaudhuri, Ganti & Kaushik 2006), and rare trigrams point at few texts.
        """
        frequency = np.bincount(self._trigrams, minlength=self._base)[self._trigrams]
        order = np.lexsort((self._trigrams, frequency, self._texts))
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order)) - self._starts[self._texts[order]]
        n_rarest = self._n - np.ceil(MIN_CONTAINMENT * self._n - 1e-9).astype(np.int64) + 1
        is_rare: NDArray[np.bool_] = rank < n_rarest[self._texts]
        return is_rare

    def _meetings(self, seekers: _Integers, holders: _Integers) -> tuple[_Integers, _Integers]:
        """Texts of `seekers` and of `holders` that share one of the seeker's rarest trigrams; pairs may repeat."""
        sought = np.flatnonzero(self._is_rare & np.isin(self._texts, seekers))
        held = np.flatnonzero(np.isin(self._texts, holders))
        held = held[np.argsort(self._trigrams[held], kind="stable")]
        begin = np.searchsorted(self._trigrams[held], self._trigrams[sought], side="left")
        end = np.searchsorted(self._trigrams[held], self._trigrams[sought], side="right")
        n_met = np.minimum(end - begin, _MAX_TEXTS_PER_TRIGRAM)
        return np.repeat(self._texts[sought], n_met), self._texts[held[ragged_range(begin, n_met)]]


def _triples(flat: _Integers, places: _Integers, n_words: int) -> _Integers:
    """Number the word triples that begin at `places`; equal triples get equal numbers."""
    pairs = np.unique(flat[places] * n_words + flat[places + 1], return_inverse=True)[1]
    return np.unique(pairs * n_words + flat[places + 2], return_inverse=True)[1]
