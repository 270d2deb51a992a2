"""Which task an experiment is about: what its file or its caller says, else what its data look like, in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.experiment.kinds import provider
from harness.judging.spec import load_judge_spec
from harness.task_kinds import DIALOGUE, TaskKind, find_task, guess

ROWS = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataLook:
    """What data hold, before any work."""

    is_dialogue: bool  # every turn is a reply, as in a film
    has_system: bool  # all rows bring the same system message
    prompts: tuple[str, ...]
    references: tuple[str, ...]  # empty where a prompt has none
    unit: str  # what is resampled
    n_clusters: int
    lines: tuple[str, ...]  # what was split, merged, repaired or not taken

    @property
    def n_references(self) -> int:
        """Prompts that have one."""
        return sum(map(bool, self.references))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A task, and why where nobody said it."""

    kind: TaskKind
    why: str
    look: DataLook | None  # None: a corpus of films, which is read when it is prepared
    is_named: bool = False

    @property
    def has_references(self) -> bool:
        """Whether prompts have any; those of films do."""
        return self.look is None or self.look.n_references > 0


def choose_task(data: str | None, *, named: str | None = None) -> Chosen:
    """The task that was named, else the one that rows of a JSONL file look like; corpora of films are dialogue.

    Raises InputError: there is no such task, or the file cannot be read.
    """
    look = provider().look_at(data) if data is not None and Path(data).suffix.lower() in ROWS else None
    if named is not None:
        return Chosen(kind=find_task(named), why="", look=look, is_named=True)
    if look is None or look.is_dialogue:
        return Chosen(kind=DIALOGUE, why="", look=look)
    found = guess(look.prompts, look.references)
    return Chosen(kind=found.kind, why=found.why, look=look)


def of_design(design: Mapping[str, Any], *, named: str | None = None) -> Chosen:
    """The task of an experiment's data, as its caller, its file or its rows say.

    Raises InputError: there is no such task, or the rows cannot be read.
    """
    asked = design.get("data")
    source = asked.get("file") or asked.get("corpus") if isinstance(asked, Mapping) else None
    return choose_task(source if isinstance(source, str) else None, named=named or design.get("task"))


def with_task(design: dict[str, Any], chosen: Chosen) -> dict[str, Any]:
    """An experiment's data with its task, which its judges are told; dialogue is written down where it was named."""
    if chosen.kind.is_dialogue:
        keeps_its_own = chosen.look is not None and chosen.look.has_system
        return design | ({"task": chosen.kind.name} if chosen.is_named and not keeps_its_own else {})
    return design | {
        "task": chosen.kind.name,
        **({"task_why": chosen.why} if chosen.why else {}),
        "measures": {name: _told(said, chosen.kind) for name, said in (design.get("measures") or {}).items()},
    }


def told_judge(judge: Path, *, source: str | None, say: Callable[[str], None]) -> Path:
    """A judge outside an experiment, told the task that its data look like, unless it names one: `JUDGE#exact`."""
    chosen = choose_task(source)
    if chosen.kind.is_dialogue or "#" in judge.name or not load_judge_spec(judge).kind.is_dialogue:
        return judge
    say(f"{judge.name}: data {chosen.why.replace('`--task`', f'`{judge.name}#TASK`')}")
    return judge.with_name(f"{judge.name}#{chosen.kind.name}")


def _told(measure: Any, kind: TaskKind) -> Any:
    """A judge with the task that it judges: `judges/gpt-4o-mini#exact`."""
    judge = measure.get("judge") if isinstance(measure, dict) else None
    is_untold = isinstance(judge, str) and "#" not in judge
    return measure | {"judge": f"{judge}#{kind.name}"} if is_untold else measure
