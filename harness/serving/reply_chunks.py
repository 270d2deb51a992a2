"""From tokens to answers: whole, or as a stream of chunks."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from harness.models.batch import Likelihood
from harness.models.detokenizing import ReplyText, token_bytes
from harness.models.local import LocalModel
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


class Answer(ABC):
    """A request's answer: its replies, its name, and how much was said. Whole, or as server-sent events."""

    def __init__(self, ticket: Ticket, model: LocalModel, *, answer_id: str, asked: Any) -> None:
        """`asked` is the request's body."""
        self.ticket = ticket
        self.id = answer_id
        self.asked = asked
        self.tokenizer = model.tokenizer
        self.created = int(time.time())
        decoding = ticket.ask.decoding
        self.replies = [
            Reply(model.tokenizer, stops=decoding.stop, end_ids=model.end_ids) for _ in range(decoding.n_draws)
        ]
        self.first_token: float | None = None  # time.perf_counter() of the first piece

    @classmethod
    def used(cls, answers: Sequence[Answer]) -> Usage:
        """Tokens so far of the answers to a request's prompts."""
        n_prompt = sum(len(answer.ticket.ask.ids) for answer in answers)
        n_reply = sum(reply.n_tokens for answer in answers for reply in answer.replies)
        return Usage(prompt_tokens=n_prompt, completion_tokens=n_reply, total_tokens=n_prompt + n_reply)

    async def begin(self) -> Piece:
        """Wait for the first token, so that a request that fails before it can still get its status."""
        return await self._next()

    async def finish(self) -> None:
        """Wait for every reply."""
        while not self._is_done:
            self._take(await self._next())

    async def stream(self, first: Piece) -> AsyncIterator[bytes]:
        """Every event, from the piece that `begin` gave on."""
        for event in self._opening():
            yield event
        piece: Piece | None = first
        try:
            while piece is not None:
                for event in self._events(piece, self._take(piece)):
                    yield event
                piece = None if self._is_done else await self._next()
        except ApiError as err:  # the status is sent already
            yield self._broken(err)
            return
        for event in self._closing():
            yield event

    @property
    def _is_done(self) -> bool:
        return all(reply.finish is not None for reply in self.replies)

    async def _next(self) -> Piece:
        piece = await self.ticket.next()
        if self.first_token is None:
            self.first_token = time.perf_counter()
        return piece

    def _take(self, piece: Piece) -> str:
        """The text that a piece makes certain."""
        return self.replies[piece.draw].add(piece)

    @classmethod
    @abstractmethod
    def whole(cls, answers: Sequence[Any]) -> BaseModel | dict[str, Any]:
        """The body that answers a request, once the answers to its prompts are finished."""

    @abstractmethod
    def _opening(self) -> Iterable[bytes]:
        """Events before the first text."""

    @abstractmethod
    def _events(self, piece: Piece, text: str) -> Iterable[bytes]:
        """Events of a piece that has been taken, and has made so much text certain."""

    def _broken(self, err: ApiError) -> bytes:
        return data_event(json.dumps(err.body()))

    def _closing(self) -> Iterable[bytes]:
        """Events after the last text."""
        return [data_event("[DONE]")]


def data_event(data: str) -> bytes:
    """A server-sent event without a name."""
    return f"data: {data}\n\n".encode()


class ChatAnswer(Answer):
    """The answer to a chat."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._has_logprobs = self.ticket.ask.n_top is not None
        self._logprobs: list[list[TokenLogprob]] = [[] for _ in self.replies]  # in a stream, those not yet sent

    @classmethod
    def whole(cls, answers: Sequence[ChatAnswer]) -> ChatCompletion:
        """The only one's replies."""
        (answer,) = answers
        choices = [
            Choice(
                index=draw,
                message=ReplyMessage(content=reply.text),
                logprobs=ChoiceLogprobs(content=answer._logprobs[draw]) if answer._has_logprobs else None,
                finish_reason=reply.finish or "stop",
            )
            for draw, reply in enumerate(answer.replies)
        ]
        known: dict[str, Any] = {"id": answer.id, "created": answer.created, "model": answer.asked.model}
        return ChatCompletion(**known, choices=choices, usage=cls.used(answers))

    def _take(self, piece: Piece) -> str:
        if self._has_logprobs:
            found = self.replies[piece.draw].logprobs(piece.tokens, piece.likelihoods)
            self._logprobs[piece.draw] += found
        return super()._take(piece)

    def _opening(self) -> Iterable[bytes]:
        for draw in range(len(self.replies)):
            yield self._chunk(draw, Delta(role="assistant", content=""))

    def _events(self, piece: Piece, text: str) -> Iterable[bytes]:
        finish, held = self.replies[piece.draw].finish, self._logprobs[piece.draw]
        if text or (finish and held):
            logprobs = ChoiceLogprobs(content=held) if self._has_logprobs else None
            yield self._chunk(piece.draw, Delta(content=text), logprobs)
            self._logprobs[piece.draw] = []
        if finish:
            yield self._chunk(piece.draw, Delta(), finish=finish)

    def _closing(self) -> Iterable[bytes]:
        last = [self._event([], usage=self.used([self]))] if self.asked.streams_usage else []
        return [*last, *super()._closing()]

    def _chunk(
        self, draw: int, delta: Delta, logprobs: ChoiceLogprobs | None = None, *, finish: Ended | None = None
    ) -> bytes:
        return self._event([ChunkChoice(index=draw, delta=delta, logprobs=logprobs, finish_reason=finish)])

    def _event(self, choices: list[ChunkChoice], *, usage: Usage | None = None) -> bytes:
        more: dict[str, Any] = {"usage": usage} if self.asked.streams_usage else {}
        chunk = ChatChunk(
            id=self.id,
            object="chat.completion.chunk",
            created=self.created,
            model=self.asked.model,
            choices=choices,
            **more,
        )
        return data_event(chunk.model_dump_json(exclude_unset=True))
