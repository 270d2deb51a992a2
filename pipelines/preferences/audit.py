"""What distinguishes chosen from rejected replies beside quality: the biases that a training on them would learn."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.seeding import stream
from harness.stats import adjust, log_odds_ratio, mean_estimate, proportion_estimate
from harness.stats.intervals import t_p_value
from harness.types import Estimate, PreferencePair
from pipelines.corpus.duplicates import is_near_copy, words

LEVEL = 0.95
MIN_TEXTS = 8  # a word in fewer replies of both sides together is not tested: nothing could come of it
N_SHOWN = 15  # tells in the table
_MARKS = re.compile(r"\.\.\.|…|[?!\"“”:;*()\[\]—]|--|\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """A word or mark by which chosen and rejected replies can be told apart."""

    word: str
    n_chosen: int  # chosen replies that have it
    n_rejected: int
    log_odds: Estimate  # above 0: commoner in chosen replies
    p_adjusted: float | None  # Benjamini–Hochberg over all words tested; None with one film


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginSpread:
    """The margins of a set of pairs, in the judge's units."""

    mean: Estimate
    quantiles: dict[str, float]  # "0", "0.25", …: descriptive, of these pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """A systematic difference that has nothing to do with quality, or may have none."""

    name: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAudit:
    """What `screentest pairs audit` shows; `audit.json`."""

    preferred_by: str
    n_pairs: int
    n_films: int
    length_gap: Estimate  # words of chosen minus words of rejected
    longer_chosen: Estimate  # share of pairs whose chosen reply has more words; equal length counts one half
    position_agreement: Estimate | None  # share whose verdict held with sides swapped; None where no sides were shown
    margins: MarginSpread | None  # None where no margin is known
    n_repeated_rows: int  # rows whose exchange and replies stand in an earlier row, word for word
    n_repeated_chosen: int  # chosen replies that an earlier row chose too, of at least three words
    n_repeated_rejected: int
    near_copies: Estimate | None  # share of rejected replies nearly the same as the human's; None without references
    tells: tuple[Tell, ...]  # by p, the clearest first; all that are significant, at most `N_SHOWN` others
    n_words_tested: int
    biases: tuple[Bias, ...]


def audit_pairs(pairs: Sequence[PreferencePair], *, seed: int) -> PairAudit:
    """Audit pairs; every share and mean with an interval over films."""
    films = [pair.prompt.cluster for pair in pairs]
    gaps = [len(words(pair.chosen)) - len(words(pair.rejected)) for pair in pairs]
    tells, n_tested = find_tells(pairs)
    audit = PairAudit(
        preferred_by=", ".join(sorted({pair.preferred_by for pair in pairs})),
        n_pairs=len(pairs),
        n_films=len(set(films)),
        length_gap=mean_estimate(gaps, clusters=films, rng=stream(seed, "length gap"), level=LEVEL),
        longer_chosen=proportion_estimate([0.5 * (np.sign(gap) + 1) for gap in gaps], clusters=films, level=LEVEL),
        position_agreement=_share(pairs, _orders_agree),
        margins=_margins(pairs, seed=seed),
        n_repeated_rows=_n_repeated([f"{_asked(p)}\n{_plain(p.chosen)}\n{_plain(p.rejected)}" for p in pairs]),
        n_repeated_chosen=_n_repeated([_plain(p.chosen) for p in pairs if len(words(p.chosen)) >= 3]),
        n_repeated_rejected=_n_repeated([_plain(p.rejected) for p in pairs if len(words(p.rejected)) >= 3]),
        near_copies=_share(pairs, _is_near_copy),
        tells=tells,
        n_words_tested=n_tested,
        biases=(),
    )
    return replace(audit, biases=_biases(audit))


def find_tells(pairs: Sequence[PreferencePair]) -> tuple[tuple[Tell, ...], int]:
    """Words and marks commoner on one side, the clearest first, and how many were tested.

    A feature is tested when at least `MIN_TEXTS` replies have it; p values are adjusted over all of them (Benjamini &
    Hochberg 1995), so that the share of false ones among those called tells stays under 5 %.
    """
    chosen, rejected = [_features(p.chosen) for p in pairs], [_features(p.rejected) for p in pairs]
    counts = Counter(word for text in (*chosen, *rejected) for word in text)
    tested = sorted(word for word, n in counts.items() if n >= MIN_TEXTS)
    films = [pair.prompt.cluster for pair in pairs]
    found = []
    for word in tested:
        hits = [np.array([word in text for text in side], dtype=np.float64) for side in (chosen, rejected)]
        estimate = log_odds_ratio(hits[0], hits[1], clusters=films, level=LEVEL)
        found.append(
            Tell(
                word=word,
                n_chosen=int(hits[0].sum()),
                n_rejected=int(hits[1].sum()),
                log_odds=estimate,
                p_adjusted=None,
            )
        )
    values = [_p_value(tell.log_odds) for tell in found]
    adjusted = iter(adjust([p for p in values if p is not None], method="bh"))
    ranked = [replace(t, p_adjusted=None if p is None else next(adjusted)) for t, p in zip(found, values, strict=True)]
    ranked.sort(
        key=lambda tell: (1.0 if tell.p_adjusted is None else tell.p_adjusted, -abs(tell.log_odds.value), tell.word)
    )
    n_clear = sum(is_clear(tell) for tell in ranked)
    return tuple(ranked[: n_clear + N_SHOWN]), len(tested)


