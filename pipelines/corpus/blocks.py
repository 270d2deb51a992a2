"""Windows as token ids under a model's own chat template, each turn tokenised once.

A chat template writes a conversation as fixed pieces around the texts: what stands before the first turn, openings and
closings of turns, what stands before the reply. Control tokens in these pieces keep the tokenizer from merging across
them, so a window is pieces and texts put side by side. Whether that holds for a tokenizer is not assumed: `fit_windows`
compares every kind of seam in the corpus with `harness.models.chat_templates.render`, and where anything differs the
slow exact way (`RenderedWindows`) takes over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.doors.templates import control, write
from harness.errors import InputError
from harness.models.chat_templates import chat_format, chat_messages, neutralise, render, reply_ids
from harness.types import Message, Progress
from pipelines.corpus.turns import NO_REPLY, Integers, Turns, Windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedTokenizerBase

TokenIds = NDArray[np.int32]

TOO_LONG = -1
_CHUNK = 8192
_MAX_CHECKS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowIds:
    """Token ids of windows, one after another."""

    flat: TokenIds
    offsets: Integers  # (n + 1,)
    n_prompt: NDArray[np.int32]  # (n,) tokens before the completion

    def equals(self, other: WindowIds) -> bool:
        """Whether every token and every border is the same."""
        return (
            np.array_equal(self.flat, other.flat)
            and np.array_equal(self.offsets, other.offsets)
            and np.array_equal(self.n_prompt, other.n_prompt)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """The fixed parts of a chat template as token ids."""

    first_user: TokenIds  # all that stands before the text of a first turn: begin token, system message, opening
    first_assistant: TokenIds
    user_open: TokenIds
    user_close: TokenIds
    assistant_open: TokenIds
    assistant_close: TokenIds
    reply_open: TokenIds
    end: TokenIds  # what closes a completion: the end token alone, no line break after it
    is_alternating: bool  # whether they hold only where user and assistant take turns

    @property
    def in_order(self) -> tuple[TokenIds, ...]:
        """As they are numbered inside a window; texts have the numbers after them."""
        opened = (self.first_user, self.first_assistant, self.user_open, self.user_close)
        return (*opened, self.assistant_open, self.assistant_close, self.reply_open, self.end)


class WindowRenderer(Protocol):
    """Turns windows into token ids."""

    kind: str  # "blocks" or "rendered", recorded with the data

    def first_turns(self, turns: Turns, windows: Windows, *, max_tokens: int) -> Integers:
        """The oldest turn of each window with which it still fits; TOO_LONG where the turn to answer does not."""
        ...

    def ids(self, turns: Turns, windows: Windows) -> WindowIds:
        """Token ids of windows that have a reply."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Windows whose history fits, and what makes their token ids."""

    windows: Windows
    renderer: WindowRenderer
    n_too_long: int  # windows left out because the turn to answer and the reply alone are too long


