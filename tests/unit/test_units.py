"""Every number names what it counts: rows, clusters and crossed levels are said as what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness import stats
from harness.experiment.analysis.values import counted
from harness.judging.preferences import ComparedGenerations, pairwise_estimates
from harness.reporting.numbers import write_basis
from harness.types import Estimate, Grain


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def crossed(n_rows: int = 3, n_columns: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second = np.repeat(np.arange(n_rows), n_columns), np.tile(np.arange(n_columns), n_rows)
    return rng().normal(size=len(first)), first, second


def seed_variance() -> Estimate:
    values, seeds, films = crossed()
    return stats.seed_components(values, seeds=seeds, clusters=films).seed


def people(claim: str) -> Estimate:
    values, raters, films = crossed()
    found: Estimate = getattr(stats.rater_contrast(values, raters=raters, prompts=films), claim).estimate
    return found


def over_runs() -> Estimate:
    return stats.jonckheere([1.0, 2, 3, 4], ["a", "a", "b", "c"], ["a", "b", "c"], runs="wxyz", rng=rng()).estimate


def over_films() -> Estimate:
    values, arms, films = crossed()
    return stats.page_trend(values, arms.tolist(), [0, 1, 2], clusters=films, rng=rng()).estimate


def sequence() -> Estimate:
    race = stats.BettingSequence()
    race.update(0.5)
    return race.update(1.0).estimate


def naive() -> Estimate:
    votes = stats.read_votes(["a"] * 4, ["b"] * 4, ["left", "right", "left", "tie"], clusters=[1, 1, 2, 2])
    return stats.win_rate(votes, "a", "b").naive


def of_pairs(name: str) -> Estimate:
    """Two pairs, each judged in both orders."""
    said: Any = [("first", "first"), ("second", "first"), ("first", "tie"), ("second", "second")]
    rows = [
        ComparedGenerations(
            prompt_id=f"p{i // 2}", first="a", second="b", draw=0, cluster=f"m{i // 2}", criterion="c", judge_id="j",
            pair_id=f"p{i // 2}", shown_first=shown, preferred=preferred, status="ok", length_difference=i // 2,
            probabilities=None, mass=None, entropy=None, mode="", reason="",
        )
        for i, (shown, preferred) in enumerate(said)
    ]  # fmt: skip
    found: Estimate = getattr(pairwise_estimates(rows, rng=rng()), name)
    return found


def over_seeds() -> Estimate:
    """Two seeds, eight prompts: not sixteen."""
    values, seeds, prompts = crossed(2, 8)
    estimate = stats.paired_contrast(values, 0 * values, clusters=prompts // 2).estimate
    return counted(estimate, n_prompts=len(set(prompts)), n_seeds=len(set(seeds)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (seed_variance, "12 means, 3 seeds"),
        (lambda: people("panel"), "12 ratings, 4 clusters, 3 raters"),
        (lambda: people("people"), "12 ratings, 4 clusters, 3 raters"),
        (over_runs, "4 runs"),
        (over_films, "4 clusters"),
        (over_seeds, "8 ratings, 4 clusters, 2 seeds"),
        (sequence, "2 prompts"),
        (naive, "3 votes"),
        *((lambda name=name: of_pairs(name), "2 pairs, 2 clusters") for name in ("win_share", "position_consistency")),
        *((lambda name=name: of_pairs(name), "4 verdicts, 2 clusters") for name in ("ties", "strength")),
        *((lambda name=name: of_pairs(name), "3 verdicts, 2 clusters") for name in ("decisive", "first_position")),
    ],
)  # fmt: skip
def test_counts_are_of_what_they_say(make: Callable[[], Estimate], said: str) -> None:
    assert write_basis(make(), grain=Grain.RATING) == f"n = {said}, 0 missing"
