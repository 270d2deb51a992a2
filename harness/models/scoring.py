"""Exact log-probabilities of given tokens, many sequences to a forward pass."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.models.adapters import AdapterBank
from harness.models.cache_rows import shared_cache
from harness.models.protocol import Continuation, ContinuationRequest, OptionProbabilities, OptionRequest
from harness.models.tree import Group, Pack, additive, build_groups, build_packs, pack_limit, visibility

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which log-probabilities to read where: after `ids[: first + k]`, those of the tokens `wanted[k]`."""

    ids: tuple[int, ...]
    first: int  # at least 1: nothing is predicted before the first token
    wanted: tuple[tuple[int, ...], ...]


Answer = list[list[float]]  # per position, the log-probability of each wanted token, nats
Answers = Mapping[int, Answer]  # of one forward pass, by place of the question


def continuation_question(context: tuple[int, ...], reply: tuple[int, ...], end_id: int) -> Question:
    """Every token of a reply and then the end token, given a context."""
    return Question(ids=context + reply, first=len(context), wanted=tuple((t,) for t in (*reply, end_id)))


def read_continuation(request: ContinuationRequest, answer: Answer) -> Continuation:
    """The answer to a `continuation_question`."""
    return Continuation(key=request.key, logprobs=tuple(step[0] for step in answer[:-1]), end_logprob=answer[-1][0])


def read_options(request: OptionRequest, answer: Answer) -> OptionProbabilities:
    """The answer to a question about one position, renormalised over the options in double precision."""
    (logprobs,) = answer
    highest = max(logprobs)
    weights = [math.exp(value - highest) for value in logprobs]
    total = math.fsum(weights)
    probabilities = tuple(weight / total for weight in weights)
    return OptionProbabilities(
        key=request.key,
        options=request.options,
        probabilities=probabilities,
        mass=min(1.0, total * math.exp(highest)),
        entropy=-math.fsum(p * math.log(p) for p in probabilities if p > 0),
    )