def fit_windows(
    tokenizer: PreTrainedTokenizerBase,
    turns: Turns,
    windows: Windows,
    *,
    system: str | None,
    max_tokens: int,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Fitted:
    """Drop the oldest turns until prompt, reply and end token fit; tokens are those of the model's chat template.

    The fast renderer is taken where it agrees with the chat template on every kind of seam, the exact one elsewhere.

    Raises:
        ConfigError: the tokenizer has no usable chat template.
        InputError: the chat template refuses these chats.
    """
    exact = RenderedWindows(tokenizer, system=system)
    pieces = _cut(tokenizer, system)
    if pieces is not None and not (pieces.is_alternating and _has_neighbours(turns, windows)):
        fast = _tokenised(tokenizer, pieces, turns, windows, on_progress)
        fitted = _fitted(fast, turns, windows, max_tokens)
        sample = _sample(turns, fitted.windows)
        if fast.ids(turns, sample).equals(exact.ids(turns, sample)):
            return fitted
    return _fitted(exact, turns, windows, max_tokens)


def _fitted(renderer: WindowRenderer, turns: Turns, windows: Windows, max_tokens: int) -> Fitted:
    first = renderer.first_turns(turns, windows, max_tokens=max_tokens)
    fitting = np.flatnonzero(first != TOO_LONG)
    return Fitted(
        windows=windows.with_first(first).take(fitting), renderer=renderer, n_too_long=len(windows) - len(fitting)
    )


class BlockWindows:
    """Windows put together from pieces and tokenised texts; no Python loop over tokens."""

    kind = "blocks"

    def __init__(self, pieces: Pieces, contents: TokenIds, offsets: Integers) -> None:
        self._pieces = pieces
        self._lengths = np.diff(offsets)
        fixed = pieces.in_order
        ends = np.cumsum([len(piece) for piece in fixed])
        self._fixed_starts = ends - [len(piece) for piece in fixed]
        self._fixed_lengths = np.array([len(piece) for piece in fixed])
        self._starts = offsets[:-1] + ends[-1]
        self._pool = np.concatenate([*fixed, contents])

    def first_turns(self, turns: Turns, windows: Windows, *, max_tokens: int) -> Integers:
        """The oldest turn of each window with which it still fits; TOO_LONG where the turn to answer does not."""
        pieces = self._pieces
        as_user = (self._lengths + len(pieces.user_open) + len(pieces.user_close)).tolist()
        as_assistant = (self._lengths + len(pieces.assistant_open) + len(pieces.assistant_close)).tolist()
        speakers, lengths = turns.speakers.tolist(), self._lengths.tolist()
        more_as_first = (  # tokens that a user's or an assistant's turn brings more as a first one
            len(pieces.first_user) - len(pieces.user_open),
            len(pieces.first_assistant) - len(pieces.assistant_open),
        )
        found = []
        columns = (windows.first, windows.last, windows.replies, windows.speakers)
        for first, last, reply, speaker in zip(*(column.tolist() for column in columns), strict=True):
            left = max_tokens - len(pieces.reply_open) - (0 if reply == NO_REPLY else lengths[reply] + len(pieces.end))
            oldest = TOO_LONG
            for turn in range(last, first - 1, -1):
                is_own = speakers[turn] == speaker
                left -= as_assistant[turn] if is_own else as_user[turn]
                if left < min(more_as_first):
                    break
                if left >= more_as_first[is_own]:
                    oldest = turn
            found.append(oldest)
        return np.array(found, dtype=np.int64)

    def ids(self, turns: Turns, windows: Windows) -> WindowIds:
        """Token ids of windows that have a reply."""
        n_history = windows.last - windows.first + 1
        n_segments = 3 * n_history + 3  # open, text, close of each turn; open, text, end of the reply
        ends = np.cumsum(n_segments)
        begins = ends - n_segments
        history = ragged_range(windows.first, n_history)
        is_own = turns.speakers[history] == np.repeat(windows.speakers, n_history)
        slots = np.repeat(begins, n_history) + 3 * ragged_range(np.zeros_like(n_history), n_history)
        segments = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.int64)  # numbers of `Pieces.in_order`
        n_fixed = len(self._fixed_lengths)
        segments[slots] = np.where(is_own, 4, 2)
        segments[begins] = turns.speakers[windows.first] == windows.speakers
        segments[slots + 1] = history + n_fixed
        segments[slots + 2] = np.where(is_own, 5, 3)
        segments[ends - 3], segments[ends - 2], segments[ends - 1] = 6, windows.replies + n_fixed, 7
        starts = np.concatenate([self._fixed_starts, self._starts])[segments]
        lengths = np.concatenate([self._fixed_lengths, self._lengths])[segments]
        sums = np.concatenate([[0], np.cumsum(lengths)])
        offsets = np.concatenate([[0], sums[ends]]).astype(np.int64)
        return WindowIds(
            flat=self._pool[ragged_range(starts, lengths)],
            offsets=offsets,
            n_prompt=(sums[ends - 2] - offsets[:-1]).astype(np.int32),
        )


