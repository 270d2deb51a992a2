"""A measure: what is taken of replies without a judge, shipped or the user's own, and how its rows are made."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.doors import functions
from harness.errors import InputError
from harness.types import Direction, Generation, Grain, Message, Prompt, ScoreStatus, SmallestEffect

Origin = Literal["heldout", "people", "replies", "variant", "pair"]
Phrase = tuple[str, str]
Per = Literal["reply", "pair", "variant"]
ASKED = ("prompt", "messages", "reference", "generation")  # what a function may ask for by name, after the reply
UNITS = {"share": "share", "bits per byte": "bits_per_byte", "nats": "nats"}  # of smallest effects; others: points
_ORIGINS: Mapping[Per, Origin] = {"reply": "replies", "pair": "pair", "variant": "variant"}
_GRAINS: Mapping[Origin, Grain] = {"pair": Grain.PAIR, "variant": Grain.PROMPT, "heldout": Grain.PROMPT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A measure by name: how it reads, where its rows come from, and whether more of it is better."""

    name: str
    label: str
    unit: str
    better: Direction | None  # None: descriptive, more is neither better nor worse
    description: str
    # heldout: human replies; people: replies against human ones; replies, pair: one value a generation; variant: one
    # for all of them
    origin: Origin
    is_rate: bool = False  # every row is a share in [0, 1]: its mean is a rate, with a rate's interval and warning
    smallest_effect: SmallestEffect | None = None  # the smallest difference that matters
    silence: float | None = None  # what a reply that is empty or was refused is worth; None: it is missing
    phrase: Phrase | None = None  # what a variant does that is better, and one that is worse; None: by its label
    meaning: str | None = None  # of `{own}` number beside those of `{others}`; None: one instead of the others
    function: Callable[..., Any] | None = None  # None: its table has a stage of its own, whose revision names it
    take: Callable[..., Taken] | None = None  # makes the rows of all replies at once, with an encoder
    margin: str = ""  # label of its rows' margins, where each has one beside the value; more of it is better
    address: str = ""  # `module:name` of the function
    code: str = ""  # digest of the function's source

    @property
    def grain(self) -> Grain:
        """What one row is."""
        return _GRAINS.get(self.origin, Grain.REPLY)

    @property
    def needs_reference(self) -> bool:
        """Whether a prompt without a reference has no value, whoever replies."""
        return self.origin in ("heldout", "people") or "reference" in self.asked

    @property
    def asked(self) -> tuple[str, ...]:
        """What its function asks for by name, after the reply."""
        if self.function is None or self.origin == "variant":
            return ()
        return functions.parameters(self.function, ("other", *ASKED), first="the reply")

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the function says, as it says it."""
        if self.function is None:
            raise InputError(f"`{self.name}` is made by a stage and cannot be called")
        return self.function(*arguments, **named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Rows, and what a person should know of a variant beside its number."""

    rows: tuple[MeasuredReply, ...]
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # variant → sentences


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredReply:
    """One row of a measure: a value, or why there is none."""

    prompt_id: str
    variant: str
    draw: int
    cluster: str
    value: float | None
    status: ScoreStatus
    reason: str = ""
    margin: float | None = None  # a reply's own, where the value is a row of an estimate: quantiles are of margins


def make_measure(
    function: Callable[..., Any],
    *,
    better: Direction | None,
    unit: str,
    is_rate: bool,
    smallest_effect: float | None,
    per: Per,
    name: str | None,
) -> Measure:
    """A measure of a function of the user's.

    Raises InputError: it asks for arguments that there are not, or is declared as what it cannot be.
    """
    named = str(name or getattr(function, "__name__", "").strip("<>"))
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,79}", named):
        raise InputError(f"`name` of a measure must be a word of letters, digits, _ . + -, got {named!r}; give one")
    if better not in ("higher", "lower", None):
        raise InputError(f"`better` of {named} must be higher, lower or None, got {better!r}")
    if per not in _ORIGINS:
        raise InputError(f"`per` of {named} must be one of {', '.join(_ORIGINS)}, got {per!r}")
    if smallest_effect is not None and not (smallest_effect > 0 and math.isfinite(smallest_effect)):
        raise InputError(f"`smallest_effect` of {named} must be a number above 0, got {smallest_effect!r}")
    if per == "reply":
        functions.parameters(function, ASKED, first="the reply")
    elif per == "variant":
        functions.parameters(function, (), first="the list of replies")
    else:
        functions.parameters(function, ("other", *ASKED), first="the reply")
    effect_unit: Any = "share" if is_rate else UNITS.get(unit, "points")
    return Measure(
        name=named,
        label=named.replace("_", " ").capitalize(),
        unit=unit or ("share" if is_rate else "points"),
        better=better,
        description=(inspect.getdoc(function) or f"{functions.address_of(function)}, a function of the user's.").split(
            "\n\n"
        )[0],
        origin=_ORIGINS[per],
        is_rate=is_rate,
        smallest_effect=None if smallest_effect is None else SmallestEffect(value=smallest_effect, unit=effect_unit),
        function=function,
        address=functions.address_of(function),
        code=functions.code_digest(function),
    )


def read_value(said: Any, measure: Measure) -> float | None:
    """What a function returned as a value; None where it says that there is none.

    Raises InputError: it is no number.
    """
    value = functions.plain(said)
    if value is None:
        return None
    if isinstance(value, bool | int | float):
        number = float(value)
        if math.isfinite(number) and (not measure.is_rate or 0 <= number <= 1):
            return number
    rule = "a share from 0 to 1" if measure.is_rate else "a finite number"
    raise InputError(f"`{measure.name}` must return {rule}, a truth value or None, got {repr(said)[:80]}")


def context_text(messages: Sequence[Message]) -> str:
    """A conversation as one text, a turn a line: what a function that asks for the `prompt` gets."""
    return "\n".join(message.content for message in messages)


def reply_arguments(generation: Generation, prompt: Prompt, asked: Sequence[str]) -> dict[str, Any]:
    """What a function gets by name besides the reply."""
    known: dict[str, Callable[[], Any]] = {
        "prompt": lambda: context_text(prompt.messages),
        "messages": lambda: [{"role": m.role, "content": m.content} for m in prompt.messages],
        "reference": lambda: prompt.reference,
        "generation": lambda: generation,
    }
    return {name: known[name]() for name in asked if name in known}
