"""The Cornell Movie-Dialogs Corpus in its official four-file layout (Danescu-Niculescu-Mizil & Lee, 2011).

`movie_lines.txt` and `movie_conversations.txt` make the conversations; `movie_titles_metadata.txt` and
`movie_characters_metadata.txt` add titles, years, genres and names where they are there.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.types import Conversation, Utterance
from pipelines.corpus.containers import FileSet
from pipelines.corpus.corpus import Corpus, Film, Format, Tally, Unusable, in_order, require_conversations
from pipelines.corpus.cut_scenes import continues
from pipelines.corpus.text_repairs import clean_line, lines_of

LINES = "movie_lines.txt"
CONVERSATIONS = "movie_conversations.txt"
TITLES = "movie_titles_metadata.txt"
CHARACTERS = "movie_characters_metadata.txt"

_SEPARATOR = " +++$+++ "
_QUOTED = re.compile(r"""['"]([^'"]+)['"]""")
_LIST = re.compile(r"\[.*\]")
_YEAR = re.compile(r"([0-9]{4})(/[IVX]+)?")


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Character:
    name: str
    title: str


@dataclass(frozen=True, slots=True)
class _Place:
    file: str
    line: int


def read_cornell(files: FileSet, name: str, tally: Tally) -> Corpus | None:
    """Read the four files; conversations come out in film and line order whatever the order in the files.

    None: none of the files is of this layout.

    Raises:
        CorpusError: naming file, line and reason: a file that is not there, a line with the wrong number of fields, an
            id given twice, a conversation that names a line that is not there, a film with no conversation, no
            conversation at all. A lenient tally skips and counts all but the first and the last.
    """
    if not any(file.startswith("movie_") and file.endswith(".txt") for file in files.names):
        return None
    named: dict[str, _Place] = {}  # film -> where it is named first
    characters = _read_characters(files, tally)
    films = _read_titles(files, named, tally)
    lines = _read_lines(files, characters, named, tally)
    conversations = in_order(_conversations(files, lines, films, characters, tally))
    require_conversations(conversations, files.path(CONVERSATIONS))
    heard = {conversation.cluster for conversation in conversations}
    for film, place in named.items():  # one without would silently be missing from every split
        if film not in heard:
            reason = f"a film must have a conversation, got none for `{film}`"
            tally.skip("film with no conversation", place.file, reason, line=place.line)
    count_oddities(conversations, tally)
    in_use = {line.id for conversation in conversations for line in conversation.utterances}
    tally.see("lines in no conversation", len(lines) - len(in_use))
    about = {film: films[film] for film in films if film in heard}
    return tally.corpus(conversations, name=name, source="cornell", cluster_unit="film", films=about)


def count_oddities(conversations: tuple[Conversation, ...], tally: Tally) -> None:
    """Count what stays as published: one speaker twice in a row, and scenes cut in two."""
    for i, conversation in enumerate(conversations):
        speakers = [line.speaker_id for line in conversation.utterances]
        if any(a == b for a, b in itertools.pairwise(speakers)):
            tally.see("conversations with one speaker twice in a row")
        if i and continues(conversation, conversations[i - 1]):
            tally.see("conversations that continue the one before (a scene cut in two)")


def _read_lines(
    files: FileSet, characters: Mapping[str, _Character], named: dict[str, _Place], tally: Tally
) -> dict[str, Utterance]:
    lines: dict[str, Utterance] = {}
    for row in _rows(files, LINES, 5, tally):
        identifier, speaker_id, film, speaker, text = row.fields
        named.setdefault(film, _Place(files.path(LINES), row.number))
        if identifier in lines:
            reason = f"a line id must be given once, got `{identifier}` again"
            tally.skip("line id given twice", files.path(LINES), reason, line=row.number)
            continue
        if not speaker and speaker_id in characters:
            speaker = characters[speaker_id].name
            tally.repair("speakers named from the character list")
        lines[identifier] = Utterance(
            id=identifier, speaker_id=speaker_id, speaker=speaker, text=clean_line(text, tally)
        )
    return lines


def _conversations(
    files: FileSet,
    lines: Mapping[str, Utterance],
    films: Mapping[str, Film],
    characters: Mapping[str, _Character],
    tally: Tally,
) -> Iterator[Conversation]:
    used: set[str] = set()
    for row in _rows(files, CONVERSATIONS, 4, tally):
        speaker_id, _, film, listed = row.fields
        ids = _QUOTED.findall(listed) if _LIST.fullmatch(listed) else []
        with tally.skipping(files.path(CONVERSATIONS), row.number):
            _require_lines(ids, listed, lines, used)
            used.update(ids)
            title = films[film].title if film in films else ""
            if not title:
                title = characters[speaker_id].title if speaker_id in characters else film
                tally.repair("conversations titled without the title list")
            utterances = tuple(lines[line_id] for line_id in ids)
            yield Conversation(id=f"{film}:{ids[0]}", cluster=film, title=title, utterances=utterances)


def _require_lines(ids: list[str], listed: str, lines: Mapping[str, Utterance], used: set[str]) -> None:
    if not ids:
        raise Unusable("conversation names no line", f"a conversation must list its line ids, got `{listed}`")
    if len(set(ids)) < len(ids):
        raise Unusable("conversation names a line twice", f"a conversation must name a line once, got `{listed}`")
    for line_id in ids:
        if line_id not in lines:
            reason = f"every line of a conversation must be in {LINES}, got `{line_id}`, which is not"
            raise Unusable("conversation names a line that is not there", reason)
        if line_id in used:
            raise Unusable("line in two conversations", f"a line must be in one conversation, got `{line_id}` again")


def _read_titles(files: FileSet, named: dict[str, _Place], tally: Tally) -> dict[str, Film]:
    """Films by id; empty where there is no title list."""
    if TITLES not in files:
        tally.see("no title list")
        return {}
    films: dict[str, Film] = {}
    for row in _rows(files, TITLES, 6, tally):
        identifier, title, year, _, _, genres = row.fields
        match = _YEAR.fullmatch(year.strip())
        if match is None:
            tally.see("films without a year")
        elif match[2]:
            tally.repair("years like 1989/I read as the year alone")
        films[identifier] = Film(
            id=identifier,
            title=clean_title(title),
            year=int(match[1]) if match else None,
            genres=tuple(_QUOTED.findall(genres)),
        )
        named[identifier] = _Place(files.path(TITLES), row.number)
    return films


def clean_title(title: str) -> str:
    """A film's title without doubled spaces."""
    return " ".join(title.split())


