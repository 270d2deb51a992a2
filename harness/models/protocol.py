"""What a language model can be asked: replies, exact log-probabilities, exact option probabilities.

A model says in `supports` what it can do. Asking for anything else raises; there is never a silent fallback from, say,
exact probabilities to sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, runtime_checkable

from harness.composing import compose
from harness.doors.answers import Said
from harness.errors import UnavailableError
from harness.types import Adapter, BaseModel, Decoding, FinishReason, Progress

if TYPE_CHECKING:
    from harness.models.batch import Job

Capability = Literal["generate", "continuation_logprobs", "option_probabilities"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRequest:
    """Ask for one reply."""

    key: str  # the prompt's id: with seed, draw and step it decides all chance
    messages: Sequence[Mapping[str, str]]  # the complete chat, system message and shots included
    draw: int = 0
    adapter: str | None = None  # as `adapter_name` names it; None is the bare base
    tag: str = ""  # whatever the asker needs to know its reply again; decides nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One generated reply."""

    key: str
    draw: int
    adapter: str | None
    text: str  # decoded, without end token and outer whitespace
    n_tokens: int | None  # generated tokens, thinking and end token included; None where unknown
    finish_reason: FinishReason
    error: str = ""  # one sentence when `finish_reason` is "error" or "refused"
    tag: str = ""  # the request's
    thinking: str = ""  # what came before the text and is no part of it
    n_repaired: int = 0  # characters of either that could not be stored


def as_reply(said: Said, asked: ReplyRequest | Job, *, n_tokens: int | None) -> Reply:
    """What a model said as the reply to a request."""
    finish: FinishReason = (
        "refused" if said.status == "refused" else "error" if said.status == "failed" else said.finish
    )
    return compose(Reply, asked, said, n_tokens=n_tokens, finish_reason=finish, error=said.reason)


def no_reply(request: ReplyRequest, why: str) -> Reply:
    """That a request has no reply."""
    return compose(Reply, request, text="", n_tokens=None, finish_reason="error", error=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuationRequest:
    """Ask how likely a given reply is after a given chat."""

    key: str
    messages: Sequence[Mapping[str, str]]  # the complete chat before the reply
    reply: str
    adapter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """Log-probabilities of a reply, in nats."""

    key: str
    logprobs: tuple[float, ...]  # one per reply token, end token excluded; empty for an empty reply
    end_logprob: float  # of the end token after the reply

    @property
    def total(self) -> float:
        """Sum over the reply's tokens, end token excluded, nats."""
        return math.fsum(self.logprobs)

    @property
    def n_tokens(self) -> int:
        """Reply tokens, end token excluded."""
        return len(self.logprobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionRequest:
    """Ask which of a closed set of tokens comes next at a forced position."""

    key: str
    messages: Sequence[Mapping[str, str]]
    prefix: str  # the assistant's turn begins with this, e.g. "Score: "
    options: tuple[str, ...]  # each must be exactly one token after the prefix
    adapter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionProbabilities:
    """The next-token distribution restricted to the options."""

    key: str
    options: tuple[str, ...]
    probabilities: tuple[float, ...]  # softmax over the options alone, sums to 1
    mass: float  # probability of all options together in the full next-token distribution
    entropy: float  # of `probabilities`, nats: 0 is certain, ln(number of options) is undecided


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How often a reply generated alone equals the one generated in its batch."""

    n: int  # replies that were generated again
    n_same: int

    @property
    def share(self) -> float:
        """Share of replies that agree, 0 to 1."""
        return self.n_same / self.n


Answered = TypeVar("Answered")
OnReply = Callable[[Reply], None]
OnAnswers = Callable[[Mapping[int, Answered]], None]  # answers that came together, by place of their request
OnProgress = Callable[[Progress], None]


@runtime_checkable
class LanguageModel(Protocol):
    """A model behind one interface: transformers with PEFT, an endpoint, a file of generations, a test's fake."""

    @property
    def supports(self) -> frozenset[Capability]:
        """What may be called."""

    @property
    def base(self) -> BaseModel | None:
        """The base's identity and family; None where unknown (endpoint, file)."""

    def generate(
        self,
        requests: Sequence[ReplyRequest],
        *,
        decoding: Decoding,
        on_reply: OnReply | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Reply]:
        """One reply per request, in the order of the requests; `on_reply` gets each as soon as it is complete."""

    def continuation_logprobs(
        self, requests: Sequence[ContinuationRequest], *, on_progress: OnProgress | None = None
    ) -> list[Continuation]:
        """Exact log-probabilities of given replies, in the order of the requests."""

    def option_probabilities(
        self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None
    ) -> list[OptionProbabilities]:
        """Exact closed-set next-token probabilities, in the order of the requests."""


@runtime_checkable
class Drawn(Protocol):
    """A model whose draws are already made: it is asked for those that it has."""

    def draws_of(self, key: str) -> Sequence[int]:
        """The draws of its reply to a prompt; one where it has none, so that the lack is counted."""


@runtime_checkable
class Repeatable(Protocol):
    """A model that can say whether its replies depend on the batch they were generated in."""

    @property
    def is_batch_invariant(self) -> bool:
        """Whether a reply is the same at any batch size and order; else the agreement is measured and shown."""

    def agreement_rate(
        self, requests: Sequence[ReplyRequest], replies: Sequence[str], *, decoding: Decoding, n: int = 16
    ) -> Agreement:
        """Generate a seeded sample of replies again, each alone, and count how many are the same."""


def adapter_name(adapter: Adapter) -> str:
    """The name by which requests refer to an adapter: readable, and different for different weights."""
    version = f"/{adapter.version}" if adapter.version else ""
    return f"{adapter.name}{version}#{adapter.digest[:12]}"


class GeneratesOnly:
    """What a `LanguageModel` that gives replies alone has besides `generate`."""

    supports: frozenset[Capability] = frozenset({"generate"})
    base: BaseModel | None = None
    name: str  # for messages

    def continuation_logprobs(
        self, requests: Sequence[ContinuationRequest], *, on_progress: OnProgress | None = None
    ) -> list[Continuation]:
        """Not there: raises UnavailableError."""
        raise _lack(self.supports, "continuation_logprobs", who=self.name)

    def option_probabilities(
        self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None
    ) -> list[OptionProbabilities]:
        """Not there: raises UnavailableError."""
        raise _lack(self.supports, "option_probabilities", who=self.name)


def require(model: LanguageModel, capability: Capability, *, who: str) -> None:
    """Refuse a model that lacks a capability before any work is done.

    Raises UnavailableError: the model does not support it.
    """
    if capability not in model.supports:
        raise _lack(model.supports, capability, who=who)


def _lack(supports: frozenset[Capability], capability: Capability, *, who: str) -> UnavailableError:
    has = ", ".join(sorted(supports))
    return UnavailableError(f"`{who}` needs a model with `{capability}`, got one with {has}; name a local model")
