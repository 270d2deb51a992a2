"""From conversations to windows: every reply with as much history as fits.

Consecutive utterances of one speaker are one turn. In dialogue every turn after the first is a reply, its speaker is
the `assistant` and everyone else the `user`; in chat data the roles are the rows' and the assistant's turns are the
replies. Turns, not windows, own the text: a window is five numbers, so that a corpus of 221,616 windows stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.seeding import derive
from harness.types import SPLITS, Conversation, Split
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.splits import Splits

Integers = NDArray[np.int64]

_USER, _ASSISTANT = 0, 1  # speaker codes of chat data
NO_REPLY = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """The turns of all conversations one after another; index t means the same in every field."""

    texts: Sequence[str]
    names: Sequence[str | None]  # who speaks, for people
    line_ids: Sequence[str]  # id of the first utterance in the turn
    speakers: Integers  # one number per speaker within a conversation
    is_reply: NDArray[np.bool_]  # whether it may stand as a completion
    starts: Integers  # (n_conversations + 1,) first turn of each conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Windows as turn numbers: the history is turns first … last, all of one conversation; the reply follows it."""

    prompt_ids: Sequence[str]
    conversations: Integers  # index into the corpus's conversations
    first: Integers  # oldest turn of the history
    last: Integers  # the turn to answer
    replies: Integers  # the turn that answers, or NO_REPLY
    speakers: Integers  # whose words are the assistant's
    splits: NDArray[np.int8]  # index into SPLITS

    def __len__(self) -> int:
        return len(self.prompt_ids)

    def take(self, indices: Integers) -> Windows:
        """The windows at these places, in this order."""
        return Windows(
            prompt_ids=[self.prompt_ids[i] for i in indices],
            conversations=self.conversations[indices],
            first=self.first[indices],
            last=self.last[indices],
            replies=self.replies[indices],
            speakers=self.speakers[indices],
            splits=self.splits[indices],
        )

    def of(self, split: Split) -> Windows:
        """The windows of one split."""
        return self.take(np.flatnonzero(self.splits == SPLITS.index(split)))

    def with_first(self, first: Integers) -> Windows:
        """The same windows with other beginnings."""
        return replace(self, first=first)


def turns_of(corpus: Corpus) -> Turns:
    """Merge what one speaker says in a row; utterances with empty text are passed over."""
    is_chat = corpus.reply_rule == "assistant_turns"
    joint = "\n" if is_chat else " "
    texts: list[str] = []
    names: list[str | None] = []
    line_ids: list[str] = []
    speakers: list[int] = []
    is_reply: list[bool] = []
    starts = [0]
    for conversation in corpus.conversations:
        codes = {"user": _USER, "assistant": _ASSISTANT} if is_chat else {}
        before = None
        for line in conversation.utterances:
            if not line.text:
                continue
            code = codes.setdefault(line.speaker_id, len(codes))
            if code == before:
                texts[-1] += joint + line.text
                is_reply[-1] = is_reply[-1] and line.id not in corpus.history_only
                continue
            texts.append(line.text)
            names.append(None if line.speaker == line.speaker_id else line.speaker)
            line_ids.append(line.id)
            speakers.append(code)
            is_reply.append((not is_chat or code == _ASSISTANT) and line.id not in corpus.history_only)
            before = code
        starts.append(len(texts))
    return Turns(
        texts=texts,
        names=names,
        line_ids=line_ids,
        speakers=np.array(speakers, dtype=np.int64),
        is_reply=np.array(is_reply, dtype=np.bool_),
        starts=np.array(starts, dtype=np.int64),
    )


def windows_of(corpus: Corpus, turns: Turns, splits: Splits) -> Windows:
    """Every window of the corpus with its whole history, in corpus order.

    A chat that ends with the user's turn gives a window without reply: something to generate from, nothing to learn.

    Raises InputError: two windows would have the same id.
    """
    name = _chat_prompt_ids if corpus.reply_rule == "assistant_turns" else _dialogue_prompt_ids
    prompt_ids: list[str] = []
    rows: list[tuple[int, int, int, int, int, int]] = []
    for number, conversation in enumerate(corpus.conversations):
        start, end = int(turns.starts[number]), int(turns.starts[number + 1])
        replies = [t for t in range(start + 1, end) if turns.is_reply[t]]
        if corpus.reply_rule == "assistant_turns" and end > start and turns.speakers[end - 1] == _USER:
            replies.append(NO_REPLY)
        split = SPLITS.index(splits.assigned[conversation.cluster])
        prompt_ids += name(conversation, turns, replies)
        for reply in replies:
            last = end - 1 if reply == NO_REPLY else reply - 1
            speaker = _ASSISTANT if reply == NO_REPLY else int(turns.speakers[reply])
            rows.append((number, start, last, reply, speaker, split))
    if len(set(prompt_ids)) < len(prompt_ids):
        again = next(p for i, p in enumerate(prompt_ids) if p in set(prompt_ids[:i]))
        raise InputError(f"`id` of every prompt must be its own, got `{again}` twice; rename the rows")
    table = np.array(rows, dtype=np.int64).reshape(-1, 6)
    return Windows(
        prompt_ids=prompt_ids,
        conversations=table[:, 0],
        first=table[:, 1],
        last=table[:, 2],
        replies=table[:, 3],
        speakers=table[:, 4],
        splits=table[:, 5].astype(np.int8),
    )


def limited(windows: Windows, *, most: int, seed: int) -> Windows:
    """At most so many windows of each split, drawn by the seed and the prompt's id alone, in corpus order."""
    keep: list[int] = []
    places = [derive(seed, "limit", prompt_id) for prompt_id in windows.prompt_ids]
    for split in range(len(SPLITS)):
        members = np.flatnonzero(windows.splits == split)
        keep += sorted(members.tolist(), key=places.__getitem__)[:most]
    return windows.take(np.array(sorted(keep), dtype=np.int64))


def _dialogue_prompt_ids(conversation: Conversation, turns: Turns, replies: list[int]) -> list[str]:
    """Film and reply line, e.g. `m0:L195`."""
    film = conversation.id.removesuffix(conversation.utterances[0].id)
    return [film + turns.line_ids[reply] for reply in replies]


def _chat_prompt_ids(conversation: Conversation, turns: Turns, replies: list[int]) -> list[str]:
    """The row's own id where it asks for one reply, so that generations made elsewhere can name it."""
    if len(replies) == 1:
        return [conversation.id]
    return [f"{conversation.id}.open" if reply == NO_REPLY else turns.line_ids[reply] for reply in replies]
