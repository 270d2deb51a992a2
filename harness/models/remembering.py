"""A local model that remembers: what it has answered stands in the store, and is not computed again.

So a judge that is killed goes on, and one that is asked again reads. The key of an answer is the digest of all that
decides it: weights, precision, chat, and what was asked about it. The machine is left out, as it is of a judge's id;
so is the company in which a question was asked, which moves an answer by its rounding alone. Equal questions are asked
once. Errors are never kept.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from harness.models.answers import AnswerStore
from harness.models.bases import asked_digest
from harness.models.protocol import (
    Capability,
    Continuation,
    ContinuationRequest,
    OnAnswers,
    OnProgress,
    OnReply,
    OptionProbabilities,
    OptionRequest,
    Reply,
    ReplyRequest,
    Resumable,
)
from harness.store.artifacts import digest_bytes
from harness.types import BaseModel, Decoding, JsonObject

REVISION = 1  # raise when a change of how local models are asked changes their answers
COMMIT_S = 2.0

OnRecall = Callable[[int, int], None]  # gets how many different questions of one call were known, and how many it has
_Request = TypeVar("_Request", ContinuationRequest, OptionRequest)
_Answer = TypeVar("_Answer", Continuation, OptionProbabilities)


class RememberingModel:
    """A base without adapters, loaded only when something is asked that the store does not know."""

    supports: frozenset[Capability] = frozenset({"generate", "continuation_logprobs", "option_probabilities"})

    def __init__(
        self,
        base: BaseModel,
        *,
        dtype: str,
        load: Callable[[], Resumable],
        store: AnswerStore,
        repetition: int = 0,
        on_recall: OnRecall | None = None,
        commit_s: float = COMMIT_S,
    ) -> None:
        """Put a store before a model.

        Args:
            base: the model's weights, which are part of every key.
            dtype: their precision, which is too.
            load: gives the model; called whenever there is something to ask, so it should keep it.
            store: of answers.
            repetition: 1 asks everything a second time, whatever the store has of the first.
            on_recall: is told before anything is computed how much of a call is known.
            commit_s: seconds of work that a kill may cost, besides the forward pass that is under way.
        """
        self._base = base
        self._load = load
        self._store = store
        self._identity = [REVISION, asked_digest(base), dtype, repetition]
        self._on_recall = on_recall
        self._commit_s = commit_s

    @property
    def base(self) -> BaseModel | None:
        """The weights' identity."""
        return self._base

    def generate(
        self,
        requests: Sequence[ReplyRequest],
        *,
        decoding: Decoding,
        on_reply: OnReply | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Reply]:
        """One reply per request, in their order; a reply that failed is not kept."""
        drawn = [decoding.max_new_tokens, decoding.temperature, decoding.top_p, decoding.seed, list(decoding.stop)]
        drawn += ["thinking kept"] if decoding.keep_thinking else []
        keys = [self._key("reply", r.messages, r.adapter, [r.key, r.draw, *drawn]) for r in requests]
        known = self._recall(keys)
        replies = {at: _reply(requests[at], known[key]) for at, key in enumerate(keys) if key in known}
        fresh = [at for at in range(len(keys)) if at not in replies]
        if on_reply is not None:
            for reply in replies.values():
                on_reply(reply)
        if fresh:
            asked = [requests[at] for at in fresh]
            made = self._load().generate(asked, decoding=decoding, on_reply=on_reply, on_progress=on_progress)
            replies |= dict(zip(fresh, made, strict=True))
            self._store.write({keys[at]: _reply_json(replies[at]) for at in fresh if not replies[at].error})
        return [replies[at] for at in range(len(keys))]

    def continuation_logprobs(
        self, requests: Sequence[ContinuationRequest], *, on_progress: OnProgress | None = None
    ) -> list[Continuation]:
        """As in `LanguageModel`."""
        return self._answer(
            requests,
            [self._key("continuation", r.messages, r.adapter, [r.reply]) for r in requests],
            lambda some, known, keep: self._load().continuation_logprobs(
                some, on_progress=on_progress, known=known, on_answers=keep
            ),
            read=_continuation,
            write=_continuation_json,
        )

    def option_probabilities(
        self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None
    ) -> list[OptionProbabilities]:
        """As in `LanguageModel`."""
        return self._answer(
            requests,
            [self._key("options", r.messages, r.adapter, [r.prefix, list(r.options)]) for r in requests],
            lambda some, known, keep: self._load().option_probabilities(
                some, on_progress=on_progress, known=known, on_answers=keep
            ),
            read=_options,
            write=_options_json,
        )

    def _answer(
        self,
        requests: Sequence[_Request],
        keys: Sequence[str],
        ask: Callable[[Sequence[_Request], Collection[int], OnAnswers[_Answer]], object],
        *,
        read: Callable[[_Request, JsonObject], _Answer],
        write: Callable[[_Answer], JsonObject],
    ) -> list[_Answer]:
        """What is known from the store, the rest from the model, kept pass by pass."""
        answers = self._recall(keys)
        different = dict(zip(keys, requests, strict=True))
        if len(answers) < len(different):
            names = list(different)
            known = frozenset(at for at, key in enumerate(names) if key in answers)
            keeper = _Keeper(self._store, self._commit_s)

            def keep(fresh: Mapping[int, _Answer]) -> None:
                written = {names[at]: write(answer) for at, answer in fresh.items()}
                answers.update(written)
                keeper.add({key: answer for key, answer in written.items() if _is_sound(answer)})

            try:
                ask(list(different.values()), known, keep)
            finally:
                keeper.commit()
        return [read(request, answers[key]) for key, request in zip(keys, requests, strict=True)]

    def _recall(self, keys: Sequence[str]) -> dict[str, JsonObject]:
        known = self._store.read(keys)
        if self._on_recall is not None:
            self._on_recall(len(known), len(set(keys)))
        return known

    def _key(self, kind: str, messages: Sequence[Mapping[str, str]], adapter: str | None, asked: list[Any]) -> str:
        chat = [dict(message) for message in messages]
        decides = [*self._identity, kind, chat, adapter, asked]
        return digest_bytes(json.dumps(decides, sort_keys=True, allow_nan=False).encode())


