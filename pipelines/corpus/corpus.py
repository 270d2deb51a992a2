"""What every reader returns: conversations in canonical order, their digest, and a count of all that was not plain."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.errors import CorpusError, InputError
from harness.store.prepared import ClusterUnit
from harness.types import Conversation, Split
from pipelines.corpus.containers import FileSet

ReplyRule = Literal["every_turn", "assistant_turns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """What a corpus says about one film."""

    id: str
    title: str
    year: int | None  # first release; None where it is not known
    genres: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A corpus in memory. Two copies with the same content have the same digest, whatever holds them."""

    name: str
    source: str  # its format, or `sample`
    conversations: tuple[Conversation, ...]  # by cluster, then by first line, numbers compared as numbers
    digest: str  # sha256 of the content: no path, container, encoding or line order enters
    cluster_unit: ClusterUnit  # what `Conversation.cluster` names; "row": every conversation stands alone
    reply_rule: ReplyRule = "every_turn"  # dialogue: every turn after the first; chat data: the assistant's turns
    system: str | None = None  # the one system message that all rows share
    films: Mapping[str, Film] = field(default_factory=dict)
    explicit_splits: Mapping[str, Split] = field(default_factory=dict)  # by cluster, where the rows say so
    history_only: frozenset[str] = frozenset()  # ids of assistant utterances that belong to a row's prompt
    given_unit: ClusterUnit | None = None  # what clusters named where conversations are resampled in their place
    repaired: Mapping[str, int] = field(default_factory=dict)  # reason -> how often something was put right
    skipped: Mapping[str, int] = field(default_factory=dict)  # reason -> how often something was left out (lenient)
    seen: Mapping[str, int] = field(default_factory=dict)  # oddity -> how often it was met and left alone

    @property
    def clusters(self) -> tuple[str, ...]:
        """Ids of the clusters, each once, in corpus order."""
        return tuple(dict.fromkeys(conversation.cluster for conversation in self.conversations))

    @property
    def n_utterances(self) -> int:
        """Lines in all conversations, empty ones included."""
        return sum(len(conversation.utterances) for conversation in self.conversations)


class Unusable(Exception):
    """Why a part of a corpus cannot be used: a kind for the counts, a message for the reader."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class Tally:
    """Counts what a reader repaired, saw and skipped; when not lenient, a skip is an error instead."""

    def __init__(self, *, lenient: bool) -> None:
        self.lenient = lenient
        self._counts = {kind: Counter[str]() for kind in ("repaired", "skipped", "seen")}

    def repair(self, reason: str, n: int = 1) -> None:
        """Something was put right without losing content."""
        self._counts["repaired"][reason] += n

    def see(self, oddity: str, n: int = 1) -> None:
        """Something odd was met and left as it is."""
        self._counts["seen"][oddity] += n

    def skip(self, reason: str, file: str, message: str, *, line: int | None = None) -> None:
        """Leave something out. Raises CorpusError: naming file, line and reason, unless reading is lenient."""
        if not self.lenient:
            raise CorpusError(file, message, line=line)
        self._counts["skipped"][reason] += 1

    @contextlib.contextmanager
    def skipping(self, file: str, line: int, *, unreadable: str = "") -> Iterator[None]:
        """Leave out, as `skip` does, what turns out `Unusable`; an id that is none is of the kind `unreadable`."""
        try:
            yield
        except Unusable as err:
            self.skip(err.kind, file, str(err), line=line)
        except InputError as err:
            self.skip(unreadable, file, str(err), line=line)

    def corpus(self, conversations: tuple[Conversation, ...], *, extras: Iterable[str] = (), **about: Any) -> Corpus:
        """The corpus that was read: reasons in alphabetical order with their counts, those of zero left out."""
        counts: dict[str, Any] = {
            kind: {why: n for why, n in sorted(of.items()) if n} for kind, of in self._counts.items()
        }
        digest = content_digest(conversations, *extras)
        return Corpus(conversations=conversations, digest=digest, **counts, **about)


def natural_key(identifier: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which `m2` stands before `m10` and `L9` before `L10`; total on all strings."""
    parts = re.split(r"([0-9]+)", identifier)
    return tuple((0, int(part), part) if i % 2 else (1, 0, part) for i, part in enumerate(parts) if part)


def in_order(conversations: Iterable[Conversation]) -> tuple[Conversation, ...]:
    """Conversations by cluster, then id; the order of lines in a file decides nothing."""
    return tuple(sorted(conversations, key=lambda c: (natural_key(c.cluster), natural_key(c.id))))


def content_digest(conversations: Iterable[Conversation], *extras: str) -> str:
    """Sha256 over the conversations in the order given and over `extras`; fields cannot run into each other."""
    digest = hashlib.sha256()
    for conversation in conversations:
        fields = [conversation.id, conversation.cluster, conversation.title]
        for line in conversation.utterances:
            fields += (line.id, line.speaker_id, line.speaker, line.text)
        # Lengths before contents: no separator can then be forged by a text that contains it.
        digest.update((",".join(str(len(field)) for field in fields) + ":" + "".join(fields)).encode(errors="replace"))
    for extra in extras:
        digest.update(f"{len(extra)}+{extra}".encode(errors="replace"))
    return digest.hexdigest()


def require_conversations(conversations: tuple[Conversation, ...], file: Path | str) -> None:
    """Refuse a corpus that holds nothing, lenient or not. Raises CorpusError: when there is no conversation."""
    if not conversations:
        raise CorpusError(file, "a corpus must hold at least one conversation, got none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """Readers of a folder (or zip) and of a file, with the corpus's name; None where it is not of this format."""

    from_folder: Callable[[FileSet, str, Tally], Corpus | None] = lambda files, name, tally: None
    from_file: Callable[[Path, str, Tally], Corpus | None] = lambda path, name, tally: None
    folder: str = ""  # what such a folder holds, for an error; empty: it is no folder
    is_last: bool = False  # takes whatever no other format knows
