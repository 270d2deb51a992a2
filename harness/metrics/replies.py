"""One row of reference-free measures per generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.errors import InputError
from harness.metrics.length import n_words
from harness.metrics.repetition import echo, repetition
from harness.types import Generation, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyMetrics:
    """What can be said of one reply by looking at it. None is missing."""

    prompt_id: str
    variant: str
    draw: int
    cluster: str
    length: int | None  # words; None when generation failed
    n_tokens: int | None
    repetition: float | None  # share of 3-grams said before; None also for an empty reply
    echo: float | None  # share of 3-grams taken from the context; None also for an empty reply
    cut_off: float | None  # 1 when the reply ran into the cap, 0 when it ended, None where unknown


def reply_metrics(generations: Sequence[Generation], prompts: Sequence[Prompt]) -> list[ReplyMetrics]:
    """A row per generation, in their order.

    Raises:
        InputError: a generation's prompt is not among the prompts.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    for generation in generations:
        if generation.prompt_id not in by_id:
            raise InputError(
                f"`{generation.prompt_id}` must be among the prompts, it is not; give the prompts generated on"
            )
    return [_row(generation, by_id) for generation in generations]


def _row(generation: Generation, prompts: Mapping[str, Prompt]) -> ReplyMetrics:
    came = generation.finish_reason != "error"
    text = generation.text
    context = [message.content for message in prompts[generation.prompt_id].messages]
    is_known = generation.finish_reason in ("stop", "length")
    return ReplyMetrics(
        prompt_id=generation.prompt_id,
        variant=generation.variant,
        draw=generation.draw,
        cluster=generation.cluster,
        length=n_words(text) if came else None,
        n_tokens=generation.n_tokens if came else None,
        repetition=repetition(text) if came else None,
        echo=echo(text, context) if came else None,
        cut_off=float(generation.finish_reason == "length") if is_known else None,
    )
