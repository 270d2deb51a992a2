"""Every judge that can be named: folders that ship, and functions that installed packages offer."""

from __future__ import annotations

from typing import Any

from harness.doors import functions
from harness.experiment.shipped import experiments_folder
from harness.judging.own import load_own_spec
from harness.judging.spec import GROUP, SPEC_FILE, JudgeSpec, load_judge_spec


def offered_judges() -> list[dict[str, Any]]:
    """A row per judge; `judge` is what an experiment names it by."""
    folders = sorted(file.parent for file in (experiments_folder() / "judges").glob(f"*/{SPEC_FILE}"))
    return [
        *(_row(load_judge_spec(folder), str(folder)) for folder in folders),
        *(_row(load_own_spec(address), name) for name, address in functions.offered(GROUP).items()),
    ]


def _row(spec: JudgeSpec, named: str) -> dict[str, Any]:
    return {
        "name": spec.name,
        "criteria": [criterion.name for criterion in spec.criteria],
        "method": spec.method,
        "model": spec.source,
        "family": spec.family,
        "is_remote": spec.is_remote,
        "judge": named,
    }
