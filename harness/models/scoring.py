"""Exact log-probabilities of given tokens, many sequences to a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.models.adapters import AdapterBank
from harness.models.rows import shared_cache
from harness.models.tree import Pack, build_groups, build_packs, pack_limit, visibility

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which log-probabilities to read where: after `ids[: first + k]`, those of the tokens `wanted[k]`."""

    ids: tuple[int, ...]
    first: int  # at least 1: nothing is predicted before the first token
    wanted: tuple[tuple[int, ...], ...]


Answer = list[list[float]]  # per position, the log-probability of each wanted token, nats
OnDone = Callable[[int], None]  # gets the number of tokens just read


def continuation_question(context: tuple[int, ...], reply: tuple[int, ...], end_id: int) -> Question:
    """Every token of a reply and then the end token, given a context."""
    return Question(ids=context + reply, first=len(context), wanted=tuple((t,) for t in (*reply, end_id)))


class Scorer:
    """Answers questions about one model."""

    def __init__(self, bank: AdapterBank, config: Any, *, device: str, pad_id: int, limit: int) -> None:
        self._bank = bank
        self._config = config
        self._device = device
        self._pad_id = pad_id
        self._limit = limit

    def packed(self, questions: Sequence[Question], adapter: str | None, on_done: OnDone) -> list[Answer]:
        """Answers through trees (see `tree`): for models whose attention takes a free mask."""

        answers: list[Answer] = [[] for _ in questions]
        if not questions:
            return answers
        n_before = [q.first - 1 for q in questions]
        for group in build_groups([q.ids for q in questions], n_before=n_before, limit=self._limit):
            chosen = [questions[i] for i in group.indices]
            found = self._answer_group(chosen, group.n_prefix, adapter, on_done)
            for i, answer in zip(group.indices, found, strict=True):
                answers[i] = answer
        return answers

    def _answer_group(
        self, questions: Sequence[Question], n_prefix: int, adapter: str | None, on_done: OnDone
    ) -> list[Answer]:
        """Encode the prefix of a group once, then its packs on top of it."""
        import torch

        prefix = None
        if n_prefix:
            prefix = shared_cache(self._config, None, 1)
            ids = torch.tensor([questions[0].ids[:n_prefix]], device=self._device)
            self._bank.forward([adapter], input_ids=ids, past_key_values=prefix, use_cache=True, logits_to_keep=1)
        answers: list[Answer] = [[] for _ in questions]
        for pack in build_packs([q.ids[n_prefix:] for q in questions], limit=pack_limit(self._limit, n_prefix)):
            self._answer_pack(pack, questions, n_prefix, prefix, adapter, answers)
            on_done(sum(len(questions[b.index].ids) for b in pack.branches))
        return answers

    def padded(self, questions: Sequence[Question], adapter: str | None, on_done: OnDone) -> list[Answer]:
        """Answers through plain batches, padded on the right: for every other model, and to check `packed` against."""
        import torch

        answers: list[Answer] = [[] for _ in questions]
        for chosen in self._batches(questions):
            batch = [questions[i].ids for i in chosen]
            width = max(map(len, batch))
            ids = torch.tensor([list(b) + [self._pad_id] * (width - len(b)) for b in batch], device=self._device)
            mask = torch.tensor([[1] * len(b) + [0] * (width - len(b)) for b in batch], device=self._device)
            logits = self._bank.forward(
                [adapter] * len(batch), input_ids=ids, attention_mask=mask, use_cache=False
            ).logits
            for row, i in enumerate(chosen):
                question = questions[i]
                stop = question.first - 1 + len(question.wanted)
                answers[i] = _read(logits[row, question.first - 1 : stop], question.wanted)
            on_done(sum(map(len, batch)))
        return answers

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
        self,
        pack: Pack,
        questions: Sequence[Question],
        n_prefix: int,
        prefix: Any,
        adapter: str | None,
        answers: list[Answer],
    ) -> None:
        """One forward pass; only positions that are asked about go through the language-model head."""
        import torch

        asked: dict[int, int] = {}  # node -> row of the logits
        for branch in pack.branches:
            for node in _asked_nodes(branch.path, questions[branch.index], n_prefix):
                asked.setdefault(node, len(asked))
        output = self._bank.forward(
            [adapter],
            input_ids=torch.tensor([pack.tokens], device=self._device),
            attention_mask=visibility(pack, n_prefix=n_prefix, device=self._device),
            position_ids=torch.tensor([pack.depths], device=self._device) + n_prefix,
            past_key_values=None if prefix is None else shared_cache(self._config, prefix, 1),
            use_cache=prefix is not None,
            logits_to_keep=torch.tensor(list(asked), device=self._device),
        )
        for branch in pack.branches:
            question = questions[branch.index]
            rows = [asked[node] for node in _asked_nodes(branch.path, question, n_prefix)]
            answers[branch.index] = _read(output.logits[0, rows], question.wanted)


def _asked_nodes(path: Sequence[int], question: Question, n_prefix: int) -> Sequence[int]:
    start = question.first - 1 - n_prefix
    return path[start : start + len(question.wanted)]


def _read(logits: Tensor, wanted: Sequence[Sequence[int]]) -> Answer:
    """Log-probabilities of the wanted tokens; `logits` is [positions, vocabulary]."""
    import torch

    logits = logits.float()
    totals = logits.logsumexp(dim=-1, keepdim=True)
    ids = torch.tensor([list(w) for w in wanted], device=logits.device)
    answer: Answer = (logits.gather(-1, ids) - totals).double().tolist()
    return answer
