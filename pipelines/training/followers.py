"""Launched processes behind the first: one runs the command, the rest train what it orders.

Orders are JSON in the key-value store that the launcher opened for its processes; nothing that executes is passed.
"""

from __future__ import annotations

import functools
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import InputError, ScreentestError
from harness.store.artifacts import from_json, to_json
from harness.types import Adapter
from pipelines.training.methods import METHODS
from pipelines.training.processes import launched, leave

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

Kind = Literal["train", "end"]

PATIENCE = timedelta(days=7)  # a follower waits while the first prepares data; its launcher ends it when the first dies
GRACE_SECONDS = 60.0  # that the first has to meet the refusal that a follower met

_SENT: list[Kind] = []  # orders of this process, so that each has its number


def order(kind: Kind, **settings: Any) -> None:
    """Tell the others to train with the same settings; nothing where no others are."""
    if launched().n > 1:
        _store().set(f"order {len(_SENT)}", json.dumps({"kind": kind, **to_json(settings)}))
        _SENT.append(kind)


def dismiss() -> None:
    """Let the others go; the first process calls it at its end, whatever that was."""
    if launched().n > 1 and launched().is_first:
        order("end")
        leave()


def follow() -> None:
    """Do what the first process orders, until it lets go; this process prints nothing and tracks nothing.

    Raises:
        ScreentestError: something that the first process did not meet as well.
    """
    store, n = _store(), 0
    while True:
        store.wait([f"order {n}"], PATIENCE)
        told = json.loads(store.get(f"order {n}"))
        n += 1
        if told.pop("kind") == "end":
            leave()
            return
        try:
            _train(told)
        except ScreentestError:
            if not _is_dismissed(store, n):
                raise


def _is_dismissed(store: Store, n: int) -> bool:
    """Whether the first process stops too, as it does at whatever is wrong with recipe or data."""
    until = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < until:
        if store.check([f"order {n}"]):
            return True
        time.sleep(0.2)
    return False


def _train(told: dict[str, Any]) -> None:
    runner = METHODS[told["method"]].runner
    folders = {name: Path(folder) for name, folder in told["folders"].items()}
    for folder in folders.values():
        if not folder.is_dir():
            raise InputError(
                f"`{folder}` must be seen by every process: put SCREENTEST_HOME on a disk that all machines share"
            )
    start = {name: from_json(Adapter, adapter) for name, adapter in told["start"].items()}
    runner.run(runner.RECIPE.model_validate(told["recipe"]), **folders, **start)


@functools.cache
def _store() -> Store:
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(iter(rendezvous("env://")))
    return PrefixStore("screentest", store)
