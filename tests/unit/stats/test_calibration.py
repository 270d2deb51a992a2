"""A fast part of `make calibrate`: the whole of it takes minutes and writes docs/calibration.md."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from certain import golden
from scipy.stats import t

FOLDER = Path(__file__).resolve().parents[2] / "calibration"


@pytest.fixture(scope="module")
def cells() -> Iterator[ModuleType]:
    """The simulated cells, imported as the script imports them."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("cells")
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("alternatives", "cell", "cells", "crossed_cells", "families", "rate_cells"):
            sys.modules.pop(name, None)


def named(cells: ModuleType, name: str) -> Any:
    return next(cell for cell in cells.all_cells() if f"{cell.table}: {cell.name}" == name)


def simulated(cell: Any, n_draws: int) -> dict[str, float]:
    counts = cell.simulate(n_draws, np.random.default_rng(99))
    return {method: count / n_draws for method, count in counts.items()}


def test_every_cell_has_a_name_of_its_own_and_runs(cells: ModuleType) -> None:
    names = [f"{cell.table}: {cell.name}" for cell in cells.all_cells()]
    assert len(names) == len(set(names)) > 90
    for cell in cells.all_cells():
        counts = cell.simulate(2, np.random.default_rng(0))
        assert all(0 <= count <= 2 for count in counts.values()), cell.name


NAIVE = "rows independent"


@pytest.mark.parametrize(
    ("name", "n_draws", "naive", "at_most"),
    [
        ("contrasts: normal, 8 films, ICC 0.3", 600, NAIVE, 0.8),
        ("contrasts: ordinal 1–5, 20 films, ICC 0.3", 600, NAIVE, 0.8),
        ("means: ordinal 1–5, 20 films, ICC 0.1", 600, NAIVE, 0.8),
        ("means: exponential, 8 films, ICC 0.1", 600, NAIVE, 0.8),
        ("rates: 5 % rate, 8 films, ICC 0.5", 600, "CR2-t", 0.85),
        ("seeds × films: normal, 3 seeds × 10 films, share 50%", 600, "by film only", 0.9),
        ("strengths: 600 votes, 20 films, films differ", 200, "votes independent", 0.75),
        ("other intervals: AUC 0.76, 20 films, ICC 0.25", 300, NAIVE, 0.92),
        ("other intervals: lower decile, 30 films of 10, ICC 0.2", 300, NAIVE, 0.92),
        ("other intervals: Cohen's kappa 0.49, 25 films of 4", 200, None, None),
        ("other intervals: PPI++ mean, 60 films, 15 % marked, biased judge", 200, "judge at its word", 0.1),
    ],
)
def test_intervals_cover_and_naive_ones_do_not(
    cells: ModuleType, name: str, n_draws: int, naive: str | None, at_most: float | None
) -> None:
    cell = named(cells, name)
    shares = simulated(cell, n_draws)
    low, high = cell.target_low, cell.target_high or 1.0
    error = 3 * np.sqrt(low * (1 - low) / n_draws)
    assert low - error <= next(iter(shares.values())) <= high + error
    assert naive is None or at_most is None or shares[naive] < at_most


def test_alternatives_against_limma_and_pbkrtest(cells: ModuleType) -> None:
    alternatives = importlib.import_module("alternatives")
    for case in golden("crossed")["limma"]:
        posterior, df = alternatives.moderated(np.array(case["variances"]), 2)
        assert posterior == pytest.approx(case["posterior"], rel=1e-5)
        assert df == pytest.approx(min(case["prior"] + 2, 2 * len(posterior)))
    for case in golden("crossed")["cases"]:
        table = np.array(case["values"]).reshape(len(set(case["rows"])), -1)
        _, half = alternatives.kenward_roger(table, np.ones(table.shape[1]))
        theirs = case["lme4"]
        assert half == pytest.approx(theirs["se"] * t.ppf(0.975, theirs["kenward_roger_df"]), rel=2e-3)


@pytest.mark.parametrize(
    ("name", "n_draws", "ours", "naive", "at_least"),
    [
        ("type I error of tests: labels swapped, 8 films, ICC 0.3", 600, 0.06, NAIVE, 0.3),
        ("tail asymmetry: pure latent shift of 0.5, 60 films of 30", 200, 0.06, "raw changes compared", 0.3),
    ],
)
def test_tests_hold_their_level_where_naive_ones_do_not(
    cells: ModuleType, name: str, n_draws: int, ours: float, naive: str, at_least: float
) -> None:
    shares = simulated(named(cells, name), n_draws)
    assert next(iter(shares.values())) <= ours + 3 * np.sqrt(ours * (1 - ours) / n_draws)
    assert shares[naive] > at_least
