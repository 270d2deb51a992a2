"""Rows of measures that are plain functions: a value, or the reason why there is none, and never a guess."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.doors import functions
from harness.errors import InputError
from harness.measures.diversity import jackknife
from harness.measures.measure import Measure, MeasuredReply, read_value, reply_arguments
from harness.measures.text_measures import blank_row, reply_status
from harness.models.metering import Meter
from harness.models.protocol import OnProgress
from harness.types import Generation, Prompt, ScoreStatus


def measured_rows(
    measure: Measure,
    generations: Sequence[Generation],
    prompts: Sequence[Prompt],
    *,
    on_progress: OnProgress | None = None,
) -> list[MeasuredReply]:
    """A row per generation, or per variant and film: jackknife values, whose mean is the measure itself.

    A reply without text, a prompt without the reference that is asked for, and an exception of the function's make a
    missing row with its reason.
    """
    if measure.origin == "variant":
        return _variant_rows(measure, generations)
    by_id = {prompt.id: prompt for prompt in prompts}
    asked = measure.asked
    others = _opponents(generations) if measure.origin == "pair" else {}
    meter = Meter(len(generations), "replies", on_progress)
    rows = []
    for generation in generations:
        rows.append(_reply_row(measure, generation, by_id[generation.prompt_id], asked, others))
        meter.advance(1, 1)
    return rows


def _reply_row(
    measure: Measure,
    generation: Generation,
    prompt: Prompt,
    asked: Sequence[str],
    others: Mapping[tuple[str, int], Sequence[Generation]],
) -> MeasuredReply:
    empty = blank_row(generation)
    if "reference" in asked and not (prompt.reference or "").strip():
        return replace(empty, status="unsupported", reason="the prompt has no reference")
    if empty.status in ("empty", "refused") and measure.silence is not None:
        return replace(empty, value=measure.silence, status="ok")
    if empty.status != "ok" and "generation" not in asked:
        return empty
    named = reply_arguments(generation, prompt, asked)
    if measure.origin != "pair":
        return _told(measure, empty, lambda: measure(generation.text, **named))
    beside = [
        g for g in others[generation.prompt_id, generation.draw]
        if g.variant != generation.variant and reply_status(g) == "ok"
    ]  # fmt: skip
    if not beside:
        return replace(empty, status="unsupported", reason="no other variant has a reply of this draw")
    against = [functools.partial(measure, generation.text, other=g.text, **named) for g in beside]
    values = [_told(measure, empty, ask) for ask in against]
    lost = next((row for row in values if row.value is None), None)
    return lost or replace(values[0], value=math.fsum(row.value or 0.0 for row in values) / len(values))


def _told(measure: Measure, empty: MeasuredReply, ask: Callable[[], Any]) -> MeasuredReply:
    """One call of the function as a row."""
    try:
        said = ask()
    except Exception as err:  # noqa: BLE001  # a function of the user's may raise anything
        return replace(empty, status="failed", reason=functions.failure(err))
    value = read_value(said, measure)
    if value is None:
        return replace(empty, status="unsupported", reason=f"{measure.name} returned None")
    return replace(empty, value=value, status="ok", reason="")


def _variant_rows(measure: Measure, generations: Sequence[Generation]) -> list[MeasuredReply]:
    by_variant: dict[str, dict[str, list[str]]] = {}
    for g in generations:
        films = by_variant.setdefault(g.variant, {})
        films.setdefault(g.cluster, []).extend([g.text] if reply_status(g) == "ok" else [])
    rows = []
    for variant, films in by_variant.items():
        filled = {film: texts for film, texts in films.items() if texts}
        status: ScoreStatus = "ok"
        reason, values = "", {}
        try:
            values = jackknife(filled, lambda texts: read_value(measure(list(texts)), measure))
        except InputError:
            raise
        except Exception as err:  # noqa: BLE001  # a function of the user's may raise anything
            status, reason = "failed", functions.failure(err)
        for film in sorted(films):
            value = values.get(film)
            lack: ScoreStatus = "empty" if film not in filled else "unsupported" if status == "ok" else status
            row = MeasuredReply(
                prompt_id=film, variant=variant, draw=0, cluster=film, value=value,
                status="ok" if value is not None else lack, reason=reason,
            )  # fmt: skip
            rows.append(row)
    return rows


def _opponents(generations: Sequence[Generation]) -> dict[tuple[str, int], list[Generation]]:
    found: dict[tuple[str, int], list[Generation]] = {}
    for generation in generations:
        found.setdefault((generation.prompt_id, generation.draw), []).append(generation)
    return found
