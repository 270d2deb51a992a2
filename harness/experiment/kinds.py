"""Stage kinds: each kind of stage declared once, by whoever does its work; the engine runs those it is given.

The library declares what replies, scores and judges; packages that make adapters are named by `provide` and declare
how data are prepared and models trained. So the engine imports none of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import StageError

if TYPE_CHECKING:
    from harness.config import StrictConfig
    from harness.experiment.planning.pace import Effort
    from harness.experiment.session import Session
    from harness.experiment.task_choice import DataLook
    from harness.reporting.record import AuditRow
    from harness.store.prepared import SplitSummary
    from harness.store.tracking import StageResult, Tracking
    from harness.types import PreferencePair, Variant

Needed = Mapping[str, "StageResult"]  # role → the finished stage that plays it
BASE_FOLDER = "model"  # inside the folder of a stage that makes a base


@dataclass(frozen=True, slots=True, kw_only=True)
class StageKind:
    """What a kind of stage is to the engine."""

    name: str
    run: Callable[[Session, Mapping[str, Any], Needed], StageResult]  # settings are JSON
    weight: float  # about how long it takes beside others; decides the order alone
    recipe: Callable[[], type[StrictConfig]] | None = None  # the shape of its settings, where a file states them
    is_on_device: bool = True  # wants a GPU where there is one
    is_training: bool = False  # loads a model of its own, and wants the memory
    record: str | None = None  # of a training: the file in its folder that has tokens and curves
    words: str = ""  # as a reader meets it
    section: str = ""  # of a training method: its recipe's key in `recipes`, and the overrides that it reads
    follows: str | None = None  # the method whose adapter it goes on from
    reads_pairs: bool = False  # trains on preference pairs
    loss: str = "Nats per token"  # unit of its curves
    # Of what makes adapters: settings, those of what it needs by role, and TRAIN → what it asks of a device.
    effort: Callable[[Mapping[str, Any], Mapping[str, Mapping[str, Any]], SplitSummary], Effort] | None = None


class Provider(Protocol):
    """A module that declares stage kinds."""

    KINDS: Sequence[StageKind]

    def training_audit(
        self, tracking: Tracking, variants: Iterable[Variant], *, prepared: StageResult
    ) -> tuple[AuditRow, ...]:
        """Whether trainings differ in what they should differ in, and in nothing else."""

    def look_at(self, corpus: str) -> DataLook:
        """What data hold, before any work."""

    def pairs_of_file(self, file: Path) -> Sequence[PreferencePair]:
        """The preference pairs in a file of a known form."""


_NAMES: list[str] = []


def provide(module: str) -> None:
    """Name a module that is a `Provider`; it is imported when the first kind is asked for."""
    if module not in _NAMES:
        _NAMES.append(module)


def provider_names() -> tuple[str, ...]:
    """Modules named so far; a worker process is told them."""
    return tuple(_NAMES)


def provider() -> Provider:
    """The module that prepares and trains. Raises StageError: none was named."""
    if not _NAMES:
        raise StageError("no package that prepares data was named; import `pipelines` first")
    found: Any = importlib.import_module(_NAMES[0])
    return found  # type: ignore[no-any-return]


def methods() -> dict[str, StageKind]:
    """The training methods that an arm can go through."""
    return {kind.name: kind for kind in (provider().KINDS if _NAMES else ()) if kind.section}


def stage_kind(name: str) -> StageKind:
    """The kind of that name. Raises StageError: nothing declares it."""
    from harness.experiment.tasks import KINDS

    known = {kind.name: kind for kind in (*KINDS, *(provider().KINDS if _NAMES else ()))}
    if name not in known:
        raise StageError(f"`{name}` must be a kind of stage that is declared, one of {', '.join(known)}")
    return known[name]
