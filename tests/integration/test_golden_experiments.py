"""Both engines give the numbers that were recorded of every shipped experiment, and no share leaves what it can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shipped import ABLATIONS, EVALUATIONS, Workshop, numbers_of
from stories import fresh_home

pytestmark = pytest.mark.slow
RECORDS = Path(__file__).parents[1] / "golden" / "experiments"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Workshop:
    folder = tmp_path_factory.mktemp("shipped")
    return Workshop(folder / "workshop", home=fresh_home(folder / "mlruns"))


@pytest.mark.parametrize("name", [*EVALUATIONS, *ABLATIONS])
def test_the_numbers_are_those_on_record(workshop, name):
    found = numbers_of(workshop.run(name))
    recorded = json.loads((RECORDS / f"{name}.json").read_text())
    assert set(found) == set(recorded)
    differing = {path: (value, recorded[path]) for path, value in found.items() if not _agree(value, recorded[path])}
    assert differing == {}


def _agree(found: Any, recorded: Any) -> bool:
    """Equal, but for the last bits of a training, in which machines differ."""
    if isinstance(found, list):
        return len(found) == len(recorded) and all(map(_agree, found, recorded))
    if isinstance(found, float) and isinstance(recorded, (int, float)):
        return found == pytest.approx(recorded, rel=2e-3, abs=1e-5)
    return bool(found == recorded)
