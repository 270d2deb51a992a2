"""Terminal: consoles, styles and progress bars; messages go to stderr, results to stdout.

Styles are kept apart from the words, so that a name with brackets or colons in it is printed as it is: a styled text
carries Unicode noncharacters, which are for use inside a process and stand in no file, and the consoles turn them into
styles and take all else literally.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from harness.types import Progress

    OnProgress = Callable[[Progress], None]

LINE_SECONDS = 10.0  # between two lines of progress where there is no terminal
NOTEBOOK_SECONDS = 0.25  # between two drawings of a notebook's bar
_STYLES = ("bold", "dim", "green", "yellow", "red")
_END = "\ufdd0"
_BEGIN = {style: chr(ord(_END) + 1 + i) for i, style in enumerate(_STYLES)}
_MARK = re.compile(f"([{_END}-{_BEGIN[_STYLES[-1]]}])")


def _styled(style: str, text: object) -> str:
    return f"{_BEGIN[style]}{text}{_END}"


bold = functools.partial(_styled, "bold")  # what the sentence is about
dim = functools.partial(_styled, "dim")  # what may be passed over
green = functools.partial(_styled, "green")  # what is well
yellow = functools.partial(_styled, "yellow")  # what wants attention
red = functools.partial(_styled, "red")  # what failed


def warning(text: object) -> str:
    """A sentence behind a yellow mark."""
    return f"{yellow('!')} {text}"


def is_styled(text: str) -> bool:
    """Whether a text carries styles."""
    return _MARK.search(text) is not None


def rendered(text: str) -> Text:
    """The text with its styles, for a console."""
    from rich.text import Text

    shown, styles = Text(), ["none"]
    for part in _MARK.split(text):
        if part == _END:
            styles = styles[:-1] or ["none"]
        elif _MARK.fullmatch(part):
            styles.append(_STYLES[ord(part) - ord(_END) - 1])
        else:
            shown.append(part, style=" ".join(styles[1:]) or None)
    return shown


@functools.cache
def _console_class() -> type[Console]:
    from rich.console import Console

    class Literal(Console):
        """Prints every text as it is: brackets are no markup, colons no emoji."""

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
    """The console of results; plain when piped."""
    return _console_class()(highlight=False)


def say(text: str) -> None:
    """A message to the person."""
    stderr().print(text, soft_wrap=True)  # a path that is broken over lines cannot be copied


def fail(text: str) -> None:
    """An error in one sentence."""
    say(f"{bold(red('error: '))}{text}")


@contextlib.contextmanager
def progress(label: str) -> Iterator[OnProgress]:
    """A bar with rate and time left on a terminal or in a notebook; a line every ten seconds elsewhere."""
    if in_notebook():
        with _notebook_bar(label) as on_progress:
            yield on_progress
        return
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
    rate = _Rate()
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=None, rate="", note="")

        def on_progress(state: Progress) -> None:
            bar.update(task, completed=state.done, total=state.total, note=state.note, rate=rate.text(state))

        yield on_progress
    say(f"  {green('✓')} {label} {dim(rate.summary())}")


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@contextlib.contextmanager
def _notebook_bar(label: str) -> Iterator[OnProgress]:
    """One output that is drawn anew; what stays is how much was done, and in which time."""
    from html import escape

    notebook: Any = importlib.import_module("IPython.display")
    handle = notebook.display(notebook.HTML(escape(label)), display_id=True)
    rate, last = _Rate(), 0.0

    def on_progress(state: Progress) -> None:
        nonlocal last
        words = ", ".join(filter(None, (rate.text(state), state.note)))
        if time.monotonic() - last > NOTEBOOK_SECONDS:
            last = time.monotonic()
            bar = f'<progress value="{state.done:g}" max="{state.total:g}"></progress>'
            handle.update(notebook.HTML(f"{escape(label)} {bar} {escape(words)}"))

    yield on_progress
    handle.update(notebook.HTML(f"✓ {escape(label)} <small>{escape(rate.summary())}</small>"))


@contextlib.contextmanager
def _lines(label: str) -> Iterator[OnProgress]:
    rate = _Rate()
    last = time.monotonic()

    def on_progress(state: Progress) -> None:
        nonlocal last
        text = rate.text(state)
        if time.monotonic() - last > LINE_SECONDS:
            last = time.monotonic()
            share = f"{state.done / state.total:.0%}" if state.total else f"{state.done:g}"
            say(f"  {label}: {', '.join(filter(None, (share, text, rate.left(state), state.note)))}")

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
        return f"{(state.total - state.done) / speed:.0f} s left" if speed > 0 and state.total else ""

    def summary(self) -> str:
        seconds = f"{time.monotonic() - self._begun:.1f} s"
        return seconds if self._state is None else f"{self._state.done:,.0f} {self._state.unit}, {seconds}"

    def _speed(self, now: float) -> float:
        if self._first is None or self._state is None or now <= self._first[0]:
            return 0.0
        return (self._state.done - self._first[1]) / (now - self._first[0])
