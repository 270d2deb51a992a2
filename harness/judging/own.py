"""A judge that is a function of the user's: items in, scores out; qualified on planted controls like any other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.doors import functions
from harness.doors.text import shown
from harness.errors import InputError
from harness.judging.criterion_files import CriterionFile, load_criterion, shipped_criteria
from harness.judging.spec import FunctionChoice, JudgeSpec
from harness.types import Criterion, JudgedItem


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


def make_judge(
    function: Callable[..., Any], *, family: str, criteria: Sequence[str | Criterion] | Mapping[str, str]
) -> OwnJudge:
    """A judge of a function; a criterion that does not ship is defined by the function's own words.

    Raises InputError: it takes no items, or a name is none.
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
