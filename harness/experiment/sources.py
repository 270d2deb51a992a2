"""What a Python caller hands over as data, as a variant or as a measure: brought to the form that files have."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from harness.doors import functions
from harness.errors import InputError
from harness.experiment.compare import Side, judge_measures
from harness.experiment.design import VariantDesign
from harness.judging.own import OwnJudge
from harness.judging.spec import GROUP
from harness.measures.catalogue import find_measure
from harness.measures.measure import Measure
from harness.settings import Settings

GIVEN = "given"  # folder in the work folder
FORMS = "a file, a pandas DataFrame, a list of dicts or a datasets.Dataset"


def data_file(data: Any, settings: Settings) -> Path:
    """The rows as a JSONL file, named by its content where they come from memory.

    Raises InputError: it is no table of rows, is empty, or a value cannot be written.
    """
    if isinstance(data, str | os.PathLike):
        return Path(data)
    rows = [_plain_row(row, place) for place, row in enumerate(_rows_of(data))]
    if not rows:
        raise InputError(f"`data` must be {FORMS} with at least one row, got none")
    text = "".join(json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n" for row in rows)
    file = settings.work / GIVEN / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f"{file.name}.{os.getpid()}.part")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, file)
    return file


def side_of(given: Any, settings: Settings, *, base: str | None) -> Side:
    """A variant: as on a command line, rows of replies, a model in memory with its tokenizer, or a function.

    Raises InputError: it is none of them.
    """
    if isinstance(given, str | os.PathLike):
        return Side.of(os.fspath(given), base=base)
    if isinstance(given, tuple) and len(given) == 2 and not all(isinstance(part, Mapping) for part in given):
        from harness.models.own import LiveModel

        live = LiveModel.of(*given)
        functions.lend(live.key, live)
        name = live.base.source if live.adapter is None else f"{live.adapter.name} on {live.base.source}"
        return Side(text=name, design=VariantDesign(given=live.key))
    if hasattr(given, "state_dict") and hasattr(given, "generate"):
        kind = type(given).__name__
        raise InputError(
            f"`control` and `treatment` must be `(model, tokenizer)` for a model in memory, got {kind} alone"
        )
    if callable(given):
        code = functions.code_digest(given)
        functions.lend(code, given)
        label = getattr(given, "__name__", type(given).__name__).strip("<>")
        return Side(text=label, design=VariantDesign(given=code))
    file = data_file(given, settings)
    return Side(text=f"replies {file.stem[:8]}", design=VariantDesign(generations=str(file)))


def declared_measures(given: Iterable[Any], *, beside: Path | None = None) -> dict[str, dict[str, Any]]:
    """Measures of a call as a file declares them: names, addresses, `@measure`s, `@judge`s, judges' folders.

    Raises InputError: one of them is nothing of the kind.
    """
    functions.look_in(beside or Path.cwd())
    declared: dict[str, dict[str, Any]] = {}
    for one in given:
        for name, said in _declared(one).items():
            if name in declared:
                raise InputError(f"`measures` must have different names, got {name} twice: give one another `name`")
            declared[name] = said
    return declared


def require_importable(declared: Mapping[str, Mapping[str, Any]], *, who: str) -> None:
    """Refuse functions that worker processes cannot find.

    Raises InputError: one was defined in a notebook, in a script or inside a function.
    """
    for name, said in declared.items():
        address = str(said.get("measure") or Path(said.get("judge") or "").name.partition("#")[0])
        if functions.is_address(address) and not functions.is_importable(address):
            raise InputError(
                f"`{name}` must lie in a module for `{who}`, whose workers import it by name, got {address}, which "
                "only this process has: move it into a file of your own, e.g. my_measures.py, and import it from there"
            )


def judge_path(judge: Any) -> Path:
    """Where `load_judge_spec` finds a judge: its folder, or the `module:name` of its function.

    Raises InputError: it is no judge.
    """
    if isinstance(judge, OwnJudge):
        functions.lend(judge.address, judge)
        return (functions.root_of(judge.address) or Path()) / judge.address
    if isinstance(judge, str | os.PathLike):
        return Path(judge)
    raise InputError(f"`judge` must be a folder, `module:name` or a function under @st.judge, got {judge!r}")


def _declared(one: Any) -> dict[str, dict[str, Any]]:
    if isinstance(one, Measure):
        if one.function is None:
            return {one.name: {}}
        functions.lend(one.address, one)
        return {one.name: {"measure": one.address}}
    if isinstance(one, str) and not (Path(one) / "judge.yaml").is_file():
        if functions.is_address(one):
            return _declared(functions.load(one))
        if find_measure(one) is not None or functions.entry_point(GROUP, one) is None:
            return {one: {}}
    if isinstance(one, OwnJudge | str | os.PathLike):
        return judge_measures([judge_path(one)])
    raise InputError(
        f"`measures` must be names, judges' folders and functions under @st.measure or @st.judge, got {one!r}"
    )


def _rows_of(data: Any) -> Iterator[Any]:
    """Rows of a table, by what it can do: neither pandas nor datasets is imported for it."""
    if hasattr(data, "to_dict") and hasattr(data, "columns"):
        return iter(data.to_dict("records"))
    if hasattr(data, "to_list") and hasattr(data, "features"):
        return iter(data.to_list())
    if isinstance(data, Mapping | bytes) or not isinstance(data, Iterable):
        raise InputError(f"`data` must be {FORMS}, got {type(data).__name__}")
    return iter(data)


def _plain_row(row: Any, place: int) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise InputError(f"row {place} of `data` must be a dict, got {type(row).__name__}")
    plain = {str(key): _plain(value, where=f"`{key}` of row {place}") for key, value in row.items()}
    # A table has a place for every column in every row; what is not there is left out.
    return {key: value for key, value in plain.items() if value is not None or key in ("text", "value")}


def _plain(value: Any, *, where: str) -> Any:
    if hasattr(value, "tolist"):  # of NumPy
        value = value.tolist()
    if (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or type(value).__name__ in ("NAType", "NaTType")
    ):
        return None
    if isinstance(value, Mapping):
        return {str(k): p for k, v in value.items() if (p := _plain(v, where=where)) is not None}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(v, where=where) for v in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise InputError(f"{where} must be text, a number, a list or a dict, got {type(value).__name__}")
