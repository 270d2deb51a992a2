"""Rows of a file whose format its maker chose: a JSON list or object, JSON Lines, CSV, TSV; told by content."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from harness.doors.files import Row, read_rows
from harness.doors.text import decode_text, parse_json, require_sound, shown
from harness.errors import CorpusError, InputError

MAX_TABLE = 1 << 28  # characters of a file that is read whole


def read_records(path: Path, *, of: str) -> Iterator[Row]:
    """The objects of a file, each with its first line: of a JSON list, of JSON Lines, or of a table with a header.

    Raises:
        InputError: there is no such file.
        CorpusError: it holds no row, is none of these formats or too large; it names file and line.
    """
    if not path.is_file():
        raise InputError(f"`{path}` must be an existing file of {of}; there is none")
    text = decode_text(path.read_bytes(), file=path)
    if len(text) > MAX_TABLE:
        raise CorpusError(path, f"must have at most {MAX_TABLE:,} characters, got {len(text):,}; import it in parts")
    if not (begin := text.lstrip()):
        raise CorpusError(path, f"must hold at least one row of {of}; it is empty")
    if begin[0] == "[":
        rows = _list(path, text)
    elif begin[0] == "{" and (path.suffix == ".jsonl" or _is_lines(text)):
        rows = read_rows(path, of=of)
    elif begin[0] == "{":
        rows = iter([Row(1, parse_json(text, file=path, max_chars=MAX_TABLE))])
    else:
        rows = _table(path, text)
    n = 0
    for n, row in enumerate(rows, start=1):  # noqa: B007
        yield row
    if not n:
        raise CorpusError(path, f"must hold at least one row of {of}; it has none")


def _is_lines(text: str) -> bool:
    """Whether the first line that holds anything is a whole object."""
    first = text.lstrip().partition("\n")[0]
    try:
        return isinstance(json.loads(first), dict) and text.strip() != first.strip()
    except (ValueError, RecursionError):
        return False


def _list(path: Path, text: str) -> Iterator[Row]:
    values = parse_json(text, file=path, max_chars=MAX_TABLE)
    decoder, at, line = json.JSONDecoder(), text.index("[") + 1, 1
    line += text.count("\n", 0, at)
    for value in values:
        begin = next(i for i in range(at, len(text)) if text[i] not in " \t\r\n,")
        line += text.count("\n", at, begin)
        if not isinstance(value, dict):
            raise CorpusError(path, f"a row must be a JSON object, got {type(value).__name__}", line=line)
        yield Row(line, value)
        at = decoder.raw_decode(text, begin)[1]
        line += text.count("\n", begin, at)


def _table(path: Path, text: str) -> Iterator[Row]:
    head = text.lstrip("\n").partition("\n")[0]
    delimiter = max("\t,;", key=head.count)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter
    )  # not splitlines: U+2028 may stand in a cell
    names: list[str] = []
    line = 1
    try:
        for cells in reader:
            begin, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = _header(path, cells, begin)
                continue
            if len(cells) > len(names):
                raise CorpusError(path, f"a row must have the {len(names)} cells of the header, got {len(cells)}",
                                  line=begin)  # fmt: skip
            row = dict(zip(names, cells, strict=False))
            for name, cell in row.items():
                require_sound(cell, name)
            yield Row(begin, row)
    except csv.Error as err:
        raise CorpusError(path, f"must be CSV or TSV, it is not: {err}", line=reader.line_num) from err
    except InputError as err:
        raise err if isinstance(err, CorpusError) else CorpusError(path, str(err), line=line - 1) from err


def _header(path: Path, cells: list[str], line: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = [name for name, n in Counter(names).items() if n > 1 and name]
    if twice:
        raise CorpusError(path, f"a column must stand once in the header, got {shown(twice[0])} again", line=line)
    if len(names) < 2:
        raise CorpusError(path, f"must be JSON, or a table of two columns or more, got {shown(cells[0])}", line=line)
    return [name or f"column {i}" for i, name in enumerate(names, start=1)]
