"""Models and the variants made of them, their decoding and their replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.types.dialogue import Message

FinishReason = Literal["stop", "length", "error", "refused", "unknown"]
ScoreStatus = Literal["ok", "low_mass", "empty", "truncated", "refused", "failed", "unparsable", "unsupported"]
VariantKind = Literal["model", "endpoint", "file", "function", "scores"]
Quantization = Literal["nf4", "none"]  # 4-bit NormalFloat with double quantisation, or full precision
NO_REPLY: Mapping[FinishReason, ScoreStatus] = {"error": "failed", "refused": "refused"}  # of the missing


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """A base language model, named so that the same name gives the same weights."""

    source: str  # "embedded", a hub id, or a folder
    revision: str | None  # commit of a hub id; None for embedded and folders
    digest: str  # sha256 over its weights and tokenizer
    family: str  # e.g. "smollm2", "qwen2.5": decides when a judge judges its own kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """How an adapter was asked while it was trained; whoever asks it keeps to this, or says that it does not."""

    system: str | None  # the system message before every prompt; None: there was none
    template: str  # digest of the base's chat template as it was adapted
    roles: tuple[str, ...]  # of a prompt's turns
    max_tokens: int | None  # of prompt and reply; older turns were cut to fit. None where unknown
    quantization: Quantization | None  # of the base beneath it; None where unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A LoRA adapter and where it came from."""

    name: str  # registered model name, or the folder's name
    version: str | None  # registry version; None for a bare folder
    path: str  # local folder with adapter_config.json and adapter_model.safetensors
    digest: str  # sha256 over its files
    base: BaseModel
    recipe_digest: str | None = None
    data_digest: str | None = None
    parent: str | None = None  # digest of the adapter that it continued from
    contract: Contract | None = None  # None: nobody wrote down how it was asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How replies are drawn; shared by every variant of a comparison."""

    max_new_tokens: int = 64
    temperature: float = 0.8  # 0 is greedy
    top_p: float = 0.95
    seed: int = 0
    n_draws: int = 1  # independent replies per prompt
    stop: tuple[str, ...] = ()  # besides the model's own end tokens
    keep_thinking: bool = False  # leave blocks of thinking in the reply's text instead of beside it


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What is compared: a model, an endpoint, a file of replies, a function, or scores alone."""

    name: str
    kind: VariantKind
    base: BaseModel | None = None  # kind "model"
    adapter: Adapter | None = None  # kind "model"
    endpoint: str | None = None  # kind "endpoint": base URL
    model: str | None = None  # kind "endpoint": model name there; "function": its name; "file", "scores": where from
    path: str | None = None  # kind "file"
    quantization: Quantization = "none"  # kind "model": of the base as it is asked
    system: str | None = None  # system prompt
    shots: tuple[tuple[Message, ...], ...] = ()  # few-shot exchanges put before every prompt
    template: tuple[str, ...] = ()  # how the chat template is adapted and an adapter's contract not kept, in phrases
    without: tuple[str, ...] = ()  # kind "endpoint": fields of decoding that the server refuses, so not sent
    opens_thinking: bool = False  # kind "endpoint": the server's template opens a block of thinking before the reply
    digest: str = ""  # decides identity: base, adapter, system prompt, shots, template


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A variant's reply to a prompt."""

    prompt_id: str
    variant: str
    draw: int  # 0 … n_draws-1
    text: str
    seed: int
    n_tokens: int | None  # generated tokens, thinking and end token included; None where unknown
    finish_reason: FinishReason
    cluster: str
    thinking: str = ""  # what the model wrote before its reply; never judged, rated or measured
    reason: str = ""  # why there is no reply
    n_repaired: int = 0  # characters that could not be stored, each now U+FFFD

    @property
    def is_missing(self) -> bool:
        """Whether the model failed or refused: there is no reply, and nothing about it was measured."""
        return self.finish_reason in NO_REPLY
