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
from pipelines.corpus.corpus import Corpus, Film, Format, Tally, in_order, require_conversations
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
class _Spoken:
    by_id: Mapping[str, Utterance]
    films: Mapping[str, int]  # film -> number of the first line that names it


@dataclass(frozen=True, slots=True)
class _Titles:
    films: Mapping[str, Film]
    numbers: Mapping[str, int]  # film -> line number


def read_cornell(files: FileSet, *, name: str, tally: Tally) -> Corpus:
    """Read the four files; conversations come out in film and line order whatever the order in the files.

    Raises:
        CorpusError: naming file, line and reason: a file that is not there, a line with the wrong number of fields, an
            id given twice, a conversation that names a line that is not there, a film with no conversation, no
            conversation at all. A lenient tally skips and counts all but the first and the last.
    """
    characters = _read_characters(files, tally)
    spoken = _read_lines(files, characters, tally)
    titles = _read_titles(files, tally)
    conversations = in_order(_conversations(files, spoken.by_id, titles.films, characters, tally))
    require_conversations(conversations, files.path(CONVERSATIONS))
    _check_films(files, titles, spoken, conversations, tally)
    count_oddities(conversations, tally)
    used = {conversation.cluster for conversation in conversations}
    in_use = {line.id for conversation in conversations for line in conversation.utterances}
    tally.see("lines in no conversation", len(spoken.by_id) - len(in_use))
    films = {film.id: film for film in titles.films.values() if film.id in used}
    return tally.corpus(conversations, name=name, source="cornell", cluster_unit="film", films=films)


def count_oddities(conversations: tuple[Conversation, ...], tally: Tally) -> None:
    """Count what stays as published: one speaker twice in a row, and scenes cut in two."""
    for i, conversation in enumerate(conversations):
        speakers = [line.speaker_id for line in conversation.utterances]
        if any(a == b for a, b in itertools.pairwise(speakers)):
            tally.see("conversations with one speaker twice in a row")
        if i and continues(conversation, conversations[i - 1]):
            tally.see("conversations that continue the one before (a scene cut in two)")


def _read_lines(files: FileSet, characters: Mapping[str, _Character], tally: Tally) -> _Spoken:
    lines: dict[str, Utterance] = {}
    films: dict[str, int] = {}
    for row in _rows(files, LINES, 5, tally):
        identifier, speaker_id, film, speaker, text = row.fields
        films.setdefault(film, row.number)
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
    return _Spoken(lines, films)


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
        problem = _problem(ids, listed, lines, used)
        if problem is not None:
            tally.skip(problem.kind, files.path(CONVERSATIONS), problem.message, line=row.number)
            continue
        used.update(ids)
        title = films[film].title if film in films else ""
        if not title:
            title = characters[speaker_id].title if speaker_id in characters else film
            tally.repair("conversations titled without the title list")
        yield Conversation(
            id=f"{film}:{ids[0]}", cluster=film, title=title, utterances=tuple(lines[line_id] for line_id in ids)
        )


@dataclass(frozen=True, slots=True)
class _Problem:
    kind: str
    message: str


def _problem(ids: list[str], listed: str, lines: Mapping[str, Utterance], used: set[str]) -> _Problem | None:
    if not ids:
        return _Problem("conversation names no line", f"a conversation must list its line ids, got `{listed}`")
    if len(set(ids)) < len(ids):
        return _Problem("conversation names a line twice", f"a conversation must name a line once, got `{listed}`")
    for line_id in ids:
        if line_id not in lines:
            return _Problem(
                "conversation names a line that is not there",
                f"every line of a conversation must be in {LINES}, got `{line_id}`, which is not",
            )
        if line_id in used:
            return _Problem("line in two conversations", f"a line must be in one conversation, got `{line_id}` again")
    return None


def _read_titles(files: FileSet, tally: Tally) -> _Titles:
    """Films by id; empty where there is no title list."""
    if TITLES not in files:
        tally.see("no title list")
        return _Titles({}, {})
    films, numbers = {}, {}
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
        numbers[identifier] = row.number
    return _Titles(films, numbers)


def clean_title(title: str) -> str:
    """A film's title without doubled spaces."""
    return " ".join(title.split())


def _read_characters(files: FileSet, tally: Tally) -> dict[str, _Character]:
    if CHARACTERS not in files:
        tally.see("no character list")
        return {}
    rows = _rows(files, CHARACTERS, 6, tally)
    return {row.fields[0]: _Character(row.fields[1], clean_title(row.fields[3])) for row in rows}


def _check_films(
    files: FileSet, titles: _Titles, spoken: _Spoken, conversations: tuple[Conversation, ...], tally: Tally
) -> None:
    """Every film that is named must have a conversation: one without would silently be missing from every split."""
    heard = {conversation.cluster for conversation in conversations}
    for name, numbers in ((TITLES, titles.numbers), (LINES, spoken.films)):
        for film, number in numbers.items():
            if film not in heard:
                reason = f"a film must have a conversation, got none for `{film}`"
                tally.skip("film with no conversation", files.path(name), reason, line=number)
                heard.add(film)


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


def _from_folder(files: FileSet, name: str, tally: Tally) -> Corpus | None:
    is_of_it = any(file.startswith("movie_") and file.endswith(".txt") for file in files.names)
    return read_cornell(files, name=name, tally=tally) if is_of_it else None


FORMAT = Format(from_folder=_from_folder, folder=f"`{LINES}` and `{CONVERSATIONS}`")
