"""Diversity of a variant's replies taken together, in a form that carries an honest interval.

Distinct-n and self-BLEU belong to a whole variant, not to a reply, so there are no independent rows to average. Three
ways to an interval are wrong: a bootstrap draws replies twice and so invents repetition; treating each reply's
self-BLEU as a row ignores that all rows share their references, which halves the standard error; and two variants whose
replies differ in length differ in distinct-n for that alone. Here:

- distinct-n is taken at the same number of n-grams for all variants (rarefaction: Hurlbert 1971, equation 4);
- each film gets the delete-one-film jackknife value θ + (G−1)·(mean of θ₍₋g₎ − θ₍₋g₎). Their mean is the measure itself
  and their variance over G is the jackknife's (Efron & Stein 1981, which errs towards wide intervals). So a mean or a
  paired contrast over films, one row each, gives estimate, interval and test.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from harness.errors import InputError
from harness.measures.measure import Measure
from harness.measures.ngrams import Gram, grams, words
from harness.measures.text_measures import reply_status
from harness.types import Generation

MEASURES = (
    Measure(
        name="distinct_1",
        label="Distinct-1",
        unit="share",
        better=None,
        description="Share of different words among all words of a variant's replies (Li et al. 2016).",
        origin="variant",
    ),
    Measure(
        name="distinct_2",
        label="Distinct-2",
        unit="share",
        better="higher",
        description="Share of different word pairs among all word pairs of a variant's replies (Li et al. 2016).",
        phrase=("says more varied things", "says less varied things"),
        origin="variant",
    ),
    Measure(
        name="self_bleu",
        label="Self-BLEU",
        unit="share",
        better="lower",
        description="How much each reply shares with the variant's other replies (Zhu et al. 2018); high means alike.",
        phrase=("repeats itself less from reply to reply", "repeats itself more from reply to reply"),
        origin="variant",
    ),
)

T = TypeVar("T")  # a reply: its words, or its text
_MAX_ORDER = 4  # self-BLEU: BLEU-4
ONE = 1 << 256  # 1 in the fixed-point arithmetic of distinct-n
_SMOOTHING = 0.1  # Chen & Cherry 2014, method 1, as in the released self-BLEU code


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmDiversity:
    """One film's jackknife values for one variant; None where the measure cannot be taken."""

    variant: str
    cluster: str
    n_replies: int  # replies with text of this film
    n_missing: int  # empty or failed ones
    distinct_1: float | None
    distinct_2: float | None
    self_bleu: float | None
    n_words: int  # at which distinct-1 was taken, the same for all variants
    n_pairs: int  # at which distinct-2 was taken


def film_diversity(generations: Sequence[Generation]) -> list[FilmDiversity]:
    """Rows per variant and film, variants in the order in which they appear, films sorted.

    All variants that will be compared must be given at once: they share the number of n-grams that distinct-n is taken
    at, the largest that every variant still has with any one film left out. With a single film there is nothing to
    leave out: its value is the measure itself, and self-BLEU, whose references come from other films, is missing.

    Raises InputError: no generations.
    """
    if not generations:
        raise InputError("`generations` must hold at least one reply, got none; generate first")
    texts = _by_variant_and_film(generations)
    filled = {v: {f: rows for f, rows in films.items() if any(rows)} for v, films in texts.items()}
    sizes = {n: _common_size(filled, n) for n in (1, 2)}
    rows: list[FilmDiversity] = []
    for variant, films in texts.items():
        distinct_1 = jackknife(filled[variant], lambda kept: distinct(kept, n=1, size=sizes[1]))
        distinct_2 = jackknife(filled[variant], lambda kept: distinct(kept, n=2, size=sizes[2]))
        bleu = _self_bleu_values(filled[variant])
        for film in sorted(films):
            rows.append(
                FilmDiversity(
                    variant=variant,
                    cluster=film,
                    n_replies=sum(map(bool, films[film])),
                    n_missing=sum(not tokens for tokens in films[film]),
                    distinct_1=distinct_1.get(film),
                    distinct_2=distinct_2.get(film),
                    self_bleu=bleu.get(film),
                    n_words=sizes[1],
                    n_pairs=sizes[2],
                )
            )
    return rows


def distinct(texts: Sequence[Sequence[str]], *, n: int, size: int | None = None) -> float | None:
    """Share of different n-grams among all n-grams of the texts (Li et al., 1510.03055), each a list of words.

    With `size`, the expected share among that many n-grams drawn without replacement:
    Σ over types of [1 − C(N − Nᵢ, size) / C(N, size)] / size (Hurlbert 1971). None when there are fewer than `size`.
    Computed in integers and rounded once at the end, so that texts which are equally diverse give the same number.
    """
    counts = Counter(gram for text in texts for gram in grams(text, n))
    total = counts.total()
    size = total if size is None else size
    if size < 1 or total < size:
        return None
    n_types = Counter(counts.values())  # of each frequency
    expected, unseen = 0, ONE  # unseen: share of draws without a type, C(N − frequency, size) / C(N, size)
    for frequency in range(1, max(n_types) + 1):
        unseen = unseen * max(0, total - size - frequency + 1) // (total - frequency + 1)
        expected += n_types[frequency] * (ONE - unseen)
    return expected / (size * ONE)