def _read_characters(files: FileSet, tally: Tally) -> dict[str, _Character]:
    if CHARACTERS not in files:
        tally.see("no character list")
        return {}
    rows = _rows(files, CHARACTERS, 6, tally)
    return {row.fields[0]: _Character(row.fields[1], clean_title(row.fields[3])) for row in rows}


def _rows(files: FileSet, name: str, n_fields: int, tally: Tally) -> Iterator[_Row]:
    """Split lines into fields. A line is never stripped first: that would lose an empty last field."""
    path = files.path(name)
    for line in lines_of(files.read(name), file=path, tally=tally):
        text = line.text
        if not text.strip():
            continue
        if text.endswith(_SEPARATOR[:-1]):
            # An editor that strips trailing spaces has cut into the separator before an empty text.
            text += " "
            tally.repair("empty last fields restored")
        fields = tuple(text.split(_SEPARATOR))
        if len(fields) != n_fields:
            tally.skip(
                f"{name}: wrong number of fields",
                path,
                f"a line must have {n_fields} fields separated by `{_SEPARATOR}`, got {len(fields)}",
                line=line.number,
            )
            continue
        yield _Row(line.number, fields)


FORMAT = Format(from_folder=read_cornell, folder=f"`{LINES}` and `{CONVERSATIONS}`")
