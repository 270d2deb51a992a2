"""Examples chosen by rule, not by hand: prompts where a contrast is largest both ways, typical, and worst."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from harness.experiment.analysis.seeded import Differences
from harness.types import Direction

N_EXAMPLES = 8


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
    orders = (
        ("largest gain", sorted(known, key=lambda p: (-gains[p], p))),
        ("largest loss", sorted(known, key=lambda p: (gains[p], p))),
        ("typical", sorted(known, key=lambda p: (abs(gains[p] - middle), p))),
        ("worst of the treatment", sorted(known, key=lambda p: (levels[p], p))),
    )
    chosen: dict[str, str] = {}
    for prompt, why in _in_turns(orders):
        if len(chosen) == min(n, len(known)):
            break
        chosen.setdefault(prompt, why)
    return chosen


def _in_turns(orders: tuple[tuple[str, list[str]], ...]) -> Iterator[tuple[str, str]]:
    for place in range(len(orders[0][1])):
        for why, prompts in orders:
            yield prompts[place], why


def _by_prompt(rows: Differences, values: np.ndarray) -> dict[str, float]:
    counts = np.bincount(rows.prompts.codes, minlength=rows.prompts.n_labels)
    sums = np.bincount(rows.prompts.codes, weights=values, minlength=rows.prompts.n_labels)
    return {str(label): sums[i] / counts[i] for i, label in enumerate(rows.prompts.labels) if counts[i]}
