"""ConvoKit's `utterances.jsonl`, as in its movie corpus; `conversations.json` and `speakers.json` add names.

A conversation is a chain of replies. Corpora whose replies branch (forum threads) are not dialogues in this sense.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.doors.files import Row
from harness.doors.text import decode_text, is_absent, parse_json, read_id
from harness.errors import CorpusError, InputError
from harness.types import Conversation, Utterance
from pipelines.corpus.containers import FileSet
from pipelines.corpus.corpus import Corpus, Film, Format, Tally, Unusable, in_order, require_conversations
from pipelines.corpus.formats.cornell import clean_title, count_oddities
from pipelines.corpus.formats.jsonl import SUFFIXES, rows_of
from pipelines.corpus.text_repairs import clean_line

UTTERANCES = "utterances.jsonl"
CONVERSATIONS = "conversations.json"
SPEAKERS = ("speakers.json", "users.json")  # the second is the older name

_MAX_METADATA = 1 << 30  # characters; the movie corpus has 25 million
_Object = Mapping[str, Any]


def looks_like_convokit(row: _Object) -> bool:
    """Whether a JSONL row is an utterance of ConvoKit's."""
    return "text" in row and bool({"conversation_id", "root"} & row.keys()) and bool({"speaker", "user"} & row.keys())


def read_convokit(files: FileSet, name: str, tally: Tally) -> Corpus | None:
    """Read the utterances and chain them into conversations; None where there is no file of utterances.

    Raises:
        CorpusError: naming file, line and reason: a row that is not an utterance, an id given twice, a reply to an
            utterance that is not there, a conversation that branches, no conversation at all. A lenient tally skips
            and counts all but the last.
    """
    if UTTERANCES not in files:
        return None
    metadata = _object(files, CONVERSATIONS)
    names = _speaker_names(files)
    path = files.path(UTTERANCES)
    threads: dict[str, list[_Line]] = {}
    seen: set[str] = set()
    for row in rows_of(files.read(UTTERANCES), file=path, tally=tally):
        with tally.skipping(path, row.number, unreadable="row that is not an utterance"):
            line = _line(row)
            if line.id in seen:
                raise Unusable("utterance id given twice", f"an utterance id must be given once, got `{line.id}` again")
            seen.add(line.id)
            threads.setdefault(line.thread, []).append(line)
    films: dict[str, Film] = {}
    conversations = in_order(_conversations(threads, metadata, names, films, path, tally))
    require_conversations(conversations, path)
    count_oddities(conversations, tally)
    unit = "film" if films else "row"
    return tally.corpus(conversations, name=name, source="convokit", cluster_unit=unit, films=films)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """An utterance without its parse trees, which make up nine tenths of the file and nobody here reads."""

    number: int  # of its row
    id: str
    thread: str
    before: str | None  # the utterance that it replies to
    speaker: str
    text: str
    film: str | None


def _line(row: Row) -> _Line:
    value, meta = row.value, row.value.get("meta")
    speaker = value.get("speaker", value.get("user"))
    said = {
        "id": value.get("id"),
        "conversation_id": value.get("conversation_id", value.get("root")),
        "speaker": speaker.get("id") if isinstance(speaker, dict) else speaker,
    }
    ids = {key: read_id(given, key) for key, given in said.items()}
    lacking = [key for key, given in ids.items() if given is None]
    if lacking or not isinstance(value.get("text"), str):
        needed = "an utterance must have `id`, `conversation_id`, `speaker` and `text`"
        raise InputError(f"{needed}, got no {', '.join(f'`{key}`' for key in lacking) or 'text'}")
    return _Line(
        number=row.number,
        id=str(ids["id"]),
        thread=str(ids["conversation_id"]),
        before=read_id(value.get("reply-to", value.get("reply_to")), "reply-to"),
        speaker=str(ids["speaker"]),
        text=value["text"],
        film=read_id(meta.get("movie_id"), "movie_id") if isinstance(meta, dict) else None,
    )


