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
import os
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

from harness.doors.text import decode_text, parse_json, repair_text
from harness.errors import InputError, IntegrityError

T = TypeVar("T")

MANIFEST = "manifest.json"
_MAX_FILE = 1 << 30  # characters of a JSON file


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


def digest_folder(folder: Path, *, leave_out: Iterable[str] = (MANIFEST,)) -> str:
    """sha256 over the sorted relative names and contents of every file below a folder."""
    left_out = set(leave_out)
    hasher = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in left_out:
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
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, frozenset | set):
        return sorted(to_json(item) for item in value)
    if isinstance(value, Path):
        return value.as_posix()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "item") and callable(value.item):  # NumPy scalars
        return value.item()
    raise TypeError(f"`to_json` stores nouns, numbers, strings and collections of them, got {type(value).__name__}")


def from_json(kind: type[T], data: Any) -> T:
    """Rebuild a noun from what `to_json` gave; unknown or lacking keys raise `InputError`."""
    decode: Any = _decoder(cast(Any, kind))
    return cast(T, decode(data))


@functools.cache
def _decoder(kind: Any) -> typing.Callable[[Any], Any]:
    """The function that turns JSON data into a value of a type, made once per type."""
    origin, args = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_decoder(kind)
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in args if a is not type(None)]
        decode = _decoder(inner[0]) if len(inner) == 1 else _identity
        return lambda data: None if data is None else decode(data)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            item = _decoder(args[0])
            return lambda data: tuple(item(x) for x in _items(data))
        items = [_decoder(a) for a in args]
        return lambda data: tuple(decode(x) for decode, x in zip(items, _items(data, n=len(items)), strict=True))
    if origin is list:
        item = _decoder(args[0])
        return lambda data: [item(x) for x in _items(data)]
    if origin is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        item = _decoder(args[1])
        return lambda data: {key: item(x) for key, x in _object(data).items()}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind
    if kind is float:
        return float
    if origin is Literal:
        return _literal_decoder(args)
    return _identity


def _items(data: Any, *, n: int | None = None) -> Any:
    if not isinstance(data, list | tuple) or n not in (None, len(data)):
        raise InputError(f"a list is stored as {'a list' if n is None else f'{n} items'}, got {type(data).__name__}")
    return data


def _object(data: Any, name: str = "a mapping") -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise InputError(f"{name} is stored as an object, got {type(data).__name__}")
    return data


def _identity(data: Any) -> Any:
    return data


def _literal_decoder(allowed: tuple[Any, ...]) -> typing.Callable[[Any], Any]:
    def decode(data: Any) -> Any:
        if data not in allowed:
            raise InputError(f"`{data}` must be one of {', '.join(map(str, allowed))}")
        return data

    return decode


def _dataclass_decoder(kind: type) -> typing.Callable[[Any], Any]:
    hints = typing.get_type_hints(kind)
    fields = {f.name: _decoder(hints[f.name]) for f in dataclasses.fields(kind) if f.init}
    required = {
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }

    def decode(data: Any) -> Any:
        _object(data, f"`{kind.__name__}`")
        unknown, lacking = data.keys() - fields.keys(), required - data.keys()
        if unknown or lacking:
            what = f"unknown keys {sorted(unknown)}" if unknown else f"no {sorted(lacking)}"
            raise InputError(f"`{kind.__name__}` has the keys {sorted(fields)}, got {what}")
        return kind(**{key: fields[key](item) for key, item in data.items()})

    return decode


# ── JSON, JSONL and Parquet ──────────────────────────────────────────────────────────────────────────────────────────


def write_json(path: Path, value: object) -> None:
    """Write a noun as readable JSON, atomically."""
    _replace(path, _dumped(value, indent=2) + "\n")


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
    _replace(path, "".join(lines))
    return len(lines)


def read_jsonl(path: Path, kind: type[T]) -> list[T]:
    """Every noun of a JSONL file; `InputError` names the file and the line of a mistake."""
    nouns = []
    # Not splitlines: U+2028 and its kin may stand raw inside a reply.
    for number, text in enumerate(decode_text(path.read_bytes(), file=path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            nouns.append(from_json(kind, json.loads(text)))
        except (json.JSONDecodeError, InputError, TypeError, ValueError, RecursionError) as err:
            raise InputError(f"`{path}` line {number}: {err}") from err
    return nouns


def write_parquet(path: Path, nouns: Iterable[object], kind: type) -> int:
    """Write nouns as Parquet, atomically; the same nouns give the same bytes. Returns how many rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _arrow_schema(kind)
    rows = [to_json(noun) for noun in nouns]
    temporary = path.with_name(path.name + ".part")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")
    os.replace(temporary, path)
    return len(rows)


def read_parquet(path: Path, kind: type[T], *, where: Mapping[str, Collection[str]] | None = None) -> list[T]:
    """Every noun of a Parquet file that `write_parquet` wrote; with `where`, those whose texts are among the given."""
    import pyarrow.parquet as pq

    mappings = [name for name, hint in typing.get_type_hints(kind).items() if _is_mapping(hint)]
    filters = [(column, "in", list(wanted)) for column, wanted in (where or {}).items()]
    rows = pq.read_table(path, filters=filters or None).to_pylist()
    for row in rows:
        for name in mappings:
            row[name] = dict(row[name])
    return [from_json(kind, row) for row in rows]


def _is_mapping(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _arrow_schema(kind: type) -> Any:
    import pyarrow as pa

    hints = typing.get_type_hints(kind)
    return pa.schema([pa.field(f.name, _arrow_type(hints[f.name])) for f in dataclasses.fields(kind)])


def _arrow_type(hint: Any) -> Any:
    import pyarrow as pa

    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _arrow_type(next(a for a in args if a is not type(None)))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return pa.struct(list(_arrow_schema(hint)))
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
            stream.write("".join(_line(noun) for noun in nouns).encode())
            stream.flush()
            os.fsync(stream.fileno())


def _line(noun: object) -> str:
    return _dumped(noun) + "\n"


def _dumped(value: object, **how: Any) -> str:
    """JSON that can be encoded: a lone surrogate that got past a door must not end a run."""
    return repair_text(json.dumps(to_json(value), ensure_ascii=False, allow_nan=False, **how)).text


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
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
