"""The head of a learned judge: how far a reply's figures lie outside what people's replies show, weighed, calibrated.

A figure counts as a *sign*. A bounded one (`good`) speaks for a reply, no more strongly beyond what nine in ten human
replies show. A rarity (`low`, `high`) speaks against it as the figure leaves the range of human TRAIN replies, in the
logarithm of how many of them lie as far out (or, where it is a matter of degree, in their share). No sign can speak the
other way: weights are not negative. They are found near what the rarities alone suggest (a prior), so that a fault of a
kind that was never taught is still out of range.

    logit p(human | reply) = a + b · (w0 + Σ weight · sign),  a and b on VALIDATION films
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from harness.errors import InputError
from harness.judging.learned.features import MEANT, Bank
from harness.judging.learned.speech import Speech
from harness.stats.rows import Floats
from harness.store.artifacts import read_json, write_json

ALL = ""  # the key of what was taught every family
N_QUANTILES = 1000
# Whether it is a line at all that people in films say: comments, narration and instructions are not.
REGISTER = {"near": 1, "typical": 1, "speech_mean": 1, "speech_order": 1, "word_length": -1}
N_LENGTHS = 40  # words; longer replies are held beside the longest
FAR = 3.0  # standard deviations from which on a figure says no more
MAX_WORDS = 150  # of a reply: about what an encoder reads
MIN_KNOWN = 0.8  # share of a reply's letters that TRAIN replies have
_FILE, _VECTORS = "head.json", "bank.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A figure, the way in which it counts, and how much it is believed before anything is taught."""

    figure: str
    side: Literal["good", "low", "high"]
    prior: float
    start: float = 0.05  # of a rarity: the share of human replies from which on it counts
    is_even: bool = False  # grows with that share itself and not its logarithm: for what is a matter of degree

    def strength(self, values: Floats, quantiles: Floats) -> Floats:
        """How strongly figures speak: up to about ±1 (a rarity ≤ 0), against the human range."""
        if self.side == "good":
            least, most, middle = np.quantile(quantiles, [0.02, 0.9, 0.5])
            spread = max(1e-9, float(most - least) / 2)
            found: Floats = (np.clip(values, least, most) - middle) / spread
            return found
        n = len(quantiles)
        beyond = (
            n - np.searchsorted(quantiles, values, "left")
            if self.side == "high"
            else np.searchsorted(quantiles, values, "right")
        )
        share = (1 + beyond) / (n + 1)
        rarity = 1 - share / self.start if self.is_even else np.log(self.start / share) / np.log(self.start * (n + 1))
        return -np.clip(rarity, 0, 1)


