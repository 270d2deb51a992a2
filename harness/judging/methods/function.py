"""A function of the user's as a judge (`harness.judging.own`): items in, scores out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.doors import functions
from harness.doors.text import is_absent, shown
from harness.errors import JudgeError
from harness.judging.fitting import CUT_OFF, NO_REPLY_WHY, score_of
from harness.judging.method import Method
from harness.judging.own import OwnJudge
from harness.models.metering import Meter
from harness.models.protocol import OnProgress
from harness.types import Criterion, JudgedItem, Score

if TYPE_CHECKING:
    from harness.judging.spec import JudgeSpec

MODE = "function"
N_AT_ONCE = 64  # items of one call


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionJudge:
    """Implements `Judge` with a function."""

    id: str
    family: str
    criteria: tuple[Criterion, ...]
    function: Callable[..., Any]

    compares: ClassVar[bool] = False
    mode: ClassVar[str] = MODE

    def score(self, items: Sequence[JudgedItem], *, on_progress: OnProgress | None = None) -> list[Score]:
        """One score per item and criterion. What the function raises on makes those items missing, and no others.

        Raises JudgeError: it returned other than one score per item.
        """
        told: dict[str, Mapping[str, Any] | Exception] = {}
        asked = [item for item in items if item.missing is None and not is_absent(item.reply)]
        meter = Meter(len(asked), "items", on_progress)
        for start in range(0, len(asked), N_AT_ONCE):
            part = asked[start : start + N_AT_ONCE]
            told |= self._ask(part)
            meter.advance(len(part), len(part))
        return [
            self._score(item, criterion, told.get(item.id))
            for item in items
            for criterion in self.criteria
            if not item.criteria or criterion.name in item.criteria
        ]

    def _ask(self, items: Sequence[JudgedItem]) -> dict[str, Mapping[str, Any] | Exception]:
        """What the function says of each item; where it raises on several, each is asked about alone."""
        try:
            said = self.function(list(items))
        except Exception as err:  # noqa: BLE001  # a function of the user's may raise anything
            if len(items) == 1:
                return {items[0].id: err}
            return {key: value for item in items for key, value in self._ask([item]).items()}
        values = list(said) if isinstance(said, Sequence) or hasattr(said, "__array__") else None
        if values is None or isinstance(said, str) or len(values) != len(items):
            n = f"{len(values)} scores" if values is not None else shown(said)
            raise JudgeError(f"`{self.id}` must return one score per item, in their order: got {n} for {len(items)}")
        return {item.id: self._by_criterion(value) for item, value in zip(items, values, strict=True)}

    def _by_criterion(self, value: Any) -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        if len(self.criteria) > 1:
            names = ", ".join(f"{c.name!r}: …" for c in self.criteria)
            raise JudgeError(f"`{self.id}` must return a mapping of its criteria per item, {{{names}}}, got {value!r}")
        return {self.criteria[0].name: value}

    def _score(self, item: JudgedItem, criterion: Criterion, told: Mapping[str, Any] | Exception | None) -> Score:
        if told is None:
            status = item.missing or "empty"
            why = NO_REPLY_WHY.get(status, "the reply has no visible text")
            return score_of(self, item, criterion, None, status, why)
        if isinstance(told, Exception):
            return score_of(self, item, criterion, None, "failed", functions.failure(told))
        value = functions.plain(told.get(criterion.name))
        if value is None:
            return score_of(self, item, criterion, None, "unsupported", "the judge gave no score")
        if not isinstance(value, bool | int | float) or not math.isfinite(value):
            why = f"a score must be a finite number, got {shown(value)}"
            return score_of(self, item, criterion, None, "unparsable", why)
        return score_of(self, item, criterion, float(value), "ok", CUT_OFF if item.is_truncated else "")


def _build(spec: JudgeSpec, name: str, source: None) -> FunctionJudge:
    judge: OwnJudge = functions.load(spec.source, OwnJudge)
    return FunctionJudge(id=name, family=spec.family, criteria=spec.criteria, function=judge.function)


METHOD = Method(name=MODE, build=_build, decides=lambda spec: {}, capability=None, local_modes=(MODE,))
