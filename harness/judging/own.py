"""A judge that is a function of the user's: items in, scores out; qualified on planted controls like any other."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.doors import functions
from harness.doors.text import is_absent, shown
from harness.errors import InputError, JudgeError
from harness.judging.criterion_files import CriterionFile, load_criterion, shipped_criteria
from harness.judging.fitting import CUT_OFF, NO_REPLY_WHY, missing_score
from harness.judging.protocol import OnProgress
from harness.judging.spec import FunctionChoice, JudgeSpec
from harness.models.metering import Meter
from harness.types import Criterion, JudgedItem, Score

GROUP = "screentest.judges"  # entry points
MODE = "function"
N_AT_ONCE = 64  # items of one call


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnJudge:
    """What `@judge` makes of a function; calling it calls the function."""

    name: str
    family: str  # the model family that stands behind its scores, to notice a judge that judges its own kind
    criteria: tuple[Criterion, ...]
    function: Callable[..., Any]
    address: str  # `module:name`
    code: str  # digest of its source

    def __call__(self, items: Sequence[JudgedItem]) -> Any:
        """What the function says of the items, as it says it."""
        return self.function(items)

    def spec(self, address: str | None = None) -> JudgeSpec:
        """As an experiment knows a judge."""
        return JudgeSpec(
            schema=1,
            name=self.name,
            method="function",
            mode="function",
            model=FunctionChoice(function=address or self.address, code=self.code),
            family=self.family,
            criteria=self.criteria,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionJudge:
    """Implements `Judge` with a function."""

    id: str
    family: str
    criteria: tuple[Criterion, ...]
    function: Callable[..., Any]

    def score(self, items: Sequence[JudgedItem], *, on_progress: OnProgress | None = None) -> list[Score]:
        """One score per item and criterion. What the function raises on makes those items missing, and no others.

        Raises:
            JudgeError: it returned other than one score per item.
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
        def missing(status: Any, reason: str) -> Score:
            return missing_score(item.id, criterion, status, reason, judge_id=self.id, mode=MODE)

        if told is None:
            status = item.missing or "empty"
            return missing(status, NO_REPLY_WHY.get(status, "the reply has no visible text"))
        if isinstance(told, Exception):
            return missing("failed", functions.failure(told))
        value = functions.plain(told.get(criterion.name))
        if value is None:
            return missing("unsupported", "the judge gave no score")
        if not isinstance(value, bool | int | float) or not math.isfinite(value):
            return missing("unparsable", f"a score must be a finite number, got {shown(value)}")
        reason = CUT_OFF if item.is_truncated else ""
        return Score(
            item_id=item.id, criterion=criterion.name, judge_id=self.id, value=float(value), status="ok", mode=MODE,
            reason=reason,
        )  # fmt: skip


def make_judge(
    function: Callable[..., Any], *, family: str, criteria: Sequence[str | Criterion] | Mapping[str, str]
) -> OwnJudge:
    """A judge of a function; a criterion that does not ship is defined by the function's own words.

    Raises:
        InputError: it takes no items, or a name is none.
    """
    functions.parameters(function, (), first="the list of items")
    words = inspect.getdoc(function) or ""
    if not family.strip():
        raise InputError(
            "`family` of a judge must name what stands behind its scores, e.g. a model's family or 'rules'"
        )
    given = dict(criteria) if isinstance(criteria, Mapping) else {c: "" for c in criteria}
    if not given:
        raise InputError("`criteria` of a judge must name what it scores, e.g. ['politeness']")
    return OwnJudge(
        name=function.__name__.strip("_").lower().replace("_", "-").strip("<>") or "judge",
        family=family,
        criteria=tuple(_criterion(name, said or words) for name, said in given.items()),
        function=function,
        address=functions.address_of(function),
        code=functions.code_digest(function),
    )


def load_own_spec(address: str) -> JudgeSpec:
    """The judge that `module:name` leads to, or the name of one that an installed package offers."""
    judge: OwnJudge = functions.load(address, OwnJudge)
    return judge.spec(address)


def build_own(spec: JudgeSpec, choice: FunctionChoice, *, id: str) -> FunctionJudge:
    """The judge of a spec, on its function."""
    judge: OwnJudge = functions.load(choice.function, OwnJudge)
    return FunctionJudge(id=id, family=spec.family, criteria=spec.criteria, function=judge.function)


def _criterion(given: str | Criterion, words: str) -> Criterion:
    if isinstance(given, Criterion):
        return given
    if given in shipped_criteria():
        return load_criterion(given)
    definition = words or f"Whatever the judge calls {given.replace('_', ' ')}."
    try:
        CriterionFile(name=given, definition=definition)
    except ValueError as err:
        raise InputError(f"`criteria` must be names in lower case, e.g. politeness, got {shown(given)}") from err
    return Criterion(name=given, definition=definition, steps=())