class _Keeper:
    """Writes answers together, whole passes at a time, so that keeping them costs next to nothing."""

    def __init__(self, store: AnswerStore, commit_s: float) -> None:
        self._store = store
        self._commit_s = commit_s
        self._waiting: dict[str, JsonObject] = {}
        self._committed = time.monotonic()

    def add(self, answers: Mapping[str, JsonObject]) -> None:
        """Take the answers of a pass; they may wait a moment for others."""
        self._waiting |= answers
        if time.monotonic() - self._committed >= self._commit_s:
            self.commit()

    def commit(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._store.write(self._waiting)
        self._waiting = {}
        self._committed = time.monotonic()


def _is_sound(answer: JsonObject) -> bool:
    """Whether every number of an answer is one: what is not is an error, and asked again."""
    numbers = [x for value in answer.values() for x in (value if isinstance(value, list) else [value])]
    return all(math.isfinite(x) for x in numbers)


def _continuation(request: ContinuationRequest, stored: JsonObject) -> Continuation:
    return Continuation(key=request.key, logprobs=tuple(stored["logprobs"]), end_logprob=stored["end"])


def _continuation_json(answer: Continuation) -> JsonObject:
    return {"logprobs": list(answer.logprobs), "end": answer.end_logprob}


def _options(request: OptionRequest, stored: JsonObject) -> OptionProbabilities:
    return OptionProbabilities(
        key=request.key,
        options=request.options,
        probabilities=tuple(stored["probabilities"]),
        mass=stored["mass"],
        entropy=stored["entropy"],
    )


def _options_json(answer: OptionProbabilities) -> JsonObject:
    return {"probabilities": list(answer.probabilities), "mass": answer.mass, "entropy": answer.entropy}


def _reply(request: ReplyRequest, stored: JsonObject) -> Reply:
    return Reply(
        key=request.key,
        draw=request.draw,
        adapter=request.adapter,
        text=stored["text"],
        n_tokens=stored["n_tokens"],
        finish_reason=stored["finish"],
        tag=request.tag,
        thinking=stored.get("thinking", ""),
    )


def _reply_json(reply: Reply) -> JsonObject:
    told = {"text": reply.text, "n_tokens": reply.n_tokens, "finish": reply.finish_reason}
    return told | ({"thinking": reply.thinking} if reply.thinking else {})
