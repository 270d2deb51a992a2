"""ConvoKit's `utterances.jsonl`, as in its movie corpus; `conversations.json` and `speakers.json` add names.

A conversation is a chain of replies. Corpora whose replies branch (forum threads) are not dialogues in this sense.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import CorpusError
from harness.types import Conversation, Utterance
from pipelines.corpus.containers import FileSet
from pipelines.corpus.cornell import clean_title, count_oddities
from pipelines.corpus.corpus import (
    Corpus,
    Film,
    Tally,
    content_digest,
    in_order,
    require_conversations,
)
from pipelines.corpus.jsonl import Row, rows_of
from pipelines.corpus.text import clean_line

UTTERANCES = "utterances.jsonl"
CONVERSATIONS = "conversations.json"
SPEAKERS = ("speakers.json", "users.json")  # the second is the older name

_Object = Mapping[str, Any]


def looks_like_convokit(row: _Object) -> bool:
    """Whether a JSONL row is an utterance of ConvoKit's."""
    return "text" in row and bool({"conversation_id", "root"} & row.keys()) and bool({"speaker", "user"} & row.keys())


def read_convokit(files: FileSet, *, name: str, tally: Tally) -> Corpus:
    """Read the utterances and chain them into conversations.

    Raises:
        CorpusError: naming file, line and reason: a row that is not an utterance, an id given twice, a reply to an
            utterance that is not there, a conversation that branches, no conversation at all. A lenient tally skips
            and counts all but the last.
    """
    metadata = _object(files, CONVERSATIONS)
    names = _speaker_names(files)
    path = files.path(UTTERANCES)
    threads: dict[str, list[Row]] = {}
    seen: set[str] = set()
    for row in rows_of(files.read(UTTERANCES), file=path, tally=tally):
        if not _is_utterance(row, seen, path, tally):
            continue
        seen.add(row.value["id"])
        # Parse trees make up nine tenths of the file and nobody here reads them.
        meta = row.value.get("meta")
        kept = {"movie_id": meta.get("movie_id")} if isinstance(meta, dict) else {}
        thread = row.value.get("conversation_id", row.value.get("root"))
        threads.setdefault(str(thread), []).append(Row(row.number, {**row.value, "meta": kept}))
    films: dict[str, Film] = {}
    conversations = in_order(_conversations(threads, metadata, names, films, path, tally))
    require_conversations(conversations, path)
    count_oddities(conversations, tally)
    return Corpus(
        name=name,
        source="convokit",
        conversations=conversations,
        digest=content_digest(conversations),
        cluster_unit="film" if films else "row",
        films=films,
        repaired=tally.repaired,
        skipped=tally.skipped,
        seen=tally.seen,
    )


def _is_utterance(row: Row, seen: set[str], path: str, tally: Tally) -> bool:
    value = row.value
    if not looks_like_convokit(value) or not isinstance(value.get("id"), str) or not isinstance(value["text"], str):
        reason = f"an utterance must have `id`, `conversation_id`, `speaker` and `text`, got {sorted(value)}"
        tally.skip("row that is not an utterance", path, reason, line=row.number)
        return False
    if value["id"] in seen:
        reason = f"an utterance id must be given once, got `{value['id']}` again"
        tally.skip("utterance id given twice", path, reason, line=row.number)
        return False
    return True


def _conversations(
    threads: Mapping[str, list[Row]],
    metadata: _Object,
    names: Mapping[str, str],
    films: dict[str, Film],
    path: str,
    tally: Tally,
) -> Iterator[Conversation]:
    for thread_id, rows in threads.items():
        chain = _chain(rows, path, tally)
        if not chain:
            continue
        about = metadata.get(thread_id)
        about = about.get("meta", about) if isinstance(about, dict) else {}
        film = chain[0]["meta"].get("movie_id") or about.get("movie_idx")
        title = clean_title(str(about.get("movie_name") or film or thread_id))
        if film:
            year = str(about.get("release_year", ""))[:4]
            films.setdefault(film, Film(id=film, title=title, year=int(year) if year.isdecimal() else None))
        lines = tuple(_utterance(value, names, tally) for value in chain)
        cluster = str(film or thread_id)
        yield Conversation(id=f"{cluster}:{lines[0].id}", cluster=cluster, title=title, utterances=lines)


def _chain(rows: list[Row], path: str, tally: Tally) -> list[dict[str, Any]]:
    """Utterances in the order spoken, following the replies; empty when they cannot be followed."""
    present = {row.value["id"] for row in rows}
    following: dict[str | None, Row] = {}
    for row in rows:
        before = row.value.get("reply-to", row.value.get("reply_to"))
        if before is not None and before not in present:
            reason = f"an utterance must reply to one that is there, got `{before}`, which is not"
            tally.skip("conversation names a line that is not there", path, reason, line=row.number)
            return []
        if before in following:
            reason = f"a conversation must not branch, got a second reply to `{before or 'nothing'}`"
            tally.skip("conversation that branches", path, reason, line=row.number)
            return []
        following[before] = row
    chain: list[dict[str, Any]] = []
    here: str | None = None
    while here in following:
        value = following.pop(here).value
        chain.append(value)
        here = value["id"]
    if following:
        reason = "a conversation must begin with an utterance that replies to nothing, got a ring of replies"
        tally.skip("conversation without a beginning", path, reason, line=rows[0].number)
        return []
    return chain


def _utterance(value: _Object, names: Mapping[str, str], tally: Tally) -> Utterance:
    speaker = value.get("speaker", value.get("user"))
    speaker_id = str(speaker["id"] if isinstance(speaker, dict) and "id" in speaker else speaker)
    text = clean_line(value["text"], tally)
    return Utterance(id=value["id"], speaker_id=speaker_id, speaker=names.get(speaker_id, speaker_id), text=text)


def _speaker_names(files: FileSet) -> dict[str, str]:
    for file in SPEAKERS:
        entries = _object(files, file)
        if entries:
            return {key: str(_about(entry).get("character_name", key)) for key, entry in entries.items()}
    return {}


def _about(entry: object) -> _Object:
    if not isinstance(entry, dict):
        return {}
    meta = entry.get("meta", entry)
    return meta if isinstance(meta, dict) else {}


def _object(files: FileSet, file: str) -> dict[str, Any]:
    """The object in an optional JSON file; empty when the file is not there."""
    if file not in files:
        return {}
    try:
        value = json.loads(files.read(file))
    except ValueError as err:
        raise CorpusError(files.path(file), f"the file must be JSON, got: {err}") from err
    if not isinstance(value, dict):
        raise CorpusError(files.path(file), f"the file must hold one JSON object, got {type(value).__name__}")
    return value
