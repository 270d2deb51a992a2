from __future__ import annotations

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


def test_every_public_function_is_explained() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "statistics.md").read_text()
    functions = [name for name in harness.stats.__all__ if name[0].islower()]
    assert [name for name in functions if f"`{name}" not in page] == []


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
