"""A judge method as the harness knows it: declared once, in its own module of `harness.judging.methods`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.declarations import declared

if TYPE_CHECKING:
    from harness.judging.judge_protocol import Judge
    from harness.judging.spec import JudgeSpec
    from harness.models.protocol import Capability

PACKAGE = "harness.judging.methods"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What a method needs, how its judge is built, and whether it compares."""

    name: str
    build: Callable[
        [JudgeSpec, str, Any], Judge
    ]  # with its id, on a `LanguageModel`, an `Encoder`, a `RequestQueue`, or nothing
    decides: Callable[[JudgeSpec], dict[str, Any]]  # what of its own decides a score; part of the judge's id
    capability: Capability | None  # that a model in this process must have
    local_modes: tuple[str, ...]
    endpoint_modes: tuple[str, ...] = ()  # best first, then what `auto` falls back to; none: no endpoint can serve it
    criteria: tuple[str, ...] = ()  # all that it can score; none: whatever a judge's file says
    check: Callable[[JudgeSpec], None] | None = None  # ValueError where a judge's file breaks a rule of the method's
    calls_per_score: Callable[[JudgeSpec], float] | None = None  # None: not known before it is asked
    asks: bool = False  # puts a question of its own and reads a closed set of answers (`harness.judging.asking`)
    compares: bool = False  # scores a reply against its opponent
    is_taught: bool = False  # a head on a sentence encoder, taught on TRAIN films before it can score
    unit: str = "points"
    is_share: bool = False  # every score lies in [0, 1]


@functools.cache
def methods() -> Mapping[str, Method]:
    """Every method there is, by name: one module of the package each."""
    found: list[Method] = declared(PACKAGE, "METHOD")
    return {method.name: method for method in found}


def find_method(name: str) -> Method:
    """The method of this name; ValueError where there is none."""
    if name not in methods():
        raise ValueError(f"`method` must be one of {', '.join(methods())}, got {name!r}")
    return methods()[name]