class RenderedWindows:
    """Windows rendered and tokenised one by one: right for every template, a hundred times slower."""

    kind = "rendered"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, system: str | None) -> None:
        self._tokenizer = tokenizer
        self._system = system
        self._end_id = chat_format(tokenizer).end_id

    def first_turns(self, turns: Turns, windows: Windows, *, max_tokens: int) -> Integers:
        """The oldest turn of each window with which it still fits; TOO_LONG where the turn to answer does not."""
        found = []
        for i, (oldest, last) in enumerate(zip(windows.first.tolist(), windows.last.tolist(), strict=True)):
            left = max_tokens - len(self._reply(turns, windows, i))
            fitting = (t for t in range(oldest, last + 1) if len(self._prompt(turns, windows, i, first=t)) <= left)
            found.append(next(fitting, TOO_LONG))
        return np.array(found, dtype=np.int64)

    def ids(self, turns: Turns, windows: Windows) -> WindowIds:
        """Token ids of windows that have a reply."""
        prompts = [self._prompt(turns, windows, i, first=int(first)) for i, first in enumerate(windows.first)]
        rows = [(*prompt, *self._reply(turns, windows, i)) for i, prompt in enumerate(prompts)]
        return WindowIds(
            flat=np.array([token for row in rows for token in row], dtype=np.int32),
            offsets=np.cumsum([0, *map(len, rows)], dtype=np.int64),
            n_prompt=np.array([len(prompt) for prompt in prompts], dtype=np.int32),
        )

    def _reply(self, turns: Turns, windows: Windows, i: int) -> tuple[int, ...]:
        """The reply is tokenised by itself: a model that generates begins it after the prompt's last token, too."""
        reply = windows.replies[i]
        return () if reply == NO_REPLY else (*reply_ids(self._tokenizer, turns.texts[reply]), self._end_id)

    def _prompt(self, turns: Turns, windows: Windows, i: int, *, first: int) -> tuple[int, ...]:
        is_own = turns.speakers[first : windows.last[i] + 1] == windows.speakers[i]
        messages = [
            Message(role="assistant" if own else "user", content=turns.texts[t]) for t, own in enumerate(is_own, first)
        ]
        return render(self._tokenizer, chat_messages(messages, system=self._system))


