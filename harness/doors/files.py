"""JSON Lines and zips that somebody else made: read a row at a time, bounded before anything is unpacked."""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from harness.doors.text import MAX_JSON, decode_text, parse_json
from harness.errors import CorpusError, InputError

MAX_UNPACKED = 4 << 30  # bytes of all files in a zip; the largest corpus known has a tenth of it
MAX_FILES = 2_000  # in a zip
MAX_DRAW = 9_999  # of a reply to one prompt
_MAX_RATIO = 200  # unpacked to packed; text has 3 to 20
_ZSTD = 93  # a zip's number for it
_SMALL = 16 << 20  # bytes that may be packed as tightly as they like

# What zipfile and its decompressors raise for archives that are damaged, encrypted or packed in ways they do not know.
ARCHIVE_FAULTS = (
    OSError, EOFError, RuntimeError, ValueError, LookupError, OverflowError, MemoryError, struct.error, zlib.error,
    lzma.LZMAError, zipfile.BadZipFile, zipfile.LargeZipFile,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a JSONL file."""

    number: int  # of its line, from 1
    value: dict[str, Any]


def read_rows(
    path: Path, *, of: str, on_repair: Callable[[int], None] | None = None, is_nan_null: bool = False
) -> Iterator[Row]:
    """The objects of a JSONL file, a line in memory at a time; blank lines are passed over.

    Lines end at LF: U+2028 and its kin may stand raw inside a text.

    Args:
        on_repair, is_nan_null: as of `parse_json`.

    Raises:
        InputError: there is no such file.
        CorpusError: it holds no row, or a line is no UTF-8, no JSON object or too long; it names file and line.
    """
    if not path.is_file():
        raise InputError(f"`{path}` must be an existing JSONL file of {of}; there is none")
    is_empty = True
    with _opened(path) as stream:
        for number, line in _lines(stream, path):
            text = decode_text(line, file=path, line=number)
            if not text.strip():
                continue
            value = parse_json(text, file=path, line=number, on_repair=on_repair, is_nan_null=is_nan_null)
            if not isinstance(value, dict):
                raise CorpusError(path, f"a row must be a JSON object, got {type(value).__name__}", line=number)
            is_empty = False
            yield Row(number, value)
    if is_empty:
        raise CorpusError(path, f"must hold at least one row of {of}; it is empty")


def open_archive(path: Path) -> zipfile.ZipFile:
    """A zip whose files may be unpacked in memory: bounded in number, size and ratio, none encrypted.

    Raises CorpusError: it is no zip, or breaks a bound.
    """
    try:
        archive = zipfile.ZipFile(path)
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except ARCHIVE_FAULTS as err:
        raise CorpusError(path, f"a corpus archive must be a zip, got: {err}") from err
    if len(entries) > MAX_FILES:
        raise CorpusError(path, f"a zip must hold at most {MAX_FILES:,} files, got {len(entries):,}")
    size = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if size > MAX_UNPACKED:
        raise CorpusError(path, f"a zip must unpack to at most {MAX_UNPACKED >> 30} GB, got {size / 2**30:,.1f} GB")
    if size > _SMALL and size > _MAX_RATIO * packed:
        raise CorpusError(
            path,
            f"a zip must unpack to at most {_MAX_RATIO} times its size, got {size:,} bytes of {packed:,}; unpack it "
            "and name the folder if you trust it",
        )
    return archive


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A whole file of an archive that `open_archive` gave; zstd too, which Python's own reader learned late.

    Raises ARCHIVE_FAULTS: it cannot be read.
    """
    entry = archive.getinfo(name)
    if entry.compress_type != _ZSTD:
        return archive.read(name)
    import pyarrow as pa

    stream = archive.fp
    if stream is None:
        raise zipfile.BadZipFile("the archive is closed")
    stream.seek(entry.header_offset)
    n_name, n_extra = struct.unpack("<26xHH", stream.read(30))  # of the header before the data
    stream.seek(n_name + n_extra, os.SEEK_CUR)
    packed = stream.read(entry.compress_size)
    if entry.flag_bits & 1:
        raise RuntimeError("password required")
    data: bytes = pa.Codec("zstd").decompress(packed, decompressed_size=entry.file_size, asbytes=True)
    if zlib.crc32(data) != entry.CRC:
        raise zipfile.BadZipFile(f"bad checksum of {name}")
    return data


def archive_fault(err: BaseException) -> str:
    """Why a file of an archive cannot be read, with what to do."""
    if isinstance(err, NotImplementedError):
        return "it is packed by a method that Python cannot read; pack it again as an ordinary zip"
    if isinstance(err, RuntimeError) and "password" in str(err):
        return "it is encrypted; unpack it and name the folder"
    return f"{err or type(err).__name__}; the archive is damaged, fetch or pack it again"


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as err:
        raise InputError(f"`{path}` must be readable, got: {err.strerror}") from err


def _lines(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    longest = 4 * MAX_JSON  # a character has at most four bytes
    number = 0
    while line := stream.readline(longest + 1):
        number += 1
        if len(line) > longest:
            raise CorpusError(path, f"a line must have at most {longest:,} bytes, got more", line=number)
        yield number, line
