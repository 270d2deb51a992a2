"""Replies from other films that nothing but their content gives away.

A reply taken from another film often names somebody unknown here, and a judge that spots unknown names has not shown
that it knows coherence. So a donor reply may hold no capitalised name unless the film it is planted in has it too, and
it is about as long as the reply that it stands in for.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.judging.controls.faults import same_words, words
from harness.types import Prompt

if TYPE_CHECKING:
    import numpy as np

MAX_LENGTH_RATIO = 1.25  # donor and true reply differ by at most this factor, or by one word
_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|[.!?…:\"“”]+|--+")
_FIRST_PERSON = re.compile(r"i(?:['’].*)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
    text: str  # case folded
    is_capital: bool
    opens: bool  # first of its sentence, where a capital says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Donor:
    cluster: str
    reply: str
    n_words: int
    capitals: frozenset[str]  # words that may be names: capital inside a sentence, or a known name opening one


class ForeignReplies:
    """The replies of every film, each with the names it uses, to plant in other films."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        texts: dict[str, list[str]] = defaultdict(list)
        speakers: dict[str, set[str]] = defaultdict(set)
        for prompt in prompts:
            texts[prompt.cluster] += [m.content for m in prompt.messages] + [prompt.reference or ""]
            speakers[prompt.cluster].update(w.text for m in prompt.messages for w in _words(m.name or ""))
        names = _names(text for film in texts.values() for text in film).union(*speakers.values())
        self._known = {
            film: speakers[film] | {w.text for t in texts[film] for w in _words(t) if w.is_capital} for film in texts
        }
        self._names = {film: sorted(speakers[film] & names) for film in texts}
        self._donors = sorted(
            (_donor(p, p.reference, names) for p in prompts if p.reference),
            key=lambda donor: (donor.n_words, donor.cluster, donor.reply),
        )

    def pick(self, prompt: Prompt, rng: np.random.Generator, *, may_name: bool = False) -> str | None:
        """A reply from another film, as long as the prompt's reference; None where no film offers one.

        `may_name`: names are what is asked for, and give nothing away.
        """
        truth = prompt.reference or ""
        n_words = len(words(truth))
        known = self._known[prompt.cluster]
        fit = [
            donor
            for donor in self._donors
            if donor.cluster != prompt.cluster
            and _is_close(donor.n_words, n_words)
            and (may_name or donor.capitals <= known)
            and not same_words(donor.reply, truth)
        ]
        return fit[int(rng.integers(len(fit)))].reply if fit else None

    def swap_name(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """The prompt's reference with a name in it replaced by a speaker of another film; None where it has no name."""
        truth = prompt.reference or ""
        own = sorted({w.text for w in _words(truth) if w.is_capital and not w.opens})
        others = sorted({n for film, found in self._names.items() if film != prompt.cluster for n in found} - {*own})
        if not own or not others:
            return None
        other = others[int(rng.integers(len(others)))].capitalize()
        return re.sub(rf"\b{re.escape(own[0])}\b", other, truth, flags=re.IGNORECASE)


def _donor(prompt: Prompt, reply: str, names: set[str]) -> _Donor:
    capitals = frozenset(w.text for w in _words(reply) if w.is_capital and (not w.opens or w.text in names))
    return _Donor(cluster=prompt.cluster, reply=reply, n_words=len(words(reply)), capitals=capitals)


def _is_close(left: int, right: int) -> bool:
    return abs(left - right) <= 1 or max(left, right) <= MAX_LENGTH_RATIO * min(left, right)


def _names(texts: Iterable[str]) -> set[str]:
    """Words that stand with a capital inside a sentence more often than they stand without one."""
    inside: Counter[str] = Counter()
    small: Counter[str] = Counter()
    for text in texts:
        for word in _words(text):
            if not word.is_capital:
                small[word.text] += 1
            elif not word.opens:
                inside[word.text] += 1
    return {word for word, n in inside.items() if n > small[word]}


def _words(text: str) -> Iterator[_Word]:
    opens = True
    for token in _TOKEN.findall(text):
        if not token[0].isalpha():
            opens = True
            continue
        folded = token.casefold()
        if not _FIRST_PERSON.match(folded):
            yield _Word(text=folded, is_capital=token[0].isupper(), opens=opens)
        opens = False
