"""Whether preference rows keep away from what is held out: no row of VALIDATION or TEST, and none nearly the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import SplitError
from harness.store.prepared import read_prompts
from harness.types import SPLITS, PreferencePair, Prompt, Split
from pipelines.corpus.duplicates import find_duplicates

HELD_OUT: tuple[Split, ...] = ("validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class NearRow:
    """A preference row that a held-out row nearly repeats."""

    row: int  # index of the pair
    prompt_id: str  # of the pair
    other_prompt_id: str  # the held-out row
    other_split: Split
    why: str  # "prompt" (the same id), "exchange" or "reply", as `pipelines.corpus.duplicates` has it


def held_out_prompts(prepared: Path) -> list[Prompt]:
    """The prompts of VALIDATION and TEST, with their human replies."""
    return [prompt for split in HELD_OUT for prompt in read_prompts(prepared, split)]


def near_held_out(pairs: Sequence[PreferencePair], held: Sequence[Prompt]) -> list[NearRow]:
    """Pairs whose prompt is held out, or of whose exchanges or replies a held-out row is a near-duplicate."""
    known = {prompt.id: prompt for prompt in held}
    found = {
        row: NearRow(row=row, prompt_id=pair.prompt.id, other_prompt_id=pair.prompt.id, other_split=split, why="prompt")
        for row, pair in enumerate(pairs)
        if pair.prompt.id in known and (split := known[pair.prompt.id].split)
    }
    asked = [pair.prompt.messages[-1].content for pair in pairs]
    replies = [reply for pair in pairs for reply in (pair.chosen, pair.rejected)]
    splits = np.array([0] * len(replies) + [SPLITS.index(prompt.split) for prompt in held], dtype=np.int8)
    duplicates = find_duplicates(
        asked=[text for text in asked for _ in (0, 1)] + [prompt.messages[-1].content for prompt in held],
        replies=replies + [_reply(prompt) for prompt in held],
        splits=splits,
    )
    for duplicate in duplicates:
        if duplicate.window >= len(replies):
            continue  # among the held-out rows themselves
        row, other = duplicate.window // 2, held[duplicate.other - len(replies)]
        near = NearRow(
            row=row, prompt_id=pairs[row].prompt.id, other_prompt_id=other.id, other_split=other.split,
            why=duplicate.rule,
        )  # fmt: skip
        found.setdefault(row, near)
    return [found[row] for row in sorted(found)]


def require_apart(pairs: Sequence[PreferencePair], prepared: Path) -> None:
    """Refuse pairs that stand in a held-out split, or nearly so.

    Raises:
        SplitError: at least one does.
    """
    near = near_held_out(pairs, held_out_prompts(prepared))
    if near:
        first = near[0]
        how = "is" if first.why == "prompt" else f"has nearly the same {first.why} as"
        raise SplitError(
            f"preference rows must keep away from VALIDATION and TEST, got {len(near)} of {len(pairs)} that do not: "
            f"`{first.prompt_id}` {how} `{first.other_prompt_id}` of {first.other_split}; drop them"
        )


def _reply(prompt: Prompt) -> str:
    return prompt.reference or ""
