"""The learned judge: a small head on a sentence encoder that knows what people's replies look like.

After RUBER (Tao et al. 2018, arXiv 1701.03079), USR (Mehri & Eskenazi 2020, 2005.00456) and the planted negatives of
DEB (Sai et al. 2020, 2009.11321). Deviations: the encoder stays frozen; a reply is measured by plain figures, each
bounded by the range that people's replies show (`harness.judging.learned.head`), so that a fault which was never taught
is still outside it; and a score is a probability, calibrated on VALIDATION films.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harness.errors import InputError
from harness.judging.fitting import FittedItem, fit, score_of
from harness.judging.judge_builder import require_taught
from harness.judging.learned import features
from harness.judging.learned.features import Turn, meant, plain
from harness.judging.learned.head import ALL, CRITERIA, NEED_MEANING, Head, load
from harness.judging.method import Method
from harness.models.encoder import Encoder
from harness.models.protocol import OnProgress
from harness.types import Criterion, JudgedItem, Score, ScoreStatus

if TYPE_CHECKING:
    from harness.judging.spec import JudgeSpec

MODE = "learned"
N_KEPT = 20_000  # replies whose figures stay in memory, for the scores of a judge that was taught less


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedJudge:
    """Scores coherence and fluency as the probability that a reply is a person's and not planted, 0 to 1."""

    id: str
    family: str
    criteria: tuple[Criterion, ...]
    head: Head
    encoder: Encoder
    max_bytes: int
    left_out: str = ALL  # a family that it is asked as if it had not been taught
    measured: dict[Turn, dict[str, float]] = field(default_factory=dict, repr=False, compare=False)

    compares: ClassVar[bool] = False
    mode: ClassVar[str] = MODE

    @property
    def films(self) -> frozenset[str]:
        """The films that taught it."""
        return frozenset(self.head.films)

    def taught(self, criterion: str) -> frozenset[str]:
        """See `TaughtJudge`."""
        return frozenset(self.head.taught.get(criterion, ()))

    def without(self, family: str) -> LearnedJudge:
        """See `TaughtJudge`."""
        return replace(self, left_out=family)

    def score(self, items: Sequence[JudgedItem], *, on_progress: OnProgress | None = None) -> list[Score]:
        """See `Judge.score`."""
        fitted = [fit(item, criteria=self.criteria, max_bytes=self.max_bytes) for item in items]
        outside = {
            item.id: why for item in fitted if item.status == "ok" and (why := self.head.why_unknown(item.reply))
        }
        usable = [item for item in fitted if item.status == "ok" and item.id not in outside]
        self._measure(usable, on_progress=on_progress)
        marks = {
            (item.id, criterion.name): mark
            for criterion in self.criteria
            for item, mark in self._marks(criterion, [item for item in usable if criterion in item.criteria])
        }
        return [
            self._score(item, criterion, outside.get(item.id, ""), marks.get((item.id, criterion.name)))
            for item in fitted
            for criterion in item.criteria
        ]

    def _measure(self, items: Sequence[FittedItem], *, on_progress: OnProgress | None) -> None:
        """Figures of replies that are not known yet, equal ones once; an encoder reads where a criterion wants it."""
        if len(self.measured) > N_KEPT:
            self.measured.clear()
        for turn in map(_turn, items):
            if turn not in self.measured:
                self.measured[turn] = plain(turn, self.head.speech)
        wanting = [_turn(item) for item in items if any(c.name in NEED_MEANING for c in item.criteria)]
        new = list(dict.fromkeys(turn for turn in wanting if "fit" not in self.measured[turn]))
        for turn, more in zip(new, meant(new, self.head.bank, self.encoder, on_progress=on_progress), strict=True):
            self.measured[turn] |= more

    def _marks(self, criterion: Criterion, items: Sequence[FittedItem]) -> list[tuple[FittedItem, float]]:
        if not items:
            return []
        known = self.head.weights[criterion.name]
        strengths = self.head.human.strengths(criterion.name, [self.measured[_turn(item)] for item in items])
        found = known.get(self.left_out, known[ALL]).probability(strengths)
        return [(item, float(mark)) for item, mark in zip(items, found, strict=True)]

    def _score(self, item: FittedItem, criterion: Criterion, outside: str, mark: float | None) -> Score:
        if mark is None:
            status: ScoreStatus = "unsupported" if outside else item.status
            return score_of(self, item, criterion, None, status, outside or item.reason)
        return score_of(self, item, criterion, mark, "ok", item.reason)


def _turn(item: FittedItem) -> Turn:
    return Turn(context=tuple(message.content for message in item.messages), reply=item.reply)


def _build(spec: JudgeSpec, name: str, source: Encoder) -> LearnedJudge:
    head = load(Path(require_taught(spec).folder))
    if head.encoder != source.base.digest:
        raise InputError(
            f"`{spec.name}` must judge on the encoder that its head was taught on, {head.encoder[:12]}, "
            f"got {source.base.source} ({source.base.digest[:12]}); teach it anew, or name that encoder"
        )
    lacking = [c.name for c in spec.criteria if c.name not in head.weights]
    if lacking:
        raise InputError(f"`{spec.name}` must score what its head was taught, {', '.join(head.weights)}, got {lacking}")
    return LearnedJudge(
        id=name, family=spec.family, criteria=spec.criteria, head=head, encoder=source, max_bytes=spec.max_bytes
    )


METHOD = Method(
    name=MODE,
    build=_build,
    decides=lambda spec: {"code": features.REVISION, "criteria": [c.name for c in spec.criteria]},
    capability=None,
    local_modes=(MODE,),
    criteria=CRITERIA,
    calls_per_score=lambda spec: 1 / len(spec.criteria),  # a reply is measured once for all criteria
    unit="probability",
    is_share=True,
    is_taught=True,
)
