"""Cached model: any `LanguageModel` behind the answer cache; what it has answered is not asked again.

So a judge that is killed goes on, and one that is asked again reads. The key of an answer is the digest of all that
decides it: the model's identity, chat, and what was asked about it. The machine is left out, as it is of a judge's id;
so is batch composition, which moves an answer by its rounding alone. Equal questions are asked once. Errors are never
kept.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, get_args

from harness.composing import compose
from harness.models.cache import AnswerCache
from harness.models.local import LocalModel
from harness.models.protocol import (
    Capability,
    Continuation,
    ContinuationRequest,
    LanguageModel,
    OnProgress,
    OnReply,
    OptionProbabilities,
    OptionRequest,
    Reply,
    ReplyRequest,
)
from harness.store.artifacts import digest_bytes
from harness.types import BaseModel, Decoding, JsonObject

REVISION = 1  # raise when a change of how models are asked changes their answers
_COMMIT_S = 2.0  # of work that a kill may cost, besides the forward pass that is under way

OnRecall = Callable[[int, int], None]  # gets how many different questions of one call were known, and how many it has
_Request = TypeVar("_Request", ContinuationRequest, OptionRequest)
_Answer = TypeVar("_Answer", Continuation, OptionProbabilities)


class CachedModel:
    """A model that is loaded, or asked, only for what the cache does not know; implements `LanguageModel`."""

    supports: frozenset[Capability] = frozenset(get_args(Capability))

    def __init__(
        self,
        load: Callable[[], LanguageModel],
        *,
        identity: Sequence[Any],
        cache: AnswerCache,
        base: BaseModel | None = None,
        on_recall: OnRecall | None = None,
    ) -> None:
        """Put a cache before a model.

        Args:
            load: gives the model; called whenever there is something to ask, so it should keep it.
            identity: JSON that tells it from every model that may answer otherwise, as weights and precision, or
                server and name; a number more asks everything anew.
            on_recall: is told before anything is computed how much of a call is known.
        """
        self.base = base
        self._load = load
        self._cache = cache
        self._identity = [REVISION, *identity]
        self._on_recall = on_recall

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
        places = defaultdict(list)
        for at, key in enumerate(keys):
            places[key].append(at)
        replies: dict[int, Reply] = {}

        def finish(reply: Reply) -> None:
            for at in places[reply.tag]:
                replies[at] = replace(reply, tag=requests[at].tag)
                if on_reply is not None:
                    on_reply(replies[at])

        for key, stored in self._recall(keys).items():
            finish(_reply(replace(requests[places[key][0]], tag=key), stored))
        fresh = [replace(requests[some[0]], tag=key) for key, some in places.items() if some[0] not in replies]
        if fresh:
            with self._keeping() as keep:

                def hear(reply: Reply) -> None:
                    keep({} if reply.error else {reply.tag: _reply_json(reply)})
                    finish(reply)

                self._load().generate(fresh, decoding=decoding, on_reply=hear, on_progress=on_progress)
        return [replies[at] for at in range(len(requests))]

    def continuation_logprobs(
        self, requests: Sequence[ContinuationRequest], *, on_progress: OnProgress | None = None
    ) -> list[Continuation]:
        """As in `LanguageModel`."""
        return self._answer(
            requests,
            [self._key("continuation", r.messages, r.adapter, [r.reply]) for r in requests],
            lambda model: model.continuation_logprobs,
            on_progress,
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
            lambda model: model.option_probabilities,
            on_progress,
            read=_options,
            write=_options_json,
        )

    def _answer(
        self,
        requests: Sequence[_Request],
        keys: Sequence[str],
        method: Callable[[LanguageModel], Callable[..., list[_Answer]]],
        on_progress: OnProgress | None,
        *,
        read: Callable[[_Request, JsonObject], _Answer],
        write: Callable[[_Answer], JsonObject],
    ) -> list[_Answer]:
        """What is known from the cache, the rest from the model, kept pass by pass where it hands out passes."""
        answers = self._recall(keys)
        different = dict(zip(keys, requests, strict=True))
        names = list(different)
        fresh = [at for at, key in enumerate(names) if key not in answers]
        if fresh:
            with self._keeping() as keep:

                def hear(found: Mapping[int, _Answer]) -> None:
                    written = {names[at]: write(answer) for at, answer in found.items()}
                    answers.update(written)
                    keep({key: answer for key, answer in written.items() if _is_sound(answer)})

                model = self._load()
                if isinstance(model, LocalModel):
                    known = frozenset(range(len(names))).difference(fresh)
                    method(model)(list(different.values()), on_progress=on_progress, known=known, on_answers=hear)
                else:
                    asked = [different[names[at]] for at in fresh]
                    hear(dict(zip(fresh, method(model)(asked, on_progress=on_progress), strict=True)))
        return [read(request, answers[key]) for key, request in zip(keys, requests, strict=True)]

    def _recall(self, keys: Sequence[str]) -> dict[str, JsonObject]:
        known = self._cache.read(keys)
        if self._on_recall is not None:
            self._on_recall(len(known), len(set(keys)))
        return known

    def _key(self, kind: str, messages: Sequence[Mapping[str, str]], adapter: str | None, asked: list[Any]) -> str:
        chat = [dict(message) for message in messages]
        decides = [*self._identity, kind, chat, adapter, asked]
        return digest_bytes(json.dumps(decides, sort_keys=True, allow_nan=False).encode())

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[Callable[[Mapping[str, JsonObject]], None]]:
        """Writes answers together, whole passes at a time, so that keeping them costs next to nothing."""
        waiting: dict[str, JsonObject] = {}
        committed = time.monotonic()

        def keep(answers: Mapping[str, JsonObject], *, at_once: bool = False) -> None:
            nonlocal committed
            waiting.update(answers)
            if waiting and (at_once or time.monotonic() - committed >= _COMMIT_S):
                self._cache.write(waiting)
                waiting.clear()
                committed = time.monotonic()

        try:
            yield keep
        finally:
            keep({}, at_once=True)


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
    told = {"text": stored["text"], "n_tokens": stored["n_tokens"], "thinking": stored.get("thinking", "")}
    return compose(Reply, request, finish_reason=stored["finish"], **told)


def _reply_json(reply: Reply) -> JsonObject:
    told = {"text": reply.text, "n_tokens": reply.n_tokens, "finish": reply.finish_reason}
    return told | ({"thinking": reply.thinking} if reply.thinking else {})
