from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import harness.stats


def test_every_public_name_loads() -> None:
    for name in harness.stats.__all__:
        assert getattr(harness.stats, name).__module__.startswith("harness.stats.")
        assert name in dir(harness.stats)
    assert set(harness.stats._HOME) == set(harness.stats.__all__)


def test_every_public_function_is_said_in_words() -> None:
    """A row of the table: one sentence for who knows no statistics, one for who does."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "statistics.md").read_text()
    rows = page.partition("## In words")[2].partition("\n## ")[0].splitlines()
    assert all(len(row.split(" | ")) == 3 for row in rows if row.startswith("| "))
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    of = ("paired", "votes", "pilot")
    named |= {f"{one}_{asked}" for one in of for asked in ("power", "detectable")}  # "each `_power`, `_detectable`"
    assert {name for name in harness.stats.__all__ if name[0].islower()} - named == set()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'mean'"):
        _ = harness.stats.mean


def test_importing_everything_pulls_nothing_heavy() -> None:
    code = (
        "import sys, harness.stats\n"
        "[getattr(harness.stats, name) for name in harness.stats.__all__]\n"
        "print([m for m in ('torch', 'mlflow', 'statsmodels', 'pandas', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
