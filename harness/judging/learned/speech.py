"""How a corpus speaks: an interpolated word bigram over a letter 4-gram (Witten & Bell 1991), from TRAIN replies.

It knows nothing of faults. What it finds unlikely is rare among the replies that it read, whatever the reason.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+|[^\w\s]+|_+")
_START, _END = "‹s›", "‹/s›"
_ORDER = 4  # letters that a letter is guessed from, itself included
_N_LETTERS = 100  # among which an unknown one is guessed
_LEAST = -60.0  # log-probability of a word's letters; below it there is nothing to tell apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Surprise:
    """How a text reads to a `Speech`, in nats; the lower, the odder."""

    mean: float  # per token, the end included
    worst: float  # of the unlikeliest token
    order: float  # what the word before adds to a token's log-probability: mean over tokens
    order_worst: float  # the two least of them
    letters: float  # per letter of the oddest unknown word; 0 where every word is known


def tokens(text: str) -> list[str]:
    """Words, numbers and runs of other marks, in lower case."""
    return [token.lower() for token in _TOKEN.findall(text)]


def words(text: str) -> list[str]:
    """The words alone."""
    return [token for token in tokens(text) if token[0].isalpha()]


class Speech:
    """Counts of words and of pairs of neighbours."""

    def __init__(self, counts: Mapping[str, int], pairs: Mapping[str, int]) -> None:
        self.counts, self.pairs = Counter(counts), Counter(pairs)
        self._n, self._n_words = sum(counts.values()), len(counts)
        self._after: Counter[str] = Counter()  # tokens that follow a word
        self._kinds: Counter[str] = Counter()  # different ones
        for pair, n in pairs.items():
            before = pair.split(" ", 1)[0]
            self._after[before] += n
            self._kinds[before] += 1
        self._letters: dict[str, Counter[str]] = defaultdict(Counter)
        for word in counts:
            for history, letter in _spelled(word):
                for start in range(len(history) + 1):
                    self._letters[history[start:]][letter] += 1
        self._totals = {history: sum(found.values()) for history, found in self._letters.items()}
        self._spelling = functools.lru_cache(maxsize=100_000)(self._spell)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Speech:
        """What these texts teach."""
        counts: Counter[str] = Counter()
        pairs: Counter[str] = Counter()
        for text in texts:
            before = _START
            for token in (*tokens(text), _END):
                counts[token] += 1
                pairs[f"{before} {token}"] += 1
                before = token
        return cls(counts, pairs)

    def surprise(self, text: str) -> Surprise:
        """How a text reads."""
        before, alone, after = _START, [], []
        found = tokens(text)
        for token in (*found, _END):
            p = (self.counts[token] + self._n_words * math.exp(self._spelling(token))) / (self._n + self._n_words)
            n, kinds = self._after[before], self._kinds[before]
            alone.append(math.log(p))
            after.append(math.log((self.pairs[f"{before} {token}"] + kinds * p) / (n + kinds)) if n else alone[-1])
            before = token
        gains = [b - a for a, b in zip(alone, after, strict=True)]
        least = sorted(gains)[:2]
        odd = [self._spelling(t) / (len(t) + 1) for t in found if t[0].isalpha() and t not in self.counts]
        return Surprise(
            mean=math.fsum(after) / len(after),
            worst=min(after),
            order=math.fsum(gains) / len(gains),
            order_worst=math.fsum(least) / len(least),
            letters=min(odd, default=0.0),
        )

    def _spell(self, word: str) -> float:
        """Log-probability of a word's letters."""
        total = 0.0
        for history, letter in _spelled(word):
            p = 1 / _N_LETTERS
            for start in range(len(history), -1, -1):
                seen = self._letters.get(history[start:])
                if seen is None:
                    break
                n = self._totals[history[start:]]
                p = (seen[letter] + len(seen) * p) / (n + len(seen))
            total += math.log(p)
        return max(total, _LEAST)


def _spelled(word: str) -> Iterable[tuple[str, str]]:
    """Every letter of a word with the letters before it, its end included."""
    padded = "^" * (_ORDER - 1) + word + "$"
    return ((padded[i - _ORDER + 1 : i], padded[i]) for i in range(_ORDER - 1, len(padded)))
