"""`/v1/completions`: texts or tokens gone on with, and how likely a prompt's own tokens are.

`echo` with `logprobs` is how lm-evaluation-harness' `local-completions` reads log-likelihoods: `max_tokens` of 0 or 1,
and the entries of the prompt before those of what was drawn. The first token has none: nothing comes before it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from harness.models.batch import Likelihood
from harness.serving.api_schema import MAX_REPLIES, MAX_TOP_LOGPROBS, Sampling, Usage
from harness.serving.batching import Piece
from harness.serving.detokenizing import token_bytes
from harness.serving.error_answers import ApiError, bad_request
from harness.serving.reply_chunks import Answer, Ended

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

    def asks(self, request: CompletionRequest) -> TextAnswer:
        """Told what was asked besides the prompt."""
        self._request = request
        self._columns: list[list[tuple[int, Likelihood | None]]] = [[] for _ in self.replies]
        return self

    @property
    def _is_silent(self) -> bool:
        """Whether nothing but the prompt was asked for; one token is drawn all the same, and not shown."""
        return self._request.max_tokens == 0

    async def choices(self, *, first: int) -> list[TextChoice]:
        """Wait for every text; numbered from `first`."""
        while not self.is_done:
            self._take(await self._next())
        return [
            TextChoice(
                index=first + draw,
                text=self._echoed + ("" if self._is_silent else reply.text),
                logprobs=self._logprobs(draw),
                finish_reason="length" if self._is_silent else reply.finish,
            )
            for draw, reply in enumerate(self.replies)
        ]

    async def stream(self, first: Piece, *, has_usage: bool) -> AsyncIterator[bytes]:
        """Server-sent events; log-probabilities come with the last one of each text."""
        piece: Piece | None = first
        if self._echoed:
            for draw in range(len(self.replies)):
                yield self._chunk(draw, self._echoed)
        try:
            while piece is not None:
                text, reply = self._take(piece), self.replies[piece.draw]
                if (text and not self._is_silent) or reply.finish:
                    yield self._chunk(piece.draw, "" if self._is_silent else text, finish=reply.finish)
                piece = None if self.is_done else await self._next()
        except ApiError as err:  # the status is sent already
            yield b"data: " + json.dumps(err.body()).encode() + b"\n\n"
            return
        if has_usage:
            yield self._said(self._completion([], usage=self.usage))
        yield b"data: [DONE]\n\n"

    def _take(self, piece: Piece) -> str:
        held = self._columns[piece.draw]
        if self._request.logprobs is not None:
            if self._request.echo and not held:
                held += zip(self.ticket.ask.ids, (None, *piece.prompt), strict=True)
            if not self._is_silent:
                held += zip(piece.tokens, piece.likelihoods, strict=True)
        return self.replies[piece.draw].add(piece)

    @property
    def _echoed(self) -> str:
        if not self._request.echo:
            return ""
        # A character may be spread over tokens.
        return b"".join(token_bytes(self.tokenizer, token) for token in self.ticket.ask.ids).decode("utf-8", "replace")

    def _spelled(self, token: int) -> str:
        return token_bytes(self.tokenizer, token).decode("utf-8", "replace")

    def _logprobs(self, draw: int) -> TextLogprobs | None:
        if (n_top := self._request.logprobs) is None:
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
        choice = TextChoice(index=draw, text=text, logprobs=logprobs, finish_reason=finish)
        return self._said(self._completion([choice]))

    def _completion(self, choices: list[TextChoice], *, usage: Usage | None = None) -> Completion:
        return Completion(id=self.id, created=self.created, model=self.model, choices=choices, usage=usage)

    @staticmethod
    def _said(completion: Completion) -> bytes:
        left_out = {"usage"} if completion.usage is None else None
        return b"data: " + completion.model_dump_json(exclude=left_out).encode() + b"\n\n"


async def whole(answers: Sequence[TextAnswer]) -> Completion:
    """The answers to all prompts of a request, in their order."""
    choices: list[TextChoice] = []
    for answer in answers:
        choices += await answer.choices(first=len(choices))
    used = [answer.usage for answer in answers]
    usage = Usage(
        prompt_tokens=sum(u.prompt_tokens for u in used),
        completion_tokens=sum(u.completion_tokens for u in used),
        total_tokens=sum(u.total_tokens for u in used),
    )
    first = answers[0]
    return Completion(id=first.id, created=first.created, model=first.model, choices=choices, usage=usage)
