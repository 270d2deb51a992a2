"""Experiments as graphs: tasks with what each needs, and the cells (arms × seeds) whose numbers stand on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.store.artifacts import digest_json

PREPARED, REPLIES = "prepared", "replies"  # how roles begin that are stages of data, and of replies


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One stage to run. Two tasks with the same kind, settings and needs are the same task."""

    key: str
    kind: str  # of `harness.experiment.kinds`
    settings: Mapping[str, Any]  # JSON
    needs: Mapping[str, str]  # role → key of the task whose result is needed
    label: str  # as the screen shows it
    is_joint: bool = False  # over all arms: goes with those of its replies that came through


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One arm with one seed: which tasks its numbers stand on."""

    name: str  # `a5 · 11`; where nothing is trained, the arm's own
    arm: str
    seed: int
    prepared: str  # key of the task that cut the windows for this arm's base
    adapter: str | None  # key of the last training; None: the model, endpoint or file as it is
    settings: Mapping[str, Any]  # JSON that says which variant is asked, and what
    needs: Mapping[str, str]  # role → key of what has to be there before it can be
    generate: str | None = None
    heldout: str | None = None
    judged: Mapping[str, str] = field(default_factory=dict)  # judge's folder → key

    @property
    def label(self) -> str:
        """An untrained arm is the same for every seed, and is asked once."""
        return self.arm if self.adapter is None else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Tasks in an order in which each comes after what it needs, and the cells that stand on them."""

    tasks: Mapping[str, Task]
    cells: tuple[Cell, ...]
    shipped: str | None  # key of the shipped measures that need no judge
    own: Mapping[str, str]  # measure that is a function → key
    qualify: Mapping[str, str]  # judge's folder → key

    def below(self, key: str) -> Iterator[Task]:
        """A task and everything that it needs, each once."""
        seen: set[str] = set()
        waiting = [key]
        while waiting:
            at = waiting.pop()
            if at not in seen:
                seen.add(at)
                waiting += self.tasks[at].needs.values()
                yield self.tasks[at]

    def of_cell(self, cell: Cell) -> dict[str, Task]:
        """Every task that a cell's own numbers stand on; a verdict against the control stands on that as well."""
        scored = [key for key in cell.judged.values() if self.tasks[key].kind != "versus"]
        ends = [cell.adapter or cell.prepared, cell.generate, cell.heldout, *scored]
        return {task.key: task for end in ends if end is not None for task in self.below(end)}

    def users(self) -> dict[str, list[Cell]]:
        """Task → the cells that need it."""
        found: dict[str, list[Cell]] = {key: [] for key in self.tasks}
        for cell in self.cells:
            for key in self.of_cell(cell):
                found[key].append(cell)
        return found


@dataclass(slots=True)
class Builder:
    """Collects tasks; a task that stands already is not added twice."""

    tasks: dict[str, Task] = field(default_factory=dict)

    def add(
        self, kind: str, settings: Mapping[str, Any], needs: Mapping[str, str], label: str, *, is_joint: bool = False
    ) -> str:
        """The key of a task, new or standing."""
        key = digest_json({"kind": kind, "settings": settings, "needs": needs})[:20]
        task = Task(key=key, kind=kind, settings=settings, needs=dict(needs), label=label, is_joint=is_joint)
        self.tasks.setdefault(key, task)
        return key
