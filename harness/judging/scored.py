"""Between generations and judges: blind items out, scores joined back to the rows they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.composing import compose
from harness.errors import InputError
from harness.store.artifacts import digest_json
from harness.types import NO_REPLY, Generation, JudgedItem, Prompt, Score, ScoreStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredGeneration:
    """One row of a score table: whose reply to which prompt, and what a judge made of it."""

    prompt_id: str
    variant: str
    draw: int
    cluster: str
    criterion: str
    judge_id: str
    value: float | None  # None is missing; `status` says why
    status: ScoreStatus
    probabilities: tuple[float, ...] | None = None
    mass: float | None = None
    entropy: float | None = None
    total: float | None = None
    n_tokens: int | None = None
    mode: str
    reason: str
    item_id: str


def item_id(generation: Generation) -> str:
    """The id under which a judge sees a generation: the same every time, and no variant's name in it."""
    return digest_json([generation.prompt_id, generation.variant, generation.draw])[:16]


def judged_items(prompts: Sequence[Prompt], generations: Iterable[Generation]) -> list[JudgedItem]:
    """Blind items, the generations of one prompt together and otherwise in the order of the prompts.

    A generation that failed or was refused has no reply, hence a missing score of that status. Raises InputError when a
    generation answers a prompt that is not given.
    """
    by_prompt: dict[str, list[Generation]] = {p.id: [] for p in prompts}
    for generation in generations:
        if generation.prompt_id not in by_prompt:
            raise InputError(f"`{generation.prompt_id}` must be one of the prompts given, got a generation for it")
        by_prompt[generation.prompt_id].append(generation)
    return [
        JudgedItem(
            id=item_id(generation),
            messages=prompt.messages,
            reply="" if generation.is_missing else generation.text,
            cluster=prompt.cluster,
            is_truncated=generation.finish_reason == "length",
            missing=NO_REPLY.get(generation.finish_reason),
        )
        for prompt in prompts
        for generation in by_prompt[prompt.id]
    ]


def join_scores(generations: Iterable[Generation], scores: Iterable[Score]) -> list[ScoredGeneration]:
    """One row per score, in the order of the scores; InputError on a score of something else."""
    known = {item_id(g): g for g in generations}
    return [_row(known.get(score.item_id), score) for score in scores]


def _row(generation: Generation | None, score: Score) -> ScoredGeneration:
    if generation is None:
        raise InputError(f"`{score.item_id}` must be the item of one of the generations given, got a score for it")
    return compose(ScoredGeneration, generation, score)