class Scorer:
    """Answers questions about one model, a forward pass at a time.

    How questions share passes is decided by all of them, also by those whose answers are `known` and are not computed
    again. So a call that goes on after a kill, where whole passes are known, makes the passes that are left as they
    would have been: rounding depends on the company, and this way it is the same to the last bit.
    """

    def __init__(self, bank: AdapterBank, *, pad_id: int, limit: int) -> None:
        """`limit` is of the nodes of a pass."""
        self._bank = bank
        self._pad_id = pad_id
        self._limit = limit

    def packed(
        self, questions: Sequence[Question], adapter: str | None, known: Collection[int] = ()
    ) -> Iterator[Answers]:
        """Answers through trees (see `tree`): for models whose attention takes a free mask."""
        if not questions:
            return
        n_before = [q.first - 1 for q in questions]
        for group in build_groups([q.ids for q in questions], n_before=n_before, limit=self._limit):
            if not all(i in known for i in group.indices):
                yield from self._answer_group(questions, group, adapter, known)

    def _answer_group(
        self, questions: Sequence[Question], group: Group, adapter: str | None, known: Collection[int]
    ) -> Iterator[Answers]:
        """Encode the prefix of a group once, then its packs on top of it."""
        import torch

        prefix, n_prefix = None, group.n_prefix
        if n_prefix:
            prefix = shared_cache(self._bank.config, None, 1)
            ids = torch.tensor([questions[group.indices[0]].ids[:n_prefix]], device=self._bank.device)
            self._bank.forward([adapter], input_ids=ids, past_key_values=prefix, use_cache=True, logits_to_keep=1)
        for indices in self._packs(questions, group.indices, n_prefix):
            left = [i for i in indices if i not in known]
            limit = pack_limit(self._limit, n_prefix)
            for pack in build_packs([questions[i].ids[n_prefix:] for i in left], limit=limit):
                chosen = [left[branch.index] for branch in pack.branches]
                answers = self._answer_pack(pack, [questions[i] for i in chosen], n_prefix, prefix, adapter)
                yield dict(zip(chosen, answers, strict=True))

    def _packs(self, questions: Sequence[Question], indices: Sequence[int], n_prefix: int) -> list[list[int]]:
        """Which questions of a group share a pack."""
        limit = pack_limit(self._limit, n_prefix)
        packs = build_packs([questions[i].ids[n_prefix:] for i in indices], limit=limit)
        return [[indices[branch.index] for branch in pack.branches] for pack in packs]

    def padded(
        self, questions: Sequence[Question], adapter: str | None, known: Collection[int] = ()
    ) -> Iterator[Answers]:
        """Answers through plain batches, padded on the right: for every other model, and to check `packed` against."""
        import torch

        for batch in self._batches(questions):
            chosen = [i for i in batch if i not in known]
            if not chosen:
                continue
            rows = [questions[i].ids for i in chosen]
            width = max(map(len, rows))
            ids = torch.tensor([list(r) + [self._pad_id] * (width - len(r)) for r in rows], device=self._bank.device)
            mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows], device=self._bank.device)
            logits = self._bank.forward(
                [adapter] * len(rows), input_ids=ids, attention_mask=mask, use_cache=False
            ).logits
            yield {i: _read_question(logits[row], questions[i]) for row, i in enumerate(chosen)}

    def _batches(self, questions: Sequence[Question]) -> list[list[int]]:
        """Questions of similar length, as many to a batch as the limit of nodes allows once padded."""
        batches: list[list[int]] = []
        for i in sorted(range(len(questions)), key=lambda i: len(questions[i].ids)):
            if batches and (len(batches[-1]) + 1) * len(questions[i].ids) <= self._limit:
                batches[-1].append(i)
            else:
                batches.append([i])
        return batches

    def _answer_pack(
        self, pack: Pack, questions: Sequence[Question], n_prefix: int, prefix: Any, adapter: str | None
    ) -> list[Answer]:
        """One forward pass over the questions of a pack, in its order; only positions that are asked about go through
        the language-model head."""
        import torch

        asked: dict[int, int] = {}  # node -> row of the logits
        nodes = [_asked_nodes(b.path, question, n_prefix) for b, question in zip(pack.branches, questions, strict=True)]
        for path in nodes:
            for node in path:
                asked.setdefault(node, len(asked))
        output = self._bank.forward(
            [adapter],
            input_ids=torch.tensor([pack.tokens], device=self._bank.device),
            attention_mask=additive(visibility(pack, n_prefix=n_prefix, device=self._bank.device), self._bank.dtype),
            position_ids=torch.tensor([pack.depths], device=self._bank.device) + n_prefix,
            past_key_values=None if prefix is None else shared_cache(self._bank.config, prefix, 1),
            use_cache=prefix is not None,
            logits_to_keep=torch.tensor(list(asked), device=self._bank.device),
        )
        return [
            _read(output.logits[0, [asked[node] for node in path]], question.wanted)
            for path, question in zip(nodes, questions, strict=True)
        ]


def _asked_nodes(path: Sequence[int], question: Question, n_prefix: int) -> Sequence[int]:
    start = question.first - 1 - n_prefix
    return path[start : start + len(question.wanted)]


def _read_question(logits: Tensor, question: Question) -> Answer:
    """From the logits of every position of a sequence."""
    stop = question.first - 1 + len(question.wanted)
    return _read(logits[question.first - 1 : stop], question.wanted)


def _read(logits: Tensor, wanted: Sequence[Sequence[int]]) -> Answer:
    """Log-probabilities of the wanted tokens; `logits` is [positions, vocabulary]."""
    import torch

    logits = logits.float()
    totals = logits.logsumexp(dim=-1, keepdim=True)
    ids = torch.tensor([list(w) for w in wanted], device=logits.device)
    answer: Answer = (logits.gather(-1, ids) - totals).double().tolist()
    return answer
