"""What a person sees: progress and messages on stderr, results on stdout, JSON only where asked."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.terminal import dim, green, rendered

if TYPE_CHECKING:
    from rich.console import Console

    from harness.types import Progress

    OnProgress = Callable[[Progress], None]

# The options that many verbs share, spelled once.
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
SeedOption = Annotated[int, typer.Option(help="Seed of every random stream of this command.", min=0, max=2**32 - 1)]
ForceOption = Annotated[bool, typer.Option("--force", help="Run every stage again, even where its result stands.")]
LimitOption = Annotated[
    int | None, typer.Option(help="At most this many windows of each split, drawn by the seed: for a try.", min=1)
]
KeepThinkingOption = Annotated[
    bool,
    typer.Option(
        "--keep-thinking", help="Leave a model's thinking in its replies, to be measured and judged with them."
    ),
]
EndpointsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint",
        help="Server that replies in this process's place, e.g. http://gpu1:8000/v1, serving bases and registered "
        "adapters as `screentest serve` does; given again, requests are dealt in turn.",
    ),
]
BudgetOption = Annotated[
    float | None,
    typer.Option(
        "--budget-usd",
        help="Stop before endpoints could cost this command more. What was answered is kept: run again for the rest, "
        "whose budget counts anew.",
        min=0,
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show the calls, tokens and price of endpoints; send nothing.")
]
CorpusOption = Annotated[
    str, typer.Option(help="`sample`, `cornell`, a folder or zip in Cornell's format, ConvoKit, or a .jsonl file.")
]


@functools.cache
def _console_class() -> type[Console]:
    from rich.console import Console
    from rich.text import Text

    class Literal(Console):
        """Prints every text as it is: brackets are no markup, colons no emoji; styles come from `harness.terminal`."""

        def render_str(self, text: str, *, style: Any = "", **how: Any) -> Text:
            shown = rendered(text)
            shown.stylize(style)
            shown.justify, shown.overflow = how.get("justify"), how.get("overflow")
            return shown

    return Literal


def stderr() -> Console:
    """The console of messages."""
    return _console_class()(stderr=True, highlight=False)


def stdout() -> Console:
    """The console of results: tables for a person, plain when piped."""
    return _console_class()(highlight=False)


def say(text: str) -> None:
    """A message to the person."""
    stderr().print(text, soft_wrap=True)  # a path that is broken over lines cannot be copied


def fail(text: str) -> None:
    """An error in one sentence."""
    from rich.text import Text

    stderr().print(Text("error: ", style="bold red").append(Text(text, style="default")), soft_wrap=True)


def emit(result: Mapping[str, Any] | Sequence[Any]) -> None:
    """The result as JSON on stdout: the last thing a verb prints."""
    sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of results on stdout."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(title=title or None, box=SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*row)
    stdout().print(shown)


@contextlib.contextmanager
def progress(label: str) -> Iterator[OnProgress]:
    """A bar with rate and time left on a terminal; a line every ten seconds elsewhere."""
    console = stderr()
    if not console.is_terminal:
        with _lines(label) as on_progress:
            yield on_progress
        return
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<22}", markup=False),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[rate]:>14}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=None, rate="", note="")
        rate = _Rate()

        def on_progress(state: Progress) -> None:
            bar.update(task, completed=state.done, total=state.total, note=state.note, rate=rate.text(state))

        yield on_progress
    say(f"  {green('✓')} {label} {dim(rate.summary())}")


@contextlib.contextmanager
def _lines(label: str) -> Iterator[OnProgress]:
    rate = _Rate()
    last = time.monotonic()

    def on_progress(state: Progress) -> None:
        nonlocal last
        text = rate.text(state)
        if time.monotonic() - last > 10:
            last = time.monotonic()
            share = f"{state.done / state.total:.0%}" if state.total else f"{state.done:g}"
            say(f"  {label}: {share}, {text}{rate.left(state)}{', ' + state.note if state.note else ''}")

    yield on_progress
    say(f"  {label}: done, {rate.summary()}")


class _Rate:
    """Speed since the first report, so that loading a model does not count as work."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._first: tuple[float, float] | None = None
        self._state: Progress | None = None

    def text(self, state: Progress) -> str:
        now = time.monotonic()
        self._state = state
        if self._first is None:
            self._first = (now, state.done)
            return ""
        speed = self._speed(now)
        return f"{speed:,.0f} {state.unit}/s" if speed >= 10 else f"{speed:.1f} {state.unit}/s"

    def left(self, state: Progress) -> str:
        speed = self._speed(time.monotonic())
        return f", {(state.total - state.done) / speed:.0f} s left" if speed > 0 and state.total else ""

    def summary(self) -> str:
        seconds = f"{time.monotonic() - self._begun:.1f} s"
        if self._state is None:
            return seconds
        return f"{self._state.done:,.0f} {self._state.unit}, {seconds}"

    def _speed(self, now: float) -> float:
        if self._first is None or self._state is None or now <= self._first[0]:
            return 0.0
        return (self._state.done - self._first[1]) / (now - self._first[0])


def use_endpoints(urls: Sequence[str] | None) -> None:
    """Have this command and its workers ask these servers for replies.

    Raises:
        InputError: one of them is no address.
    """
    from harness.errors import InputError
    from harness.settings import ENDPOINTS

    for url in urls or ():
        if not url.startswith(("http://", "https://")) or "#" in url or "," in url:
            raise InputError(f"`--endpoint` must be the base URL of a server, e.g. http://gpu1:8000/v1, got {url!r}")
    if urls:
        os.environ[ENDPOINTS] = ",".join(urls)
