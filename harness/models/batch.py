"""A batch in flight: prompts are encoded into it, every step gives each row its next token, finished rows leave it.

Rows need have nothing in common but the base: each brings its adapter, its decoding and its own chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.models.adapters import AdapterBank
from harness.models.cache_rows import Rows, join, select, shared_cache
from harness.models.graphs import Stay
from harness.models.sampling import chance, is_greedy, pick
from harness.types import Decoding, FinishReason

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import DynamicCache

_ENCODED_AT_ONCE = 8192  # prompt tokens of a forward pass
_TOLD_AT_ONCE = 256  # prompt tokens of a pass that keeps the logits of them all: 50 MB with 49,152 words
_WORTH_SHARING = 8  # tokens: a shorter common beginning is not encoded apart


def _never(tokens: Sequence[int]) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One reply to be generated."""

    index: int  # of the request
    key: str
    draw: int
    adapter: str | None
    ids: tuple[int, ...]  # the rendered prompt
    decoding: Decoding
    is_stopped: Callable[[Sequence[int]], bool] = _never  # whether a stop string has just been completed
    stream: str = ""  # only jobs of one stream may share a batch
    n_top: int | None = None  # record log-probabilities, and those of this many likeliest tokens; None records nothing
    n_prompt_top: int | None = None  # the same of the prompt's own tokens, from the second on
    tag: str = ""  # the request's

    @property
    def n_columns(self) -> int:
        """Columns of the cache that it may come to need."""
        return len(self.ids) + self.decoding.max_new_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """How likely one token was, under the model's own distribution: before temperature and nucleus; nats."""

    logprob: float
    top: tuple[tuple[int, float], ...]  # the likeliest tokens and their log-probabilities, best first


@dataclass(slots=True, kw_only=True, eq=False)
class Line:
    """A job in flight: the tokens it has so far. Two lines are never equal: the same may be asked twice at once."""

    job: Job
    tokens: list[int] = field(default_factory=list)
    likelihoods: list[Likelihood] = field(default_factory=list)  # one per token where the job asks for them
    prompt: list[Likelihood] = field(default_factory=list)  # of the prompt's tokens, where the job asks for them
    finish: FinishReason | None = None  # None while it runs

    @property
    def is_told(self) -> bool:
        """Whether its prompt is encoded for the likelihoods of its tokens."""
        return self.job.n_prompt_top is not None and not self.tokens

    @property
    def ids(self) -> tuple[int, ...]:
        """Prompt and tokens: what encodes it, afresh or again after its cache was lost."""
        return (*self.job.ids, *self.tokens)


OnToken = Callable[[Line], None]


