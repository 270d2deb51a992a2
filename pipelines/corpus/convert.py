"""From the forms in which others write rows to ours: prompts, training rows, preference pairs, replies."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.doors.files import read_rows
from harness.doors.forms import ForeignRow, FormError, Target, read_foreign
from harness.doors.text import decode_text, is_absent, parse_json, read_id, shown_keys, unused
from harness.errors import CorpusError, InputError
from harness.store.artifacts import to_json, write_jsonl
from harness.types import Message

_MAX_FILE = 1 << 30  # characters of a .json file


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a file held and what became of it."""

    form: str  # of its first row
    taken: Mapping[str, str]  # what -> the keys that were taken for it -> in how many rows, as words
    left_out: Mapping[str, int]  # rows, by reason
    unread: Mapping[str, int]  # keys that nothing here reads -> rows that have them
    n_thoughts: int  # reasoning that was left out
    n_repaired: int  # characters that could not be stored
    rows: tuple[Mapping[str, Any], ...]  # in our form
    first: tuple[Message, ...]  # the first row as messages, what is learned or replied last
    rejected: str | None  # of the first row


def convert(file: Path, *, to: Target) -> Conversion:
    """Read every row of a file in any known form: JSON Lines, one JSON list, or Parquet.

    Raises:
        InputError: no such file. CorpusError: it cannot be read, or holds nothing that can be converted.
    """
    left_out: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    known: list[tuple[Mapping[str, Any], ForeignRow]] = []
    repairs: list[int] = []
    for value in _values(file, repairs.append):
        try:
            row = read_foreign(value)
            _require(row, to)
            ids = {key: read_id(value.get(key), key) for key in ("id", "prompt_id", "question_id", "uid", "cluster")}
        except FormError as err:
            left_out[str(err)] += 1
            continue
        except InputError:
            left_out["rows with an id or a cluster that is no text"] += 1
            continue
        known.append(({**value, **ids}, row))
        unread.update(row.unread)
        taken.update(f"{what} from {keys}" for what, keys in row.taken.items())
    if not known:
        said = "; ".join(f"{n:,} {reason}" for reason, n in left_out.items()) or "no rows"
        raise CorpusError(file, f"must hold rows that can be read as {to}, got {said}")
    writer = _Writer(to)
    rows = tuple(made for value, row in known if (made := writer.row(value, row)) is not None)
    left_out["rows that repeat an earlier one"] += len(known) - len(rows)
    first = known[0][1]
    learned = first.reply is not None and to != "prompts"
    reply = (Message(role="assistant", content=first.reply or ""),) if learned else ()
    return Conversion(
        form=first.form,
        taken={what: f"{n:,} rows" for what, n in taken.items()},
        left_out={reason: n for reason, n in left_out.items() if n},
        unread=dict(unread),
        n_thoughts=sum(row.n_reasoning for _, row in known),
        n_repaired=sum(repairs),
        rows=rows,
        first=(*first.history, *reply),
        rejected=first.rejected if to == "pairs" else None,
    )


def write(conversion: Conversion, out: Path) -> int:
    """Write the rows as JSONL; returns how many. Raises InputError: the file is there already."""
    if out.exists():
        raise InputError(f"`{out}` must not be there yet, it is; remove it or name another with `--out`")
    return write_jsonl(out, conversion.rows)


def _values(file: Path, on_repair: Callable[[int], None]) -> Iterator[Mapping[str, Any]]:
    if not file.is_file():
        raise InputError(f"`{file}` must be an existing file of rows (.jsonl, .json or .parquet); there is none")
    if file.suffix.lower() == ".parquet":
        yield from _parquet(file)
    elif file.suffix.lower() == ".json":
        yield from _listed(file, on_repair)
    else:
        for row in read_rows(file, of="data", on_repair=on_repair):
            yield row.value


def _parquet(file: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(file).iter_batches():
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as err:
        raise CorpusError(file, f"must be a Parquet file, got: {str(err).splitlines()[0]}") from err


def _listed(file: Path, on_repair: Callable[[int], None]) -> Iterator[Mapping[str, Any]]:
    text = decode_text(file.read_bytes(), file=file)
    value = parse_json(text, file=file, max_chars=_MAX_FILE, on_repair=on_repair)
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        got = shown_keys(value) if isinstance(value, dict) else type(value).__name__
        raise CorpusError(file, f"must be a list of rows, or hold one as `data`, got {got}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise CorpusError(file, f"row {number} must be a JSON object, got {type(row).__name__}")
        yield row


def _require(row: ForeignRow, to: Target) -> None:
    if to in ("sft", "replies") and is_absent(row.reply):
        raise FormError("rows without a reply")
    if to == "pairs" and (is_absent(row.reply) or is_absent(row.rejected)):
        raise FormError("rows without two replies")
    if to == "pairs" and row.reply == row.rejected:
        raise FormError("rows whose two replies are the same")


class _Writer:
    """Rows in our form; one prompt has one id, whatever it is converted to, so that replies find their prompts."""

    def __init__(self, to: Target) -> None:
        self._to = to
        self._prompts: dict[str, str] = {}  # id -> digest of the prompt that has it
        self._draws: Counter[str] = Counter()
        self._used: set[str] = set()

    def row(self, value: Mapping[str, Any], row: ForeignRow) -> dict[str, Any] | None:
        """The row; None where it says nothing new."""
        asked = _digest(row.history)
        given = next((value[key] for key in ("id", "prompt_id", "question_id", "uid") if value.get(key)), None)
        name = str(given or f"prompt-{asked}")
        if self._prompts.setdefault(name, asked) != asked:
            name = f"{name}-{asked}"
        kept = {key: value[key] for key in ("cluster", "split") if value.get(key)}
        if self._to == "replies":
            self._draws[name] += 1
            return {"prompt_id": name, "text": row.reply, "draw": self._draws[name] - 1}
        history = [_message(m) for m in row.history]
        if self._to == "pairs":
            sides = {
                side: [{"role": "assistant", "content": text}]
                for side, text in (("chosen", row.reply), ("rejected", row.rejected))
            }
            return {"prompt": history, **sides, "prompt_id": name, **kept}
        if self._to == "prompts" and name in self._used:
            return None
        name = unused(name, self._used)
        self._used.add(name)
        if self._to == "prompts":
            return {"id": name, "prompt": history, **kept}
        reply = {"role": "assistant", "content": row.reply}
        if row.learns_all:
            return {"id": name, "messages": [*history, reply], **kept}
        return {"id": name, "prompt": history, "completion": [reply], **kept}


def _message(message: Message) -> dict[str, Any]:
    return {key: said for key, said in to_json(message).items() if said is not None}


def _digest(history: tuple[Message, ...]) -> str:
    content = json.dumps([[m.role, m.content] for m in history])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
