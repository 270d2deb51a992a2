"""Prompts with replies that a report shows: chosen by a rule, so that nobody picks them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.experiment.analysis.seeded import Differences, paired_rows, side_of
from harness.judging.scored import ScoredGeneration
from harness.reporting.record import Line, Sample, SampleReply, SampleScore
from harness.store.artifacts import read_json, read_parquet
from harness.types import Direction, Generation, Prompt

if TYPE_CHECKING:
    from pathlib import Path

    from harness.experiment.collect import Collected
    from harness.experiment.design import ExperimentDesign

N_EXAMPLES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What is shown, and why."""

    why: Mapping[str, str]  # prompt → why
    how: str  # they were chosen, in a sentence
    leading: tuple[str, ...] = ()  # arms whose replies come first


def examples_of(design: ExperimentDesign, collected: Collected, noun: str) -> Examples:
    """Prompts to show, by the first declared contrast that has any."""
    asked = [prompt.id for prompt in collected.prompts]
    for measure in design.family.measures:
        better = design.better(measure)
        by_arm = {arm.arm: arm for arm in collected.arms if arm.measure == measure}
        for contrast in design.contrasts:
            treatment, reference = (side_of([by_arm.get(name) for name in side]) for side in contrast.sides)
            rows = None if treatment is None or reference is None else paired_rows(treatment, reference)
            chosen = choose_examples(rows, better=better, among=asked) if rows is not None and better else {}
            if chosen:
                how = f"Chosen by rule on {measure.replace('_', ' ')}, {contrast.name}; nobody picked them"
                leading = tuple(arm for side in reversed(contrast.sides) for arm in side)
                return Examples(why=chosen, how=how, leading=leading)
    drawn = f"The first {N_EXAMPLES} prompts of a draw that takes {noun}s in turn, seed {design.seed}"
    return Examples(why=dict.fromkeys(asked[:N_EXAMPLES], ""), how=drawn)


def choose_examples(
    rows: Differences, *, better: Direction, among: Collection[str], n: int = N_EXAMPLES
) -> dict[str, str]:
    """Prompts to show → why: two largest gains, two largest losses, two typical, two worst of the treatment.

    Ties go by the prompt's id, and a prompt is shown for its first reason, so that the choice is nobody's.

    Args:
        rows: paired differences of the contrast that the report asks about; seeds are averaged.
        among: prompts that have replies to show.
    """
    sign = 1.0 if better == "higher" else -1.0
    gains, levels = _by_prompt(rows, rows.values * sign), _by_prompt(rows, rows.treatment * sign)
    known = sorted(gains.keys() & set(among))
    if not known:
        return {}
    middle = float(np.median([gains[prompt] for prompt in known]))
    orders = {
        "largest gain": sorted(known, key=lambda p: (-gains[p], p)),
        "largest loss": sorted(known, key=lambda p: (gains[p], p)),
        "typical": sorted(known, key=lambda p: (abs(gains[p] - middle), p)),
        "worst of the treatment": sorted(known, key=lambda p: (levels[p], p)),
    }
    chosen: dict[str, str] = {}
    for turn in zip(*orders.values(), strict=True):
        for why, prompt in zip(orders, turn, strict=True):
            if len(chosen) < n:
                chosen.setdefault(prompt, why)
    return chosen


def _by_prompt(rows: Differences, values: np.ndarray) -> dict[str, float]:
    counts = np.bincount(rows.prompts.codes, minlength=rows.prompts.n_labels)
    sums = np.bincount(rows.prompts.codes, weights=values, minlength=rows.prompts.n_labels)
    return {str(label): sums[i] / counts[i] for i, label in enumerate(rows.prompts.labels) if counts[i]}


def samples(design: ExperimentDesign, collected: Collected, examples: Examples) -> tuple[Sample, ...]:
    """The chosen prompts with the replies of each arm's first seed, and what judges said of them."""
    order = dict.fromkeys((*examples.leading, *design.arm_names))
    first = {arm: cells[0] for arm in order if (cells := collected.of_arm(arm)) and cells[0].generations}
    marks: dict[tuple[str, str, int], list[SampleScore]] = defaultdict(list)
    for file, owners in collected.scores.items():
        for score in scores_of(file, list(examples.why)):
            reason = score.reason if "explain" in score.mode and score.status == "ok" else ""
            mark = SampleScore(measure=score.criterion, value=score.value, status=score.status, reason=reason)
            for cell in owners.get(score.variant, ()):
                if cell.arm in first and first[cell.arm].cell.name == cell.name:
                    marks[score.prompt_id, cell.arm, score.draw].append(mark)
    replies: dict[tuple[str, str], Generation] = {}  # the first draw there is
    for arm, found in first.items():
        for generation in found.generations:
            replies.setdefault((generation.prompt_id, arm), generation)
    titles = {row["id"]: row["title"] for row in read_json(collected.prepared.folder / "clusters.json")}
    prompts = {prompt.id: prompt for prompt in collected.prompts}
    return tuple(
        Sample(
            prompt_id=key,
            title=titles.get(prompts[key].cluster) or prompts[key].cluster,
            history=tuple(Line(speaker=m.name or "", text=m.content) for m in prompts[key].messages),
            reference=_reference(prompts[key]),
            replies=tuple(
                SampleReply(
                    variant=arm,
                    text=reply.text,
                    finish_reason=reply.finish_reason,
                    scores=tuple(marks.get((key, arm, reply.draw), ())),
                )
                for arm in first
                if (reply := replies.get((key, arm))) is not None
            ),
            why=why,
        )
        for key, why in (examples.why.items() if first else ())
    )


def scores_of(file: Path, prompt_ids: Collection[str]) -> list[ScoredGeneration]:
    """Every score of the replies to these prompts."""
    return read_parquet(file, ScoredGeneration, where={"prompt_id": prompt_ids})


def _reference(prompt: Prompt) -> Line | None:
    """The human reply, by the character who answers: the one whose lines are the assistant's."""
    speaker = next((m.name for m in reversed(prompt.messages) if m.role == "assistant" and m.name), "")
    return None if prompt.reference is None else Line(speaker=speaker, text=prompt.reference)