def _conversations(
    threads: Mapping[str, list[_Line]],
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
        about = _about(metadata.get(thread_id))
        film = chain[0].film or _name(about, "movie_idx")
        title = clean_title(_name(about, "movie_name") or film or thread_id)
        if film:
            year = str(about.get("release_year", ""))[:4]
            films.setdefault(film, Film(id=film, title=title, year=int(year) if year.isdecimal() else None))
        lines = tuple(
            Utterance(
                id=line.id,
                speaker_id=line.speaker,
                speaker=names.get(line.speaker, line.speaker),
                text=clean_line(line.text, tally),
            )
            for line in chain
        )
        cluster = film or thread_id
        yield Conversation(id=f"{cluster}:{lines[0].id}", cluster=cluster, title=title, utterances=lines)


def _chain(lines: list[_Line], path: str, tally: Tally) -> list[_Line]:
    """Utterances in the order spoken, following the replies; empty when they cannot be followed."""
    present = {line.id for line in lines}
    following: dict[str | None, _Line] = {}
    for line in lines:
        if line.before is not None and line.before not in present:
            reason = f"an utterance must reply to one that is there, got `{line.before}`, which is not"
            tally.skip("conversation names a line that is not there", path, reason, line=line.number)
            return []
        if line.before in following:
            reason = f"a conversation must not branch, got a second reply to `{line.before or 'nothing'}`"
            tally.skip("conversation that branches", path, reason, line=line.number)
            return []
        following[line.before] = line
    chain: list[_Line] = []
    here: str | None = None
    while here in following:
        chain.append(following.pop(here))
        here = chain[-1].id
    if following:
        reason = "a conversation must begin with an utterance that replies to nothing, got a ring of replies"
        tally.skip("conversation without a beginning", path, reason, line=lines[0].number)
        return []
    return chain


def _speaker_names(files: FileSet) -> dict[str, str]:
    for file in SPEAKERS:
        entries = _object(files, file)
        if entries:
            return {key: _name(_about(entry), "character_name") or key for key, entry in entries.items()}
    return {}


def _about(entry: object) -> _Object:
    if not isinstance(entry, dict):
        return {}
    meta = entry.get("meta", entry)
    return meta if isinstance(meta, dict) else {}


def _name(about: _Object, key: str) -> str | None:
    """A text of the metadata; null, and what is no text, is absence."""
    given = about.get(key)
    return given if isinstance(given, str) and not is_absent(given) else None


def _object(files: FileSet, file: str) -> dict[str, Any]:
    """The object in an optional JSON file; empty when the file is not there."""
    if file not in files:
        return {}
    text = decode_text(files.read(file), file=files.path(file))
    value = parse_json(text, file=files.path(file), max_chars=_MAX_METADATA)
    if not isinstance(value, dict):
        raise CorpusError(files.path(file), f"the file must hold one JSON object, got {type(value).__name__}")
    return value


def _from_file(path: Path, name: str, tally: Tally) -> Corpus | None:
    is_named = path.name == UTTERANCES
    if path.suffix.lower() not in SUFFIXES or not (is_named or looks_like_convokit(_first_row(path))):
        return None
    beside = [path.parent / file for file in (CONVERSATIONS, *SPEAKERS)] if is_named else []
    files = {file.name: file for file in beside if file.is_file()} | {UTTERANCES: path}
    return read_convokit(FileSet(files, label=str(path.parent)), name, tally)


def _first_row(path: Path) -> dict[str, object]:
    """The first row when it can be read as an object; empty otherwise, and the reader will say what is wrong."""
    with path.open("rb") as stream:
        first = next((line for line in stream if line.strip()), b"")
    try:
        value = parse_json(first.decode(errors="replace"), file=path)
    except CorpusError:
        return {}
    return value if isinstance(value, dict) else {}


FORMAT = Format(from_folder=read_convokit, from_file=_from_file, folder=f"`{UTTERANCES}`")