def self_bleu(films: Mapping[str, Sequence[Sequence[str]]]) -> float | None:
    """Mean BLEU-4 of each reply against the replies of all other films (Zhu et al., 1802.01886); high means alike.

    Deviations: references come from other films only, since lines of one film share names and topics for good reason;
    there is no brevity penalty, as among hundreds of references one is always as long; a reply of fewer than four words
    uses the orders that it has. None with fewer than two films.
    """
    filled = {film: [text for text in texts if text] for film, texts in films.items() if any(texts)}
    if len(filled) < 2:
        return None
    tops = _top_counts(filled)
    values = [_bleu(_orders(t), tops, own=film, without=None) for film, texts in filled.items() for t in texts]
    return math.fsum(values) / len(values)


Orders = list[Counter[Gram]]  # n-gram counts of a reply, order 1 first
Tops = Mapping[Gram, list[tuple[int, str]]]  # per n-gram, the three films in which one reply has it most often


def _by_variant_and_film(generations: Sequence[Generation]) -> dict[str, dict[str, list[list[str]]]]:
    """Words of each reply; an empty or failed one is an empty list."""
    texts: dict[str, dict[str, list[list[str]]]] = {}
    for generation in generations:
        tokens = words(generation.text) if reply_status(generation) == "ok" else []
        texts.setdefault(generation.variant, {}).setdefault(generation.cluster, []).append(tokens)
    return texts


def _common_size(texts: Mapping[str, Mapping[str, Sequence[Sequence[str]]]], n: int) -> int:
    """The largest number of n-grams that every variant with text has with any one film left out."""
    sizes = []
    for films in filter(None, texts.values()):  # a mute variant has no diversity, and must not take the others' away
        per_film = [sum(max(0, len(text) - n + 1) for text in rows) for rows in films.values()]
        sizes.append(sum(per_film) - (max(per_film) if len(per_film) > 1 else 0))
    return min(sizes, default=0)


def jackknife(films: Mapping[str, Sequence[T]], measure: Callable[[Sequence[T]], float | None]) -> dict[str, float]:
    """Per film, the centred delete-one-film jackknife value; nothing where the measure cannot be taken."""
    whole = measure([text for rows in films.values() for text in rows])
    left_out = {
        film: measure([text for other, rows in films.items() if other != film for text in rows]) for film in films
    }
    return _centred(whole, left_out)


def _centred(whole: float | None, left_out: Mapping[str, float | None]) -> dict[str, float]:
    """θ + (G−1)·(mean of θ₍₋g₎ − θ₍₋g₎) of each film g."""
    if whole is None:
        return {}
    if len(left_out) == 1:
        return dict.fromkeys(left_out, whole)
    known = {film: value for film, value in left_out.items() if value is not None}
    if len(known) < len(left_out):
        return {}
    # Exact until the last step: rounding would be blown up by the number of films, and differ between equal variants.
    mean = sum(map(Fraction, known.values())) / len(known)
    return {film: float(whole + (len(known) - 1) * (mean - Fraction(value))) for film, value in known.items()}


def _self_bleu_values(films: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, float]:
    """Jackknife values of self-BLEU; needs three films, so that two are left when one is out."""
    if len(films) < 3:
        return {}
    tops = _top_counts(films)
    values: dict[str, list[float]] = {film: [] for film in films}  # of each film's replies
    changes: dict[str, list[float]] = {film: [] for film in films}  # of all other films' replies when this film is out
    n_replies = {film: sum(map(bool, texts)) for film, texts in films.items()}
    for film, texts in films.items():
        for reply in (_orders(text) for text in texts if text):
            value = _bleu(reply, tops, own=film, without=None)
            values[film].append(value)
            for leaned_on in _leaned_on(reply, tops, own=film):
                changes[leaned_on].append(_bleu(reply, tops, own=film, without=leaned_on) - value)
    # fsum rounds once, so that the order of the replies does not matter.
    sums, moved = ({film: math.fsum(own) for film, own in part.items()} for part in (values, changes))
    total, n = math.fsum(sums.values()), sum(n_replies.values())
    left_out = {film: (total - sums[film] + moved[film]) / (n - n_replies[film]) for film in films}
    return _centred(total / n, left_out)


def _leaned_on(reply: Orders, tops: Tops, *, own: str) -> set[str]:
    """Films whose absence can change a reply's BLEU: those that hold the highest count of one of its n-grams."""
    best = (next((film for _, film in tops[gram] if film != own), None) for counts in reply for gram in counts)
    return {film for film in best if film is not None}


def _orders(text: Sequence[str]) -> Orders:
    return [Counter(grams(text, n)) for n in range(1, min(_MAX_ORDER, len(text)) + 1)]


def _top_counts(films: Mapping[str, Sequence[Sequence[str]]]) -> Tops:
    """Three films are enough to know the highest count outside any two."""
    per_gram: dict[Gram, dict[str, int]] = {}
    for film, rows in films.items():
        for text in rows:
            for counts in _orders(text):
                for gram, count in counts.items():
                    best = per_gram.setdefault(gram, {})
                    best[film] = max(best.get(film, 0), count)
    return {
        gram: sorted(((count, film) for film, count in best.items()), reverse=True)[:3]
        for gram, best in per_gram.items()
    }


def _bleu(reply: Orders, tops: Tops, *, own: str, without: str | None) -> float:
    """Geometric mean of clipped precisions against the replies of every film but `own` and `without`."""
    logs = []
    for counts in reply:
        clipped = sum(
            min(count, next((top for top, film in tops[gram] if film not in (own, without)), 0))
            for gram, count in counts.items()
        )
        logs.append(math.log((clipped or _SMOOTHING) / counts.total()))
    return math.exp(math.fsum(logs) / len(logs))
