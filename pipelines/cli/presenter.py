"""Presenter: what a verb returns, as tables and lines for a person or, with `--json`, as one JSON object on stdout."""

from __future__ import annotations

import functools
import inspect
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.terminal import fail, is_styled, say, stdout

if TYPE_CHECKING:
    from harness.reporting.numbers import Written
    from harness.types import Estimate

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
_JSON = inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption)
LEVEL = "{level}"  # in the head of a column of estimates: their confidence level
UNKNOWN = "unknown"
FIGURES = ("Figure", f"Value, {LEVEL} interval", "n")  # over rows of `figure`


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows for a person; not shown where there are none."""

    title: str = ""
    columns: Sequence[str]
    rows: Iterable[Sequence[object]]  # a `Written` is shown with its interval, a count with commas, None as empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a verb found."""

    data: object  # for `--json`: nouns become objects of their fields, what is missing stays null
    shown: Iterable[Table | str | Mapping[str, Any]] = ()  # on stdout without it; a mapping is JSON all the same
    notes: Sequence[str] = ()  # on stderr after it, for a person
    failure: str = ""  # why the exit code is another than 0
    exit_code: int = 0


def presented(verb: Callable[..., Result]) -> Callable[..., None]:
    """The command of a verb: takes `--json` besides, and presents what the verb returns."""
    signature = inspect.signature(verb, eval_str=True)

    @functools.wraps(verb)
    def command(*arguments: Any, json: bool, **options: Any) -> None:
        present(verb(*arguments, **options), as_json=json)

    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), _JSON], return_annotation=None
    )
    return command


class Verbs(typer.Typer):
    """A group of commands, each a function that returns a `Result`: `@app.verb("list")` above it."""

    def __init__(self, help: str) -> None:
        super().__init__(help=help, no_args_is_help=True, rich_markup_mode="markdown")

    def verb(self, name: str) -> Callable[[Callable[..., Result]], Callable[..., None]]:
        """Register a function as the command of that name."""
        return lambda function: self.command(name)(presented(function))


def present(result: Result, *, as_json: bool) -> None:
    """Print a result; the last thing that a verb does. Raises typer.Exit: the result has an exit code other than 0."""
    if as_json:
        print_json(result.data)
    else:
        for block in result.shown:
            _show(block)
        for note in result.notes:
            say(note)
    if result.failure:
        fail(result.failure)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def print_json(data: object) -> None:
    """Any noun as one JSON object on stdout; a number that is not finite is missing: null."""
    from harness.store.artifacts import to_json

    sys.stdout.write(json.dumps(_finite(to_json(data)), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def written(estimate: Estimate | None, *, unit: str = "", **how: Any) -> Written | None:
    """A cell of an estimate, written as `write_estimate` does; empty where there is none."""
    from harness.reporting.numbers import write_estimate

    return None if estimate is None else write_estimate(estimate, unit=unit, **how)


def figure(label: str, estimate: Estimate | None, *, unit: str = "", **how: Any) -> tuple[object, ...]:
    """A row of a table: the estimate with its interval, and what it rests on."""
    cell = written(estimate, unit=unit, **how)
    return (label, "not measured", None) if cell is None else (label, cell, counts(cell))


def counts(cell: Written) -> str:
    """What an estimate rests on, for the column beside it: rows, clusters and what is missing."""
    return f"{cell.rows}, {cell.missing}"


def _show(block: Table | str | Mapping[str, Any]) -> None:
    if isinstance(block, Table):
        _draw(block)
    elif not isinstance(block, str):
        print_json(block)
    elif is_styled(block):
        stdout().print(block, soft_wrap=True)
    else:  # as it is, tabs and all: others may read it
        sys.stdout.write(f"{block}\n")


def _draw(table: Table) -> None:
    rows = list(table.rows)
    if not rows:
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Drawn

    from harness.reporting.numbers import Written

    drawn = Drawn(title=table.title or None, box=SIMPLE_HEAD, title_justify="left", title_style="bold")
    for place, column in enumerate(table.columns):
        levels = sorted({cell.level for row in rows if isinstance(cell := row[place], Written)})
        drawn.add_column(column.replace(LEVEL, " or ".join(levels or ["95 %"])), overflow="fold")
    for row in rows:
        drawn.add_row(*map(_cell, row))
    stdout().print(drawn)


def _cell(value: object) -> str:
    from harness.reporting.numbers import Written

    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, Written):
        return value.effect
    raise TypeError(f"a cell is a text, a count or a written estimate, got {type(value).__name__}")


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(value) for value in data] if isinstance(data, list) else data