def ragged_range(starts: Integers, lengths: Integers) -> Integers:
    """`start … start + length − 1` for every pair, one after another; (sum of lengths,)."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def _cut(tokenizer: PreTrainedTokenizerBase, system: str | None) -> Pieces | None:
    """Cut the template into pieces; None where it does not write turns one after another."""
    if chat_format(tokenizer).adaptation.lead:
        return None  # a text is tokenised otherwise as a reply
    head = [] if system is None else [{"role": "system", "content": neutralise(tokenizer, system)}]

    def text(*turns: tuple[str, str], reply_follows: bool = True) -> str:
        chat = [*head, *({"role": role, "content": mark} for role, mark in turns)]
        return write(tokenizer, chat, reply_follows=reply_follows)

    try:
        asked, one = text(_ASK), text(_ASK, reply_follows=False)
        talk, own = text(_ASK, _REPLY, _FOLLOW), text(_REPLY, _FOLLOW)
        twice, again = text(_ASK, _FOLLOW), text(_REPLY, _AGAIN, _FOLLOW)
    except InputError:
        return None
    (first_user, user_close), reply_open = _around(one, _ASK[1]), asked[len(one) :]
    assistant_open = _between(talk, _ASK, _REPLY).removeprefix(user_close)
    turn = _between(talk, _REPLY, _FOLLOW)  # from an assistant's turn to a user's
    user_open = _between(twice, _ASK, _FOLLOW).removeprefix(user_close)
    first_assistant, last = _around(own, _REPLY[1])[0], f"{_FOLLOW[1]}{user_close}{reply_open}"
    assistant_close = turn.removesuffix(user_open)
    follows = f"{_REPLY[1]}{turn}{last}"
    if (asked, talk, own) != (
        f"{one}{reply_open}",
        f"{first_user}{_ASK[1]}{user_close}{assistant_open}{follows}",
        f"{first_assistant}{follows}",
    ):
        return None
    is_alternating = (turn, twice, again) != (
        f"{assistant_close}{user_open}",
        f"{first_user}{_ASK[1]}{user_close}{user_open}{last}",
        f"{first_assistant}{_REPLY[1]}{assistant_close}{assistant_open}{_AGAIN[1]}{turn}{last}",
    )
    if is_alternating:
        assistant_close, user_open = "", turn
    parts = (first_user, first_assistant, user_open, user_close, assistant_open, assistant_close, reply_open)
    ids = [np.array(tokenizer.encode(part, add_special_tokens=False), dtype=np.int32) for part in parts]
    end = np.array([chat_format(tokenizer).end_id], dtype=np.int32)
    named = dict(zip(Pieces.__slots__[:-1], (*ids, end), strict=True))
    return Pieces(**named, is_alternating=is_alternating)


_ASK, _REPLY, _FOLLOW = ("user", "Firstmark"), ("assistant", "Secondmark"), ("user", "Thirdmark")
_AGAIN = ("assistant", "Fourthmark")


def _around(text: str, mark: str) -> tuple[str, str]:
    before, _, after = text.partition(mark)
    return before, after


def _between(text: str, left: tuple[str, str], right: tuple[str, str]) -> str:
    return text.partition(left[1])[2].partition(right[1])[0]


def _has_neighbours(turns: Turns, windows: Windows) -> bool:
    """Whether two turns of one role stand beside each other in some window."""
    n_history = windows.last - windows.first + 1
    is_own = turns.speakers[ragged_range(windows.first, n_history)] == np.repeat(windows.speakers, n_history)
    is_first = np.zeros(len(is_own), dtype=np.bool_)
    is_first[(np.cumsum(n_history) - n_history)[n_history > 0]] = True
    return bool((is_own[1:] == is_own[:-1])[~is_first[1:]].any())


def _tokenised(
    tokenizer: PreTrainedTokenizerBase,
    pieces: Pieces,
    turns: Turns,
    windows: Windows,
    on_progress: Callable[[Progress], None],
) -> BlockWindows:
    """The pieces with token ids of every turn that some window uses; unused turns have none."""
    used = np.zeros(len(turns.texts), dtype=np.bool_)
    used[ragged_range(windows.first, windows.last - windows.first + 1)] = True
    used[windows.replies[windows.replies != NO_REPLY]] = True
    encode = _encoder(tokenizer)
    marks = control(tokenizer)
    lengths = np.zeros(len(turns.texts), dtype=np.int64)
    flat: list[TokenIds] = []
    indices = np.flatnonzero(used)
    for begin in range(0, len(indices), _CHUNK):
        chunk = indices[begin : begin + _CHUNK]
        rows = encode([marks.break_up(turns.texts[t]) for t in chunk])
        lengths[chunk] = [len(row) for row in rows]
        flat.append(np.array([token for row in rows for token in row], dtype=np.int32))
        on_progress(Progress(done=begin + len(chunk), total=len(indices), unit="turns", note="tokenised"))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return BlockWindows(pieces, np.concatenate(flat) if flat else np.zeros(0, dtype=np.int32), offsets)


def _encoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[str]], list[list[int]]]:
    """Texts to ids without the tokenizer's own begin and end; the Rust backend directly where there is one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and hasattr(backend, "encode_batch_fast"):
        return lambda texts: [e.ids for e in backend.encode_batch_fast(texts, add_special_tokens=False)]
    return lambda texts: [tokenizer.encode(text, add_special_tokens=False) for text in texts]


def _sample(turns: Turns, windows: Windows) -> Windows:
    """Windows that show every first and last character of a text at both sides of a seam, and some evenly spread.

    Whether a tokenizer merges across a seam depends on the characters beside it, so these are what can differ.
    """
    with_reply = np.flatnonzero(windows.replies != NO_REPLY)
    as_reply = dict(zip(windows.replies[with_reply].tolist(), with_reply.tolist(), strict=True))
    as_asked = dict(zip(windows.last[with_reply].tolist(), with_reply.tolist(), strict=True))
    chosen = set(with_reply[:: max(1, len(with_reply) // 32)].tolist())
    for places in (as_reply, as_asked):
        edges: dict[tuple[str, str], int] = {}
        for turn, window in places.items():
            text = turns.texts[turn]
            edges.setdefault(("first", text[0]), window)
            edges.setdefault(("last", text[-1]), window)
        chosen.update(edges.values())
    return windows.take(np.array(sorted(chosen)[:_MAX_CHECKS], dtype=np.int64))
