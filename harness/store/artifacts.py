"""Nouns to files and back: JSONL, Parquet, digests, and a manifest that is written last.

A folder with a manifest is complete; one without is unfinished work. Digests are sha256 in hex and never depend on
where a folder lies or when it was written.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import json
import operator
import os
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args, get_origin

from harness.doors.text import decode_text, parse_json, repair_text
from harness.errors import InputError, IntegrityError

if TYPE_CHECKING:
    import pyarrow as pa
    from pydantic import TypeAdapter

T = TypeVar("T")

MANIFEST = "manifest.json"
_MAX_FILE = 1 << 30  # characters of a JSON file
_ROWS_AT_ONCE = 8192  # of a Parquet file, that are Python objects besides the nouns


# ── digests ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def digest_bytes(data: bytes) -> str:
    """sha256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """sha256 of a file's content, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_json(value: object) -> str:
    """sha256 of the canonical JSON of a value: sorted keys, no spaces, UTF-8; NaN is refused."""
    return digest_bytes(_dumped(value, sort_keys=True, separators=(",", ":")).encode())


def digest_folder(folder: Path) -> str:
    """sha256 over the sorted relative names and contents of every file below a folder, but for its own manifest."""
    hasher = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != MANIFEST:
            hasher.update(f"{name}\0{digest_file(path)}\n".encode())
    return hasher.hexdigest()


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested configuration as `a.b = value`; lists as JSON."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            is_plain = value is None or isinstance(value, str | int | float)
            flat[prefix + key] = value if is_plain else json.dumps(value, sort_keys=True, default=str)
    return flat


# ── nouns and JSON ───────────────────────────────────────────────────────────────────────────────────────────────────


def to_json(value: object) -> Any:
    """Plain JSON data of a noun: dataclasses become objects, tuples become lists, enums their value."""
    kind: Any = type(value) if dataclasses.is_dataclass(value) else Any
    return _codec(kind).serializer.to_python(value, mode="json", warnings=False, fallback=_plain)


def from_json(kind: type[T], data: Any) -> T:
    """Rebuild a noun from what `to_json` gave; `InputError` names the first key that is unknown, lacking or wrong."""
    return cast(T, _decoded(kind, data))


@functools.cache
def _codec(kind: Any, *, in_rows: bool = False) -> TypeAdapter[Any]:
    """What reads and writes a type, or a list of it, made once per type."""
    from pydantic import ConfigDict, FailFast, TypeAdapter
    from typing_extensions import TypeAliasType

    stored = typing.Annotated[list[kind], FailFast()] if in_rows else kind
    # A dataclass that has no configuration takes that of its alias.
    alias: Any = TypeAliasType("alias", stored)
    return TypeAdapter(alias, config=ConfigDict(extra="forbid", ser_json_inf_nan="constants"))


def _decoded(kind: Any, data: Any, *, place: str = "", in_rows: bool = False, is_json: bool = False) -> Any:
    from pydantic import ValidationError

    codec = _codec(kind, in_rows=in_rows)
    try:
        return codec.validate_json(data) if is_json else codec.validate_python(data)
    except ValidationError as err:
        from harness.config import sentence

        raise InputError(place + sentence(err, kind)) from err


def _plain(value: Any) -> Any:
    """JSON data of what neither `json` nor pydantic knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, Path):
        return value.as_posix()
    if callable(item := getattr(value, "item", None)):  # NumPy scalars
        return item()
    raise TypeError(f"a noun holds numbers, texts and collections of them, got {type(value).__name__}")


# ── JSON, JSONL and Parquet ──────────────────────────────────────────────────────────────────────────────────────────


