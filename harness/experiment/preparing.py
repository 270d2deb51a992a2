"""Data of an experiment as a stage: splits, prompts and windows, by whoever prepares them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.experiment.kinds import stage_kind
from harness.models.chat import DIALOGUE_SYSTEM
from harness.store.prepared import read_prompts

if TYPE_CHECKING:
    from harness.experiment.design import DataDesign
    from harness.experiment.session import Session
    from harness.experiment.variants import TokenizerSource
    from harness.store.tracking import StageResult
    from harness.task_kinds import TaskKind
    from harness.types import Prompt, Split


def prepare(session: Session, data: DataDesign, *, base: TokenizerSource, limit: int | None = None) -> StageResult:
    """An experiment's data, prepared or found again."""
    return stage_kind("prepare").run(session, prepare_settings(data, base=base, limit=limit), {})


def prepare_settings(
    data: DataDesign, *, base: TokenizerSource, limit: int | None, kind: TaskKind | None = None
) -> dict[str, Any]:
    """How an experiment's data are prepared: a corpus is split, a file is TEST as a whole.

    A task that was said has its own system prompt; without one it is that of the data's kind.
    """
    system = {} if kind is None else {"system": system_setting(kind)}
    return {
        **system,
        "corpus": data.file or data.corpus or "sample",
        "whole_split": "test" if data.file is not None else None,
        "base": {"source": base.base, "revision": base.revision},
        "max_tokens": data.max_tokens,
        "seed": data.seed,
        "limit": limit,
    }


def system_setting(kind: TaskKind) -> str:
    """The system prompt of a task that was said; empty: none but what the rows bring."""
    return DIALOGUE_SYSTEM if kind.is_dialogue else ""


def prompts_of(prepared: StageResult, split: Split) -> list[Prompt]:
    """The prompts of one split of prepared data."""
    return read_prompts(prepared.folder, split)