_COPIED = (
    Sign(figure="copied_pairs", side="high", prior=3),
    Sign(figure="copied_triples", side="high", prior=3),
    Sign(figure="cosine", side="high", prior=3),
    Sign(figure="cosine_before", side="high", prior=3),
)
_LOOPED = (Sign(figure="repeated", side="high", prior=2), Sign(figure="doubled", side="high", prior=2))
_CUT = (Sign(figure="ends", side="low", prior=2), Sign(figure="begins", side="low", prior=1))
SIGNS: Mapping[str, tuple[Sign, ...]] = {
    "coherence": (
        Sign(figure="fit", side="good", prior=2),
        Sign(figure="answer", side="good", prior=2),
        *_COPIED,
        *_LOOPED,
        *_CUT,
        Sign(figure="crowded", side="high", prior=2, start=0.25, is_even=True),  # it would fit any conversation
        Sign(figure="register", side="low", prior=4, start=0.5, is_even=True),
    ),
    "fluency": (
        Sign(figure="speech_order", side="good", prior=0.6),
        Sign(figure="speech_mean", side="good", prior=0.6),
        Sign(figure="speech_order_worst", side="low", prior=1, start=0.25),
        Sign(figure="speech_worst", side="low", prior=1, start=0.25),
        Sign(figure="speech_letters", side="low", prior=2, start=0.25),
        *_LOOPED,
        *_CUT,
        Sign(figure="spaces", side="low", prior=2),
        Sign(figure="spaces", side="high", prior=1),
        Sign(figure="word_length", side="high", prior=1),
    ),
}
CRITERIA = tuple(SIGNS)
NEED_MEANING = frozenset(c for c, signs in SIGNS.items() if any(sign.figure in MEANT for sign in signs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What teaching found for one criterion."""

    bias: float
    weights: tuple[float, ...]  # one a sign
    shift: float = 0.0  # of the calibration
    slope: float = 1.0

    def logits(self, strengths: Floats) -> Floats:
        """Of rows of strengths [n, signs], before calibration."""
        return np.asarray(self.bias + strengths @ np.array(self.weights), dtype=np.float64)

    def probability(self, strengths: Floats) -> Floats:
        """That a reply is a person's and not planted, where either is as likely."""
        found: Floats = 1 / (1 + np.exp(-(self.shift + self.slope * self.logits(strengths))))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanRange:
    """What figures human replies of TRAIN films have."""

    quantiles: Mapping[str, Floats]  # figure → their own, sorted
    register: Floats  # [2, N_LENGTHS + 1, figures of REGISTER]: mean and standard deviation by length

    @classmethod
    def of(cls, figures: Sequence[Mapping[str, float]]) -> HumanRange:
        """Quantiles of every figure; the register's against the eighth of all replies that are nearest in length."""
        table = np.array([[row[name] for name in REGISTER] for row in figures])
        lengths = np.array([row["n_words"] for row in figures])
        near = [np.argsort(abs(lengths - n), kind="stable")[: max(2, len(lengths) // 8)] for n in range(N_LENGTHS + 1)]
        register = np.array([[table[rows].mean(0) for rows in near], [table[rows].std(0) + 1e-3 for rows in near]])
        found = cls(quantiles={}, register=register)
        grid = np.linspace(0, 1, min(N_QUANTILES, len(figures)))
        quantiles = {name: np.quantile(found.values(name, figures), grid) for name in (*figures[0], "register")}
        return cls(quantiles=quantiles, register=register)

    def values(self, name: str, figures: Sequence[Mapping[str, float]]) -> Floats:
        """A figure of every reply; `register` is how far those it is made of lie from replies of that length."""
        if name != "register":
            return np.array([row[name] for row in figures])
        table = np.array([[row[key] for key in REGISTER] for row in figures])
        mean, deviation = self.register[:, [min(N_LENGTHS, round(row["n_words"])) for row in figures]]
        off = np.clip((table - mean) / deviation, -FAR, FAR) @ np.array([*REGISTER.values()])
        return np.asarray(off / len(REGISTER), dtype=np.float64)

    def strengths(self, criterion: str, figures: Sequence[Mapping[str, float]]) -> Floats:
        """Rows of strengths [n, signs] of a criterion."""
        columns = [
            sign.strength(self.values(sign.figure, figures), self.quantiles[sign.figure]) for sign in SIGNS[criterion]
        ]
        return np.stack(columns, axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """All that a learned judge was taught."""

    encoder: str  # digest of the encoder whose vectors it was taught on
    films: tuple[str, ...]  # that taught it
    taught: Mapping[str, tuple[str, ...]]  # criterion → families
    weights: Mapping[str, Mapping[str, Weights]]  # criterion → family that was left out, or `ALL`
    human: HumanRange
    alphabet: frozenset[str]
    speech: Speech
    bank: Bank

    def why_unknown(self, reply: str) -> str:
        """Why a reply is out of the range of all that was taught; empty where it is within."""
        if (n := len(reply.split())) > MAX_WORDS:
            return f"the reply has {n:,} words, and a learned judge reads at most {MAX_WORDS}"
        letters = [c for c in reply.casefold() if c.isalpha()]
        if not letters:
            return "the reply has no letters"
        if sum(c in self.alphabet for c in letters) < MIN_KNOWN * len(letters):
            return "the reply is written in letters that the judge was not taught"
        return ""


def alphabet_of(texts: Iterable[str]) -> frozenset[str]:
    """The letters that texts are written in."""
    return frozenset(c for text in texts for c in text.casefold() if c.isalpha())


def save(head: Head, folder: Path) -> None:
    """Write a head, the same bytes for the same head."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    vectors = {"replies": head.bank.replies, "turns": head.bank.turns, "before": head.bank.before}
    save_file({name: np.ascontiguousarray(v, dtype=np.float32) for name, v in vectors.items()}, folder / _VECTORS)
    found = {
        "encoder": head.encoder,
        "films": head.films,
        "taught": head.taught,
        "weights": head.weights,
        "quantiles": {name: values.round(6).tolist() for name, values in head.human.quantiles.items()},
        "register": head.human.register.round(6).tolist(),
        "alphabet": "".join(sorted(head.alphabet)),
        "counts": dict(sorted(head.speech.counts.items())),
        "pairs": dict(sorted(head.speech.pairs.items())),
        "bank_films": head.bank.films,
    }
    write_json(folder / _FILE, found)


def load(folder: Path) -> Head:
    """Read a head.

    Raises:
        InputError: the folder holds none, or one of another version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        data, vectors = read_json(folder / _FILE), load_file(folder / _VECTORS)
        bank = Bank(films=tuple(data["bank_films"]), **{name: found.astype(float) for name, found in vectors.items()})
        if {found.shape[:-1] for found in vectors.values()} != {(len(bank.films),)}:
            raise ValueError("a bank of other rows than films")
        head = Head(
            encoder=data["encoder"],
            films=tuple(data["films"]),
            taught={c: tuple(f) for c, f in data["taught"].items()},
            weights={c: {k: _weights(w, c) for k, w in by.items()} for c, by in data["weights"].items()},
            human=HumanRange(
                quantiles={name: np.array(values, dtype=float) for name, values in data["quantiles"].items()},
                register=np.array(data["register"], dtype=float),
            ),
            alphabet=frozenset(data["alphabet"]),
            speech=Speech(data["counts"], data["pairs"]),
            bank=bank,
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as err:
        raise InputError(
            f"`{folder}` must hold the head of a learned judge, got none that loads; teach it anew"
        ) from err
    return head


def _weights(data: Mapping[str, float | Sequence[float]], criterion: str) -> Weights:
    found = Weights(**{**data, "weights": tuple(data["weights"])})  # type: ignore[arg-type]
    if len(found.weights) != len(SIGNS[criterion]):
        raise ValueError("another version's signs")
    return found