class Batch:
    """The rows of one stream, and what the model remembers of them."""

    def __init__(
        self,
        bank: AdapterBank,
        *,
        end_ids: frozenset[int],
        pad_id: int,
        can_replay: bool,
        on_token: OnToken,
    ) -> None:
        """`on_token` gets a line after each of its tokens.

        `can_replay` says whether steps may be captured and replayed (see `graphs`).
        """
        self.lines: list[Line] = []
        self._rows: Rows | None = None
        self._stay: Stay | None = None  # in the place of `_rows`, while steps are replayed
        self._bank = bank
        self._end_ids = end_ids
        self._pad_id = pad_id
        self.can_join = bank.is_plain  # whether caches can be put together, so that lines may enter while others run
        self._can_replay = can_replay
        self._on_token = on_token
        self._prefixes: dict[str | None, DynamicCache | None] = {}  # of one row each

    @property
    def running(self) -> list[Line]:
        """The lines that are not finished."""
        return [line for line in self.lines if line.finish is None]

    def share_prefixes(self, jobs: Sequence[Job]) -> None:
        """Encode what all prompts of an adapter begin with, once; every later line must begin so."""
        self._prefixes = {name: self._encode_prefix(name, jobs) for name in {job.adapter for job in jobs}}

    def admit(self, fresh: Sequence[Line]) -> None:
        """Drop finished rows, encode new lines and draw the first token of each.

        Lines that have tokens already are encoded with them and go on where they were.
        """
        kept = self._kept()
        parts, lines = [] if kept is None else [kept], self.lines
        # Whatever happens while encoding, every line stands here: `clear` gives them all back.
        self.lines = [*lines, *fresh]
        for name in dict.fromkeys(line.job.adapter for line in fresh):
            own = [line for line in fresh if line.job.adapter == name]
            told = [[line] for line in own if line.is_told]
            for started in (*self._portions([line for line in own if not line.is_told]), *told):
                is_told = started[0].is_told
                part, logits = self._encode_told(started[0], name) if is_told else self._encode(started, name)
                self._take(started, logits)
                lines += started
                parts.append(part)
        self.lines, self._rows = lines, join(parts)

    def compact(self) -> None:
        """Drop finished rows; it copies the cache."""
        self._rows = self._kept()

    def _kept(self) -> Rows | None:
        """Keep the lines that run; gives their rows, which are nobody's now."""
        self._leave()
        kept = [i for i, line in enumerate(self.lines) if line.finish is None]
        rows = None if self._rows is None or not kept else select(self._rows, kept, trim=self.can_join)
        self.lines, self._rows = [self.lines[i] for i in kept], None
        return rows

    def step(self) -> None:
        """Feed every row its last token and draw the next; finished rows ride along unread."""
        if self._stay is not None and not (self._bank.graphs.resident is self._stay and self._stay.has_room):
            self.compact()
        if self._stay is None and self._rows is not None and self._can_replay:
            self._enter(self._rows)
        if self._stay is None and self._rows is None:
            return
        lines = self.lines
        last = [line.tokens[-1] for line in lines]
        at = [len(line.job.ids) + len(line.tokens) - 1 for line in lines]
        if self._stay is not None:
            self._take(lines, self._stay.next_logits(last, at))
        elif self._rows is not None:
            self._take(lines, self._plain_logits(self._rows, last, at))
        if not self.running:
            self._rows = self._stay = None

    def _plain_logits(self, rows: Rows, last: list[int], at: list[int]) -> Tensor:
        import torch

        mask = torch.cat([rows.mask, rows.mask.new_ones(len(last), 1)], dim=1)
        ids, positions = torch.tensor([last, at], device=self._bank.device)[..., None]
        output = self._bank.forward(
            [line.job.adapter for line in self.lines],
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=rows.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._rows = Rows(cache=rows.cache, mask=mask)
        logits: Tensor = output.logits[:, -1]
        return logits

    def _enter(self, rows: Rows) -> None:
        """Replay from here on, where it can be done and enough steps are to come."""
        n_left = max((line.job.decoding.max_new_tokens - len(line.tokens) for line in self.running), default=0)
        adapters = [line.job.adapter for line in self.lines]
        self._stay = self._bank.graphs.enter(rows, adapters, n_left=n_left, forward=self._bank.forward)
        if self._stay is not None:
            self._rows = None

    def _leave(self) -> None:
        """Take the rows out of the buffers; they must be copied before anyone enters again."""
        if self._stay is not None:
            self._rows, self._stay = self._stay.rows(), None

    def clear(self) -> list[Line]:
        """Forget every row and give back the lines that are not finished, in their order."""
        unfinished = self.running
        self.lines, self._rows, self._stay = [], None, None
        self._bank.graphs.drop()
        return unfinished

    def _portions(self, lines: Sequence[Line]) -> list[Sequence[Line]]:
        """Lines to be encoded together: so many that the activations of long prompts stay small."""
        if not self.can_join or not lines:
            return [lines] if lines else []
        n_rows = max(1, _ENCODED_AT_ONCE // max(len(line.ids) for line in lines))
        return [lines[start : start + n_rows] for start in range(0, len(lines), n_rows)]

    def _encode(self, lines: Sequence[Line], name: str | None) -> tuple[Rows, Tensor]:
        """Prefill: the batch's cache, and the logits after each prompt, [rows, vocabulary].

        Equal prompts (several draws) are encoded once.
        """
        import torch

        prefix = self._prefixes.get(name)
        n_prefix = 0 if prefix is None else prefix.get_seq_length()
        distinct = list(dict.fromkeys(line.ids for line in lines))
        rests = [ids[n_prefix:] for ids in distinct]
        width = max(map(len, rests))
        ids = torch.tensor([[self._pad_id] * (width - len(r)) + list(r) for r in rests], device=self._bank.device)
        own = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rests], device=self._bank.device)
        mask = torch.cat([own.new_ones(len(rests), n_prefix), own], dim=1)
        cache = shared_cache(self._bank.config, prefix, len(rests))
        output = self._bank.forward(
            [name] * len(rests),
            input_ids=ids,
            attention_mask=mask,
            position_ids=(own.cumsum(dim=1) - 1).clamp(min=0) + n_prefix,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        rows, logits = Rows(cache=cache, mask=mask), output.logits[:, -1]
        if len(distinct) < len(lines):
            place = {ids: i for i, ids in enumerate(distinct)}
            order = [place[line.ids] for line in lines]
            return select(rows, order, trim=False), logits[order]
        return rows, logits

    def _encode_told(self, line: Line, name: str | None) -> tuple[Rows, Tensor]:
        """Prefill of one prompt that also tells how likely its own tokens are: in parts, for all logits are many."""
        import torch

        ids, cache = line.ids, shared_cache(self._bank.config, None, 1)
        mask = torch.ones(1, len(ids), dtype=torch.long, device=self._bank.device)
        line.prompt.clear()
        for start in range(0, len(ids), _TOLD_AT_ONCE):
            part = ids[start : start + _TOLD_AT_ONCE]
            stop = start + len(part)
            output = self._bank.forward(
                [name],
                input_ids=torch.tensor([part], device=self._bank.device),
                attention_mask=mask[:, :stop],
                position_ids=torch.arange(start, stop, device=self._bank.device)[None],
                past_key_values=cache,
                use_cache=True,
            )
            follow = ids[start + 1 : stop + 1]
            if not follow:  # the last token alone in its part
                continue
            line.prompt += _likelihoods(
                output.logits[0, : len(follow)], follow, [line.job.n_prompt_top or 0] * len(follow)
            )
        return Rows(cache=cache, mask=mask), output.logits[:, -1]

    def _take(self, lines: Sequence[Line], logits: Tensor) -> None:
        """Append a drawn token to every running line and finish those that ended."""
        tokens = draw(lines, logits)
        _record_likelihoods(lines, logits, tokens)
        for line, token in zip(lines, tokens, strict=True):
            if line.finish is not None:
                continue
            line.tokens.append(token)
            if token in self._end_ids or line.job.is_stopped(line.tokens):
                line.finish = "stop"
            elif len(line.tokens) >= line.job.decoding.max_new_tokens:
                line.finish = "length"
            self._on_token(line)

    def _encode_prefix(self, name: str | None, jobs: Sequence[Job]) -> DynamicCache | None:
        import torch

        prompts = {job.ids for job in jobs if job.adapter == name}
        n_shared = common_length(min(prompts), max(prompts))
        n_shared = min(n_shared, min(map(len, prompts)) - 1)
        if len(prompts) < 2 or n_shared < _WORTH_SHARING:
            return None
        cache = shared_cache(self._bank.config, None, 1)
        ids = torch.tensor([min(prompts)[:n_shared]], device=self._bank.device)
        self._bank.forward([name], input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache


def draw(lines: Sequence[Line], logits: Tensor) -> list[int]:
    """The next token of every line, each with its own chance; lines of equal settings are drawn together."""
    import torch

    groups: dict[tuple[float, float], list[int]] = {}
    for row, line in enumerate(lines):
        groups.setdefault((line.job.decoding.temperature, line.job.decoding.top_p), []).append(row)
    tokens = [0] * len(lines)
    for (temperature, top_p), rows in groups.items():
        chosen = logits if len(groups) == 1 else logits[rows]
        chances = [0 if is_greedy(temperature) else _chance(lines[row]) for row in rows]
        drawn = pick(chosen, torch.tensor(chances, device=chosen.device), temperature=temperature, top_p=top_p)
        for row, token in zip(rows, drawn.tolist(), strict=True):
            tokens[row] = token
    return tokens


def _chance(line: Line) -> int:
    return chance(line.job.decoding, line.job.key, line.job.draw, len(line.tokens))


def _record_likelihoods(lines: Sequence[Line], logits: Tensor, tokens: Sequence[int]) -> None:
    rows = [i for i, line in enumerate(lines) if line.finish is None and line.job.n_top is not None]
    if not rows:
        return
    found = _likelihoods(logits[rows], [tokens[row] for row in rows], [lines[row].job.n_top or 0 for row in rows])
    for row, likelihood in zip(rows, found, strict=True):
        lines[row].likelihoods.append(likelihood)


def _likelihoods(logits: Tensor, tokens: Sequence[int], n_top: Sequence[int]) -> list[Likelihood]:
    """How likely each token is after its row of logits, [rows, vocabulary], with the likeliest `n_top` there."""
    import torch

    logprobs = logits.float().log_softmax(dim=-1)
    found = logprobs.gather(-1, torch.tensor([[token] for token in tokens], device=logits.device)).flatten().tolist()
    best, ids = (top.tolist() for top in logprobs.topk(min(max(n_top), logprobs.shape[-1]), dim=-1))
    return [
        Likelihood(logprob=value, top=tuple(zip(ids[row][:n], best[row][:n], strict=True)))
        for row, (value, n) in enumerate(zip(found, n_top, strict=True))
    ]


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common beginning of two sequences."""
    n = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        n += 1
    return n
