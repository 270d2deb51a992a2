"""Data of an experiment as a stage: splits, prompts and windows, by whoever prepares them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import InputError, SplitError
from harness.experiment.design import DataDesign
from harness.experiment.kinds import stage_kind
from harness.models.chat_templates import DIALOGUE_SYSTEM
from harness.seeding import stream
from harness.store.prepared import read_prompts
from harness.types import Prompt, Split

if TYPE_CHECKING:
    from harness.experiment.arms import CorpusDesign
    from harness.experiment.session import Session
    from harness.store.tracking import StageResult
    from harness.task_kinds import TaskKind


def prepare(session: Session, data: DataDesign, *, base: Mapping[str, str | None]) -> StageResult:
    """An experiment's data, prepared or found again."""
    return stage_kind("prepare").run(session, prepare_settings(data, base=base), {})


def prepare_settings(
    data: DataDesign | CorpusDesign,
    *,
    base: Mapping[str, str | None],
    limit: int | None = None,
    kind: TaskKind | None = None,
) -> dict[str, Any]:
    """How an experiment's data are prepared: a corpus is split, a file is TEST as a whole.

    Args:
        base: `source` and `revision` of the base whose tokenizer measures windows.
        kind: a task that was said, which has its own system prompt (empty: none but what the rows bring); without one
            it is that of the data's kind.
    """
    system = {} if kind is None else {"system": DIALOGUE_SYSTEM if kind.is_dialogue else ""}
    file = data.file if isinstance(data, DataDesign) else None
    return {
        **system,
        "corpus": file or data.corpus or "sample",
        "whole_split": "test" if file is not None else None,
        "base": dict(base),
        "max_tokens": data.max_tokens,
        "seed": data.seed,
        "limit": limit,
    }


def prompts_of(prepared: StageResult, split: Split) -> list[Prompt]:
    """The prompts of one split of prepared data."""
    return read_prompts(prepared.folder, split)


def draw_prompts(prompts: Sequence[Prompt], *, n: int, seed: int, allowed: Iterable[Split] = ("test",)) -> list[Prompt]:
    """`n` prompts with a human reply, films taking turns in a seeded order; all of them when there are fewer.

    A smaller draw is the beginning of a larger one with the same seed, so that measures with different sizes share
    prompts.

    Raises:
        SplitError: a prompt of a split that is not allowed.
        InputError: no prompt is left.
    """
    permitted = set(allowed)
    strangers = sorted({p.split for p in prompts} - permitted)
    if strangers:
        raise SplitError(f"`prompts` must be of {', '.join(sorted(permitted))}, got some of {', '.join(strangers)}")
    films: dict[str, list[Prompt]] = {}
    for prompt in sorted(prompts, key=lambda p: p.id):
        films.setdefault(prompt.cluster, []).append(prompt)
    if not films:
        raise InputError("`prompts` must hold at least one prompt of TEST; this data has none")
    rng = stream(seed, "prompts")
    order = sorted(films)
    order = [order[i] for i in rng.permutation(len(order))]
    queues = [[films[name][i] for i in rng.permutation(len(films[name]))] for name in order]
    turns = itertools.zip_longest(*queues)
    return [prompt for turn in turns for prompt in turn if prompt is not None][:n]
