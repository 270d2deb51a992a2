"""What a learned judge looks at: plain figures of a reply in its conversation, none of which knows a fault.

Whether a figure is one that people's replies have is for `harness.judging.learned.head` to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.judging.learned.speech import Speech, words
from harness.measures.ngrams import Gram, grams

if TYPE_CHECKING:
    from harness.models.encoder import Encoder
    from harness.models.protocol import OnProgress
    from harness.stats.rows import Floats

MEANT = frozenset(
    ("fit", "answer", "cosine", "cosine_before", "near", "typical", "crowded")
)  # figures that want an encoder
N_TURNS = 2  # turns whose meaning is compared with the reply's
N_NEAREST = 10  # replies of TRAIN films that are nearest to a reply
CROWDED = 0.6  # cosine from which two replies say much the same
RIDGE = 30.0  # of the regression of replies on turns, whose vectors have length 1
_CLOSING = ".!?…\"'”’)-–—"
REVISION = 2  # raise when a change of what is measured changes it; part of a judge's id


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A reply in its conversation; `film` is left out of what it is compared with."""

    context: tuple[str, ...]  # oldest first, the last is the turn that is answered
    reply: str
    film: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """Human replies and the turns they answer, of TRAIN films: what replies are held beside."""

    replies: Floats  # [n, dimension], unit vectors
    turns: Floats
    before: Floats  # the turns before those; 0 where there is none
    films: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """Which replies such turns get in other films: ridge regression of a reply on the two turns before it."""

    asked: Floats  # means
    said: Floats
    weights: Floats  # [2 · dimension, dimension]

    @classmethod
    def of(cls, bank: Bank, film: str) -> _Answers:
        kept = np.array(bank.films) != film
        turns, replies = np.hstack([bank.turns, bank.before])[kept], bank.replies[kept]
        asked, said = turns.mean(0), replies.mean(0)
        apart = turns - asked
        gram = apart.T @ apart + RIDGE * np.eye(len(asked))
        return cls(asked=asked, said=said, weights=np.linalg.solve(gram, apart.T @ (replies - said)))

    def likeness(self, reply: Floats, turns: Floats) -> float:
        """Cosine of what the reply and the answer to be expected have beyond any reply."""
        expected, apart = (turns - self.asked) @ self.weights, reply - self.said
        return float(expected @ apart) / max(1e-9, float(np.linalg.norm(expected) * np.linalg.norm(apart)))


def plain(turn: Turn, speech: Speech) -> dict[str, float]:
    """Figures that need no encoder."""
    said, letters = words(turn.reply), [c for c in turn.reply if c.isalpha()]
    earlier = [words(text) for text in turn.context]
    text, pairs = turn.reply.strip(), grams(said, 2)
    return {
        "n_words": float(len(said)),
        "word_length": len(letters) / len(said) if said else 0.0,
        "repeated": 1 - len(set(pairs)) / len(pairs) if pairs else 0.0,
        "doubled": sum(a == b for a, b in pairs) / len(pairs) if pairs else 0.0,
        "copied_pairs": max((_share(pairs, grams(other, 2)) for other in earlier), default=0.0),
        "copied_triples": max((_share(grams(said, 3), grams(other, 3)) for other in earlier), default=0.0),
        "ends": float(text[-1:] in _CLOSING) if text else 0.0,
        "begins": float(not text[:1].islower()),
        "spaces": sum(c.isspace() for c in text) / max(1, len(text)),
        **{f"speech_{key}": value for key, value in asdict(speech.surprise(turn.reply)).items()},
    }


def meant(
    turns: Sequence[Turn], bank: Bank, encoder: Encoder, *, on_progress: OnProgress | None = None
) -> list[dict[str, float]]:
    """Figures of what replies mean, beside their conversations and beside the bank."""
    texts = [text for turn in turns for text in (turn.reply, *turn.context[-N_TURNS:])]
    vectors = dict(zip(texts, encoder.encode(texts, on_progress=on_progress), strict=True))
    answers = {film: _Answers.of(bank, film) for film in {turn.film for turn in turns}}
    return [_meant(turn, vectors, bank, answers[turn.film]) for turn in turns]


def _meant(turn: Turn, vectors: Mapping[str, Floats], bank: Bank, answers: _Answers) -> dict[str, float]:
    reply, others = vectors[turn.reply], np.array([film != turn.film for film in bank.films])
    last, before = [*(vectors[text] for text in reversed(turn.context[-N_TURNS:])), np.zeros_like(reply)][:N_TURNS]
    beside, elsewhere = (bank.replies @ reply)[others], (bank.turns @ reply)[others]
    nearest, cosine = np.sort(beside)[-N_NEAREST:], float(reply @ last)
    return {
        "fit": (cosine - float(elsewhere.mean())) / max(1e-6, float(elsewhere.std())),  # to this turn, not to any
        "answer": answers.likeness(reply, np.concatenate([last, before])),
        "cosine": cosine,
        "cosine_before": float(reply @ before),
        "near": float(nearest.mean()),
        "typical": float(beside.mean()),
        "crowded": float((beside > CROWDED).mean()),
    }


def _share(found: Sequence[Gram], others: Sequence[Gram]) -> float:
    known = set(others)
    return sum(gram in known for gram in found) / len(found) if found else 0.0