def is_clear(tell: Tell) -> bool:
    """Whether a tell stands after adjustment."""
    return tell.p_adjusted is not None and tell.p_adjusted < 1 - LEVEL


def _biases(audit: PairAudit) -> tuple[Bias, ...]:
    found = []
    longer = audit.longer_chosen
    if longer.low is not None and longer.high is not None and not longer.low <= 0.5 <= longer.high:
        word = "longer" if longer.value > 0.5 else "shorter"
        gap = abs(audit.length_gap.value)
        found.append(Bias(name="length", sentence=f"Chosen replies are {word}, by {gap:.1f} words on average."))
    agreement = audit.position_agreement
    if agreement is not None and (agreement.low is None or agreement.low < 0.8):
        found.append(
            Bias(name="position", sentence=f"{1 - agreement.value:.0%} of the verdicts turned with the sides.")
        )
    clear = [tell for tell in audit.tells if is_clear(tell)]
    for side, sign in (("chosen", 1), ("rejected", -1)):
        telling = [tell.word for tell in clear if tell.log_odds.value * sign > 0][:8]
        if telling:
            listed = ", ".join(f"“{word}”" for word in telling)
            found.append(Bias(name=f"words of {side}", sentence=f"Commoner in {side} replies: {listed}."))
    if audit.near_copies is not None and audit.near_copies.value > 0.01:
        share = audit.near_copies.value
        found.append(Bias(name="near copies", sentence=f"{share:.1%} of the rejected replies repeat the human reply."))
    repeated = max(audit.n_repeated_rows, audit.n_repeated_chosen, audit.n_repeated_rejected)
    if repeated > 0.01 * audit.n_pairs:
        found.append(
            Bias(name="repetition", sentence=f"{repeated} of {audit.n_pairs} replies stand in an earlier row.")
        )
    if audit.preferred_by == "reference":
        sentence = (
            "Chosen replies are people's and rejected ones the model's: whatever tells the two apart is learned as "
            "preferred, better or not."
        )
        found.append(Bias(name="author", sentence=sentence))
    return tuple(found)


def _share(pairs: Sequence[PreferencePair], hit: Callable[[PreferencePair], float | None]) -> Estimate | None:
    """The share of pairs that are hits, over those that can be; None where none can."""
    known = [(value, pair.prompt.cluster) for pair in pairs if (value := hit(pair)) is not None]
    if not known:
        return None
    hits, films = zip(*known, strict=True)
    return proportion_estimate(hits, clusters=films, level=LEVEL, n_missing=len(pairs) - len(known))


def _orders_agree(pair: PreferencePair) -> float | None:
    return None if pair.orders_agree is None else float(pair.orders_agree)


def _is_near_copy(pair: PreferencePair) -> float | None:
    reference = pair.prompt.reference
    return float(is_near_copy(pair.rejected, reference)) if reference else None


def _margins(pairs: Sequence[PreferencePair], *, seed: int) -> MarginSpread | None:
    known = [(pair.margin, pair.prompt.cluster) for pair in pairs if pair.margin is not None]
    if not known:
        return None
    values = [value for value, _ in known]
    shares = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
    return MarginSpread(
        mean=mean_estimate(
            values, clusters=[film for _, film in known], rng=stream(seed, "margins"), level=LEVEL,
            n_missing=len(pairs) - len(known),
        ),
        quantiles={f"{share:g}": float(np.quantile(values, share)) for share in shares},
    )  # fmt: skip


def _n_repeated(texts: Sequence[str]) -> int:
    return len(texts) - len(set(texts))


def _features(text: str) -> frozenset[str]:
    marks = ("number" if mark.isdigit() else mark for mark in _MARKS.findall(text))
    return frozenset(words(text)) | frozenset(marks)


def _plain(text: str) -> str:
    return " ".join(words(text))


def _asked(pair: PreferencePair) -> str:
    return "\n".join(_plain(message.content) for message in pair.prompt.messages)


def _p_value(estimate: Estimate) -> float | None:
    if estimate.se is None or estimate.df is None:
        return None
    if estimate.se == 0:
        return 1.0 if estimate.value == 0 else 0.0
    return t_p_value(estimate.value / estimate.se, estimate.df)
