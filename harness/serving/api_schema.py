"""Requests and answers of the OpenAI chat API, as far as it is served: strict, a field we cannot honour is refused.

A field that asks for nothing, as clients send them by default (`tools: []`, `top_k: -1`, any null), is taken.

Beyond OpenAI's fields: `continue_final_message` (with `add_generation_prompt: false`, as vLLM has it) makes the last
message, the assistant's, the beginning of the reply. It is what forces a score position.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_REPLIES = 16  # `n` of a request
MAX_TOP_LOGPROBS = 20
# Accepted only where they change nothing.
_Zero = Annotated[float, Field(ge=0, le=0)]
_One = Annotated[float, Field(ge=1, le=1)]
NoItems = Annotated[list[Any], Field(max_length=0)]
_NoKeys = Annotated[dict[str, Any], Field(max_length=0)]
Label = Annotated[str, Field(max_length=256)]  # decides nothing


class Strict(BaseModel):
    """A body or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_no_field(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key in cls.model_fields}


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class TextPart(Strict):
    """A piece of a message's text."""

    type: Literal["text"]
    text: str


class ChatTurn(Strict):
    """One message of the chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1, max_length=64)] | None = None
    name: Label | None = None
    # An answer's message is taken as it was given: clients echo it whole.
    tool_calls: NoItems | None = None
    annotations: NoItems | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise ValueError("`content` must be a text, but for the assistant's own turns")
        return self

    @property
    def text(self) -> str:
        """The content as one text."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "".join(part.text for part in self.content)


class StreamOptions(Strict):
    """What a stream ends with."""

    include_usage: bool = False
    include_obfuscation: bool | None = None  # padding against eavesdroppers, which is left out


_Stop = Annotated[str, Field(min_length=1, max_length=256)]


class Asked(Strict):
    """What every body has that asks for replies."""

    model: Annotated[str, Field(min_length=1, max_length=256, description="`base`, `name@alias` or `name/version`")]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    user: Label | None = None


class Conversing(Asked):
    """What `/v1/chat/completions` and `/v1/responses` have in common besides: fields that ask for nothing."""

    tools: NoItems | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    metadata: dict[str, Any] | None = None
    service_tier: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None


class Sampling(Asked):
    """What `/v1/chat/completions` and `/v1/completions` have in common: decoding, and fields that ask for nothing."""

    n: Annotated[int, Field(ge=1, le=MAX_REPLIES)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=4)] | None = None
    frequency_penalty: _Zero | None = None
    presence_penalty: _Zero | None = None
    repetition_penalty: _One | None = None
    length_penalty: _One | None = None
    logit_bias: _NoKeys | None = None
    top_k: Literal[-1, 0] | None = None
    min_p: _Zero | None = None
    min_tokens: Literal[0] | None = None
    ignore_eos: Literal[False] | None = None
    skip_special_tokens: Literal[True] | None = None

    @model_validator(mode="after")
    def _streams_what_it_says(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("`stream_options` needs `stream: true`; leave it out")
        return self

    @property
    def streams_usage(self) -> bool:
        """Whether a stream ends with what was used."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ChatRequest(Conversing, Sampling):
    """Body of `/v1/chat/completions`."""

    messages: Annotated[list[ChatTurn], Field(min_length=1, max_length=4096)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    response_format: dict[str, Any] | None = None
    functions: NoItems | None = None
    function_call: Literal["none", "auto"] | None = None
    modalities: list[Literal["text"]] | None = None
    chat_template_kwargs: _NoKeys | None = None

    @field_validator("response_format")
    @classmethod
    def _is_plain_text(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and value != {"type": "text"}:
            kind = str(value.get("type"))[:40]
            raise ValueError(f"'{kind}' is not supported with this model; ask in the prompt and check what comes back")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("`top_logprobs` needs `logprobs: true`; set it")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("`max_tokens` and `max_completion_tokens` must agree where both are given; give one")
        if bool(self.continue_final_message) != (self.add_generation_prompt is False):
            raise ValueError(
                "`continue_final_message: true` goes with `add_generation_prompt: false`; give both or none"
            )
        if self.continue_final_message and (len(self.messages) < 2 or self.messages[-1].role != "assistant"):
            raise ValueError("`continue_final_message` needs a last message of the assistant after another; add it")
        return self

    @property
    def n_new_tokens(self) -> int | None:
        """The reply's length cap, where one is given."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def n_top(self) -> int | None:
        """Likeliest tokens to report per step; None reports no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class TokenChance(BaseModel):
    """A token and how likely it was."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TokenChance):
    """A drawn token and what else might have come."""

    top_logprobs: list[TokenChance]


class ChoiceLogprobs(BaseModel):
    """One entry per generated token, the end token included."""

    content: list[TokenLogprob]


class Usage(BaseModel):
    """Tokens of a request; the end token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ReplyMessage(BaseModel):
    """The reply."""

    role: Literal["assistant"] = "assistant"
    content: str


class Choice(BaseModel):
    """One of `n` replies."""

    index: int
    message: ReplyMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Delta(BaseModel):
    """What a chunk adds."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(BaseModel):
    """One reply's part in a chunk."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class ChatChunk(BaseModel):
    """One event of a stream; `usage` is set (null until the last) only where it was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class ModelCard(BaseModel):
    """A variant that may be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["screentest"] = "screentest"
    root: str  # the base that it runs on, as vLLM says it of its own
    digest: str  # of the adapter, or of the bare base
    system: str | None = None  # goes before a chat that brings no system message
    as_trained: bool = False  # whether it is on record how it was asked in training, and it is asked so


class ModelList(BaseModel):
    """Every variant that may be asked."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """Whether the server answers, and how busy it is."""

    status: Literal["ok", "stopping", "failed"]
    base: str
    running: int  # replies being decoded
    waiting: int  # replies in the queue
    adapters: list[str]  # in memory


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """An answer that is an error."""

    error: ErrorDetail
