"""Conversations, the prompts cut from them, and what is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One line that one character speaks."""

    id: str  # the corpus's own line id
    speaker_id: str  # the character's id
    speaker: str  # the character's name as printed
    text: str  # cleaned text; may be empty, as 0.09 % of Cornell's lines are


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """An ordered exchange between characters of one film."""

    id: str  # id of its first line, prefixed by the film
    cluster: str  # the film's id: the unit of splitting and resampling
    title: str  # the film's title
    utterances: tuple[Utterance, ...]  # in the order spoken


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn as a chat template sees it."""

    role: Role
    content: str
    name: str | None = None  # the character, for people; templates ignore it


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a variant is asked to continue. Never holds the reply itself except as `reference`."""

    id: str
    messages: tuple[Message, ...]  # the history; the last is the turn to answer. No system message: variants bring it
    split: Split
    cluster: str  # the film
    reference: str | None = None  # the human's reply, if known


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One training window: a prompt and its completion as token ids. Loss falls on the completion only."""

    prompt_id: str
    cluster: str
    split: Split
    input_ids: tuple[int, ...]  # template(prompt) + completion + end token
    n_prompt_tokens: int  # tokens before the completion: no loss on these
    n_completion_bytes: int  # UTF-8 bytes of the completion, for loss in bits per byte

    @property
    def loss_mask(self) -> tuple[bool, ...]:
        """True where a token carries loss; same length as `input_ids`."""
        return tuple(i >= self.n_prompt_tokens for i in range(len(self.input_ids)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A reply that stood for choice when a preference was made."""

    text: str
    score: float | None  # in the judge's units; None where it has none
    n_tokens: int | None  # generated tokens, end token included; None where unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """A prompt with a preferred and a rejected reply."""

    prompt: Prompt
    chosen: str
    rejected: str
    margin: float | None  # preference strength in the judge's units; None where unknown
    preferred_by: str  # judge id, "reference" or "import"
    reason: str = ""
    candidates: tuple[Candidate, ...] = ()  # all that stood for choice, the human reply excluded
    orders_agree: bool | None = None  # whether the verdict held with sides swapped; None where no sides were shown
