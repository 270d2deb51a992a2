"""All arms on one screen: a row per arm, a column per seed, what each is at."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.experiment.graph import Cell, Plan
from harness.experiment.workers.schedule import Event
from harness.terminal import green, red

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

LINE_SECONDS = 15.0  # between two lines where there is no terminal


class Screen:
    """Knows how far every task is; drawn on a terminal, told in lines elsewhere."""

    def __init__(self, plan: Plan, console: Console, *, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._console = console
        self._say = say
        self._began = self._told = time.monotonic()
        self._shares: dict[str, float] = {}
        self._done: dict[str, bool] = {}  # task → whether it was reused
        self._failed: dict[str, str] = {}
        self._live: Live | None = None

    def __enter__(self) -> Screen:
        from rich.live import Live

        if self._console.is_terminal:
            self._live = Live(self.table(), console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        if self._done or self._failed:
            self._say(self.line())

    def on_event(self, event: Event) -> None:
        """Take note, and show it."""
        if event.kind == "progress":
            self._shares[event.key] = event.share
        elif event.kind == "done":
            self._done[event.key] = event.is_reused
            self._shares.pop(event.key, None)
        else:
            self._shares.pop(event.key, None)
            # What stands on a failed stage fails with its words; saying them once is enough.
            if event.message not in self._failed.values():
                self._say(f"  {red('✗')} {self._plan.tasks[event.key].label}: {event.message}")
            self._failed[event.key] = event.message
        if self._live is not None:
            self._live.update(self.table())
        elif time.monotonic() - self._told > LINE_SECONDS:
            self._told = time.monotonic()
            self._say(self.line())

    def line(self) -> str:
        """Everything in one line."""
        n_reused = sum(self._done.values())
        at = ", ".join(f"{self._plan.tasks[k].label} {s:.0%}" for k, s in self._shares.items())
        reused = f", {n_reused} reused" if n_reused else ""
        minutes, seconds = divmod(round(time.monotonic() - self._began), 60)
        open_failures = [key for key in self._failed if key not in self._done]
        failed = f", {len(open_failures)} failed" if open_failures else ""
        return (
            f"  {len(self._done)} of {len(self._plan.tasks)} stages{reused}{failed}, {minutes}:{seconds:02d}"
            f"{': ' + at if at else ''}"
        )

    def table(self) -> Table:
        """Arms down, seeds across."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        shown = Table(box=SIMPLE_HEAD, caption=self.line().strip(), caption_justify="left")
        seeds = list(dict.fromkeys(cell.seed for cell in self._plan.cells))
        shown.add_column("arm")
        for seed in seeds:
            shown.add_column(f"seed {seed}", min_width=18)
        for arm in dict.fromkeys(cell.arm for cell in self._plan.cells):
            cells = {cell.seed: cell for cell in self._plan.cells if cell.arm == arm}
            shown.add_row(arm, *(self.state(cells[seed]) for seed in seeds))
        return shown

    def state(self, cell: Cell) -> str:
        """Where a cell is, in a few words."""
        tasks = self._plan.of_cell(cell)
        if any(key in self._failed and key not in self._done for key in tasks):
            return red("failed")
        n_done = sum(key in self._done for key in tasks)
        if n_done == len(tasks):
            return green("✓")
        at = next((key for key in tasks if key in self._shares), None)
        where = f" {tasks[at].kind.replace('_', ' ')} {self._shares[at]:.0%}" if at is not None else ""
        return f"{n_done}/{len(tasks)}{where}"