def write_json(path: Path, value: object) -> None:
    """Write a noun as readable JSON, atomically."""
    _replace(path, (_dumped(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Plain data of a JSON file; `InputError` names the file and the line of a mistake."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as err:
        raise InputError(f"`{path}` must be an existing file; there is none") from err
    except OSError as err:
        raise InputError(f"`{path}` must be readable, got: {err.strerror}") from err
    return parse_json(decode_text(data, file=path), file=path, max_chars=_MAX_FILE, on_repair=lambda _: None)


def write_jsonl(path: Path, nouns: Iterable[object]) -> int:
    """Write one noun a line, atomically; returns how many."""
    lines = [_line(noun) for noun in nouns]
    _replace(path, b"".join(lines))
    return len(lines)


def read_jsonl(path: Path, kind: type[T]) -> list[T]:
    """Every noun of a JSONL file; `InputError` names the file and the line of a mistake."""
    nouns = []
    # Not splitlines: U+2028 and its kin may stand raw inside a reply.
    for number, text in enumerate(decode_text(path.read_bytes(), file=path).split("\n"), start=1):
        if text.strip():
            nouns.append(_decoded(kind, text, is_json=True, place=f"`{path}` line {number}: "))
    return nouns


def write_parquet(path: Path, nouns: Iterable[object], kind: type) -> int:
    """Write nouns as Parquet, atomically; the same nouns give the same bytes. Returns how many rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = _codec(kind, in_rows=True).dump_python(list(nouns), mode="json", warnings=False, fallback=_plain)
    temporary = path.with_name(path.name + ".part")
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(kind)), temporary, compression="zstd")
    os.replace(temporary, path)
    return len(rows)


def read_parquet(path: Path, kind: type[T], *, where: Mapping[str, Collection[str]] | None = None) -> list[T]:
    """Every noun of a Parquet file that `write_parquet` wrote; with `where`, those whose texts are among the given."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    asked = [pc.field(name).isin(pa.array(list(wanted), pa.string())) for name, wanted in (where or {}).items()]
    table = pq.read_table(path, filters=functools.reduce(operator.and_, asked) if asked else None)
    nouns: list[T] = []
    names = table.column_names
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        # By column, and dictionaries only where there are mappings: `Table.to_pylist` takes five times as long.
        columns = [c.to_pylist(maps_as_pydicts="strict" if pa.types.is_map(c.type) else None) for c in batch.columns]
        rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
        after = f" after {len(nouns):,} rows" if nouns else ""
        nouns += _decoded(kind, rows, in_rows=True, place=f"`{path}`{after}: ")
    return nouns


def _is_mapping(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def arrow_schema(kind: type) -> pa.Schema:
    """The Parquet schema of a noun."""
    import pyarrow as pa

    hints = typing.get_type_hints(kind)
    return pa.schema([pa.field(f.name, _arrow_type(hints[f.name])) for f in dataclasses.fields(kind)])


def _arrow_type(hint: Any) -> Any:
    import pyarrow as pa

    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _arrow_type(next(a for a in args if a is not type(None)))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return pa.struct(list(arrow_schema(hint)))
    if origin in (tuple, list):
        return pa.list_(_arrow_type(args[0]))
    if _is_mapping(hint):
        return pa.map_(pa.string(), _arrow_type(args[1]))
    if origin is Literal:
        return _arrow_type(type(args[0]))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return pa.string()
    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    if hint not in plain:
        raise TypeError(f"`{hint}` has no Parquet type: nouns hold text, numbers and collections of them")
    return plain[hint]


class Journal(typing.Generic[T]):
    """An append-only JSONL file that survives a kill at any byte.

    A line counts once its newline is on disk; a torn last line is dropped when the journal is opened again.
    """

    def __init__(self, path: Path, kind: type[T]) -> None:
        self.path = path
        self._kind = kind
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) != len(data):
                with path.open("r+b") as stream:
                    stream.truncate(len(whole))

    def records(self) -> list[T]:
        """What stands so far, in the order appended."""
        return read_jsonl(self.path, self._kind) if self.path.exists() else []

    def append(self, *nouns: T) -> None:
        """Add nouns in one write and hand it to the disk before returning."""
        with self.path.open("ab") as stream:
            stream.write(b"".join(_line(noun) for noun in nouns))
            stream.flush()
            os.fsync(stream.fileno())


def _line(noun: Any) -> bytes:
    kind: Any = type(noun) if dataclasses.is_dataclass(noun) else Any
    try:
        line = _codec(kind).serializer.to_json(noun, warnings=False, fallback=_plain)
    except ValueError:  # e.g. a lone surrogate
        line = b"NaN"
    if b"NaN" in line or b"Infinity" in line:  # in a text, or as a number that is refused
        line = _dumped(noun, separators=(",", ":")).encode()
    return line + b"\n"


def _dumped(value: object, **how: Any) -> str:
    """JSON that can be encoded: a lone surrogate that got past a door must not end a run."""
    return repair_text(json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False, **how)).text


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(content)
    os.replace(temporary, path)


# ── manifests ────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_manifest(folder: Path) -> dict[str, str]:
    """Digest every file of a finished folder and write `manifest.json` last; returns name → digest."""
    files = {name: digest_file(folder / name) for name in _names(folder)}
    write_json(folder / MANIFEST, {"files": files})
    return files


def read_manifest(folder: Path) -> dict[str, str]:
    """Name → digest as recorded; `InputError` when the folder is unfinished."""
    if not (folder / MANIFEST).exists():
        raise InputError(f"`{folder}` has no {MANIFEST}: the stage that writes it has not finished")
    return dict(read_json(folder / MANIFEST)["files"])


def verify_manifest(folder: Path) -> dict[str, str]:
    """Check every file against the manifest; `IntegrityError` names the first that differs."""
    recorded = read_manifest(folder)
    for name, digest in recorded.items():
        path = folder / name
        if not path.is_file():
            raise IntegrityError(f"`{path}` is named in its manifest and is not there; run the stage with --force")
        if digest_file(path) != digest:
            raise IntegrityError(f"`{path}` is not the file that was recorded (sha256 differs); run with --force")
    return recorded


def _names(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            yield path.relative_to(folder).as_posix()
