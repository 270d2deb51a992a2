"""A fast part of `make calibrate`: the whole of it takes minutes and writes docs/calibration.md."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
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


def simulated(cells: ModuleType, name: str, n_draws: int) -> dict[str, float]:
    cell = next(cell for cell in cells.all_cells() if f"{cell.table}: {cell.name}" == name)
    counts = cell.simulate(n_draws, np.random.default_rng(99))
    return {method: count / n_draws for method, count in counts.items()}


def test_every_cell_has_a_name_of_its_own_and_runs(cells: ModuleType) -> None:
    names = [f"{cell.table}: {cell.name}" for cell in cells.all_cells()]
    assert len(names) == len(set(names)) > 90
    for cell in cells.all_cells():
        counts = cell.simulate(2, np.random.default_rng(0))
        assert all(0 <= count <= 2 for count in counts.values()), cell.name


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("contrasts: normal, 8 films, ICC 0.3", 0.91, 1.0),
        ("contrasts: ordinal 1–5, 20 films, ICC 0.3", 0.93, 0.97),
        ("means: ordinal 1–5, 20 films, ICC 0.1", 0.93, 0.97),
        ("means: exponential, 8 films, ICC 0.1", 0.91, 1.0),
    ],
)
def test_intervals_cover_and_naive_ones_do_not(cells: ModuleType, name: str, low: float, high: float) -> None:
    shares = simulated(cells, name, 600)
    ours = next(iter(shares.values()))
    error = 3 * np.sqrt(low * (1 - low) / 600)
    assert low - error <= ours <= high + error
    assert shares["rows independent"] < 0.8


def test_alternatives_against_limma_and_pbkrtest(cells: ModuleType) -> None:
    alternatives = importlib.import_module("alternatives")
    golden = json.loads((FOLDER.parent / "golden" / "stats" / "crossed.json").read_text())
    for case in golden["limma"]:
        posterior, df = alternatives.moderated(np.array(case["variances"]), 2)
        assert posterior == pytest.approx(case["posterior"], rel=1e-5)
        assert df == pytest.approx(min(case["prior"] + 2, 2 * len(posterior)))
    for case in golden["cases"]:
        table = np.array(case["values"]).reshape(len(set(case["rows"])), -1)
        _, half = alternatives.kenward_roger(table, np.ones(table.shape[1]))
        theirs = case["lme4"]
        assert half == pytest.approx(theirs["se"] * t.ppf(0.975, theirs["kenward_roger_df"]), rel=2e-3)


def test_tests_hold_their_level_where_naive_ones_do_not(cells: ModuleType) -> None:
    shares = simulated(cells, "type I error of tests: labels swapped, 8 films, ICC 0.3", 600)
    assert shares["sign-flip"] <= 0.06 + 3 * np.sqrt(0.06 * 0.94 / 600)
    assert shares["rows independent"] > 0.3
    shares = simulated(cells, "peeking: one decisive vote a prompt, a look after each of 300", 100)
    assert shares["beta-binomial"] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)
    assert shares["z on votes at every tenth look"] > 0.1
