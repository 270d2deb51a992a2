"""`/v1/completions`: texts or tokens gone on with, and how likely a prompt's own tokens are.

`echo` with `logprobs` is how lm-evaluation-harness' `local-completions` reads log-likelihoods: `max_tokens` of 0 or 1,
and the entries of the prompt before those of what was drawn. The first token has none: nothing comes before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from harness.models.batch import Likelihood
from harness.models.detokenizing import token_bytes
from harness.serving.api_schema import MAX_REPLIES, MAX_TOP_LOGPROBS, Sampling, Usage
from harness.serving.batching import Piece
from harness.serving.error_answers import bad_request
from harness.serving.reply_chunks import Answer, Ended, data_event

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_Text = Annotated[str, Field(max_length=1_000_000)]
_Token = Annotated[int, Field(ge=0, lt=2**31)]
_Tokens = Annotated[list[_Token], Field(min_length=1)]


class CompletionRequest(Sampling):
    """Body of `/v1/completions`."""

    prompt: _Text | _Tokens | Annotated[list[_Text] | list[_Tokens], Field(min_length=1, max_length=MAX_REPLIES)]
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    best_of: Literal[1] | None = None

    @model_validator(mode="after")
    def _can_be_answered(self) -> Self:
        if self.stream and len(self.prompts) > 1:
            raise ValueError("`stream: true` takes one prompt; send each in a request of its own")
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("`max_tokens` must be at least 1 without `echo: true`")
        if self.echo and self.logprobs is not None and (self.n or 1) > 1:
            raise ValueError("`echo` with `logprobs` takes `n: 1`; leave `n` out")
        return self

    @property
    def n_new_tokens(self) -> int | None:
        """The length cap, where one is given: one token is drawn where none is asked for."""
        return None if self.max_tokens is None else max(1, self.max_tokens)

    @property
    def n_top(self) -> int | None:
        """Likeliest tokens to report per step; None reports no log-probabilities."""
        return self.logprobs

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """Each prompt, as text or as tokens."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        return [self.prompt] if isinstance(self.prompt[0], int) else self.prompt


class TextLogprobs(BaseModel):
    """One entry per token, in four columns."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class TextChoice(BaseModel):
    """One text."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class Completion(BaseModel):
    """The whole answer, or one event of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, prompt: str | Sequence[int]) -> tuple[int, ...]:
    """A prompt's tokens: text as the tokenizer reads it, special tokens included; an empty one begins a text.

    Raises:
        ApiError: a token is not in the vocabulary, or nothing can begin a text.
    """
    if not isinstance(prompt, str):
        if max(prompt) >= len(tokenizer):
            raise bad_request(f"`prompt` must hold tokens below {len(tokenizer)}, got {max(prompt)}", param="prompt")
        return tuple(prompt)
    ids = tuple(tokenizer.encode(prompt))
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if not ids and begin is None:
        raise bad_request("`prompt` must have at least one token, got none", param="prompt")
    return ids or (begin,)


class TextAnswer(Answer):
    """The answer to one prompt."""

    asked: CompletionRequest

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._columns: list[list[tuple[int, Likelihood | None]]] = [[] for _ in self.replies]
        self._is_silent = self.asked.max_tokens == 0  # nothing but the prompt was asked for: what is drawn is not shown

    @classmethod
    def whole(cls, answers: Sequence[TextAnswer]) -> Completion:
        """The texts of all prompts, in their order."""
        choices = [choice for answer in answers for choice in answer._choices()]
        for index, choice in enumerate(choices):
            choice.index = index
        return answers[0]._completion(choices, usage=cls.used(answers))

    def _choices(self) -> Iterable[TextChoice]:
        for draw, reply in enumerate(self.replies):
            text = self._echoed + ("" if self._is_silent else reply.text)
            finish = "length" if self._is_silent else reply.finish
            yield TextChoice(index=draw, text=text, logprobs=self._logprobs(draw), finish_reason=finish)

    def _opening(self) -> Iterable[bytes]:
        return [self._chunk(draw, self._echoed) for draw in range(len(self.replies))] if self._echoed else []

    def _events(self, piece: Piece, text: str) -> Iterable[bytes]:
        """Log-probabilities come with the last one of each text."""
        text, finish = "" if self._is_silent else text, self.replies[piece.draw].finish
        return [self._chunk(piece.draw, text, finish=finish)] if text or finish else []

    def _closing(self) -> Iterable[bytes]:
        last = [self._event([], usage=self.used([self]))] if self.asked.streams_usage else []
        return [*last, *super()._closing()]

    def _take(self, piece: Piece) -> str:
        held = self._columns[piece.draw]
        if self.asked.logprobs is not None:
            if self.asked.echo and not held:
                held += zip(self.ticket.ask.ids, (None, *piece.prompt), strict=True)
            if not self._is_silent:
                held += zip(piece.tokens, piece.likelihoods, strict=True)
        return super()._take(piece)

    @property
    def _echoed(self) -> str:
        if not self.asked.echo:
            return ""
        # A character may be spread over tokens.
        return b"".join(token_bytes(self.tokenizer, token) for token in self.ticket.ask.ids).decode("utf-8", "replace")

    def _spelled(self, token: int) -> str:
        return token_bytes(self.tokenizer, token).decode("utf-8", "replace")

    def _logprobs(self, draw: int) -> TextLogprobs | None:
        if (n_top := self.asked.logprobs) is None:
            return None
        tokens = [self._spelled(token) for token, _ in self._columns[draw]]
        offsets, at = [], 0
        for token in tokens:
            offsets.append(at)
            at += len(token)
        found = [likelihood for _, likelihood in self._columns[draw]]
        # The token itself stands among the likeliest, as OpenAI has it: clients ask whether it is the first of them.
        tops = [None if f is None else self._top(f, token) for f, token in zip(found, tokens, strict=True)]
        return TextLogprobs(
            tokens=tokens,
            token_logprobs=[None if f is None else max(f.logprob, -9999.0) for f in found],
            top_logprobs=tops if n_top else None,
            text_offset=offsets,
        )

    def _top(self, found: Likelihood, token: str) -> dict[str, float]:
        best: dict[str, float] = {}
        for other, value in found.top:
            best.setdefault(self._spelled(other), max(value, -9999.0))
        best.setdefault(token, max(found.logprob, -9999.0))
        return best

    def _chunk(self, draw: int, text: str, *, finish: Ended | None = None) -> bytes:
        logprobs = self._logprobs(draw) if finish else None
        return self._event([TextChoice(index=draw, text=text, logprobs=logprobs, finish_reason=finish)])

    def _event(self, choices: list[TextChoice], *, usage: Usage | None = None) -> bytes:
        left_out = {"usage"} if usage is None else None
        return data_event(self._completion(choices, usage=usage).model_dump_json(exclude=left_out))

    def _completion(self, choices: list[TextChoice], *, usage: Usage | None = None) -> Completion:
        return Completion(id=self.id, created=self.created, model=self.asked.model, choices=choices, usage=usage)
