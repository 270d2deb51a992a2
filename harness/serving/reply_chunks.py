"""From tokens to answers: whole, or as a stream of chunks."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from harness.models.batch import Likelihood
from harness.serving.api_schema import (
    ChatChunk,
    ChatCompletion,
    Choice,
    ChoiceLogprobs,
    ChunkChoice,
    Delta,
    ReplyMessage,
    TokenChance,
    TokenLogprob,
    Usage,
)
from harness.serving.batching import Piece, Ticket
from harness.serving.detokenizing import ReplyText, token_bytes
from harness.serving.error_answers import ApiError, internal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ended = Literal["stop", "length"]


class Reply:
    """One of a request's replies while it grows."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, stops: Sequence[str], end_ids: frozenset[int]) -> None:
        """`end_ids` end a reply and have no text."""
        self._tokenizer = tokenizer
        self._end_ids = end_ids
        self._pieces = ReplyText(tokenizer, stops)
        self.text = ""  # as far as it is certain
        self.n_tokens = 0
        self.finish: Ended | None = None

    def add(self, piece: Piece) -> str:
        """The text that a piece makes certain."""
        self.n_tokens += len(piece.tokens)
        if piece.finish is not None:
            self.finish = _ended(piece)
        spoken = [token for token in piece.tokens if token not in self._end_ids]
        fresh = self._pieces.push(spoken, is_last=piece.finish is not None)
        self.text += fresh
        return fresh

    def logprobs(self, tokens: Sequence[int], likelihoods: Sequence[Likelihood]) -> list[TokenLogprob]:
        """The entries of drawn tokens."""
        return [
            TokenLogprob(
                **self._chance(token, found.logprob),
                top_logprobs=[TokenChance(**self._chance(other, value)) for other, value in found.top],
            )
            for token, found in zip(tokens, likelihoods, strict=True)
        ]

    def _chance(self, token: int, logprob: float) -> dict[str, Any]:
        spelled = token_bytes(self._tokenizer, token)
        return {
            "token": spelled.decode("utf-8", "replace"),
            "logprob": max(logprob, -9999.0),  # JSON has no minus infinity; OpenAI's floor
            "bytes": list(spelled),
        }


def _ended(piece: Piece) -> Ended:
    if piece.finish not in ("stop", "length"):
        raise internal(f"a reply ended with `{piece.finish}`")
    return piece.finish


class Answer:
    """A request's answer: its replies, its name, and how much was said."""

    def __init__(
        self,
        ticket: Ticket,
        tokenizer: PreTrainedTokenizerBase,
        *,
        answer_id: str,
        model: str,
        end_ids: frozenset[int],
    ) -> None:
        """`model` is the name that the client used."""
        decoding = ticket.ask.decoding
        self.ticket = ticket
        self.id = answer_id
        self.model = model
        self.tokenizer = tokenizer
        self.created = int(time.time())
        self.replies = [Reply(tokenizer, stops=decoding.stop, end_ids=end_ids) for _ in range(decoding.n_draws)]
        self.first_token: float | None = None  # time.perf_counter() of the first piece

    @property
    def usage(self) -> Usage:
        """Tokens so far."""
        n_prompt, n_reply = len(self.ticket.ask.ids), sum(reply.n_tokens for reply in self.replies)
        return Usage(prompt_tokens=n_prompt, completion_tokens=n_reply, total_tokens=n_prompt + n_reply)

    @property
    def is_done(self) -> bool:
        """Whether every reply has ended."""
        return all(reply.finish is not None for reply in self.replies)

    async def _next(self) -> Piece:
        piece = await self.ticket.next()
        if self.first_token is None:
            self.first_token = time.perf_counter()
        return piece

    async def whole(self) -> ChatCompletion:
        """Wait for every reply."""
        logprobs: list[list[TokenLogprob]] = [[] for _ in self.replies]
        while not self.is_done:
            piece = await self._next()
            reply = self.replies[piece.draw]
            reply.add(piece)
            if self._has_logprobs:
                logprobs[piece.draw] += reply.logprobs(piece.tokens, piece.likelihoods)
        choices = [
            Choice(
                index=draw,
                message=ReplyMessage(content=reply.text),
                logprobs=ChoiceLogprobs(content=logprobs[draw]) if self._has_logprobs else None,
                finish_reason=reply.finish or "stop",
            )
            for draw, reply in enumerate(self.replies)
        ]
        return ChatCompletion(id=self.id, created=self.created, model=self.model, choices=choices, usage=self.usage)

    async def begin(self) -> Piece:
        """Wait for the first token, so that a request that fails before it can still get its status."""
        return await self._next()

    async def stream(self, first: Piece, *, has_usage: bool) -> AsyncIterator[bytes]:
        """Server-sent events, from the piece that `begin` gave to `[DONE]`."""
        for draw in range(len(self.replies)):
            yield self._event([self._choice(draw, Delta(role="assistant", content=""))], has_usage)
        piece: Piece | None = first
        held: list[list[TokenLogprob]] = [[] for _ in self.replies]  # of tokens whose text is not certain yet
        try:
            while piece is not None:
                for event in self._events(piece, held[piece.draw], has_usage):
                    yield event
                piece = None if self.is_done else await self._next()
        except ApiError as err:  # the status is sent already
            yield b"data: " + json.dumps(err.body()).encode() + b"\n\n"
            return
        if has_usage:
            yield self._event([], has_usage, self.usage)
        yield b"data: [DONE]\n\n"

    def _events(self, piece: Piece, held: list[TokenLogprob], has_usage: bool) -> list[bytes]:
        reply = self.replies[piece.draw]
        text = reply.add(piece)
        if self._has_logprobs:
            held += reply.logprobs(piece.tokens, piece.likelihoods)
        events = []
        if text or (reply.finish and held):
            logprobs = ChoiceLogprobs(content=list(held)) if self._has_logprobs else None
            held.clear()
            events.append(self._event([self._choice(piece.draw, Delta(content=text), logprobs)], has_usage))
        if reply.finish:
            events.append(self._event([self._choice(piece.draw, Delta(), finish=reply.finish)], has_usage))
        return events

    @property
    def _has_logprobs(self) -> bool:
        return self.ticket.ask.n_top is not None

    def _choice(
        self, draw: int, delta: Delta, logprobs: ChoiceLogprobs | None = None, finish: Ended | None = None
    ) -> ChunkChoice:
        return ChunkChoice(index=draw, delta=delta, logprobs=logprobs, finish_reason=finish)

    def _event(self, choices: list[ChunkChoice], has_usage: bool, usage: Usage | None = None) -> bytes:
        more: dict[str, Any] = {"usage": usage} if has_usage else {}
        chunk = ChatChunk(
            id=self.id,
            object="chat.completion.chunk",
            created=self.created,
            model=self.model,
            choices=choices,
            **more,
        )
        return b"data: " + chunk.model_dump_json(exclude_unset=True).encode() + b"\n\n"
