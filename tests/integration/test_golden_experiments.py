"""Both engines give the numbers that were recorded of every shipped experiment, and no share leaves what it can be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from shipped import ABLATIONS, EVALUATIONS, Workshop, numbers_of, record_of, shares_outside
from stories import fresh_home

pytestmark = pytest.mark.slow
RECORDS = Path(__file__).parents[1] / "golden" / "experiments"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("shipped")
    return Workshop(folder / "workshop", home=fresh_home(folder / "mlruns"))


@pytest.mark.parametrize("name", [*EVALUATIONS, *ABLATIONS])
def test_the_numbers_are_those_on_record(workshop: Workshop, name: str) -> None:
    record = record_of(workshop.run(name))
    found = numbers_of(record)
    recorded = json.loads((RECORDS / f"{name}.json").read_text())
    assert set(found) == set(recorded)
    differing = {
        path: (value, recorded[path])
        for path, value in found.items()
        if not _agree(value, recorded[path], rel=1e-2 if path.endswith(("p_value", "p_adjusted")) else 2e-3)
    }
    assert differing == {}
    assert shares_outside(record) == []


def _agree(found: Any, recorded: Any, *, rel: float = 2e-3) -> bool:
    """Equal, but for the last bits of a training, in which machines differ (by AVX2 and AVX-512)."""
    if isinstance(found, list):
        df, high, low, n, n_clusters, n_missing, se, value, method = recorded
        # A bootstrap draws by the bits of the rows: its ends and its error are known to a part of themselves.
        part = 0.1 if "bootstrap" in method and high is not None else 0.0
        ends = all(
            a == b or abs(a - b) <= max(part * (high - low), rel * abs(b), 1e-5)
            for a, b in ((found[1], high), (found[2], low))
        )
        error = _agree(found[6], se) or abs(found[6] - se) <= part * se
        rest = [found[0], *found[3:6], found[7], *_pieces(found[8])]
        others = [df, n, n_clusters, n_missing, value, *_pieces(method)]
        return ends and error and len(rest) == len(others) and all(map(_agree, rest, others))
    if isinstance(found, float) and isinstance(recorded, (int, float)):
        return found == pytest.approx(recorded, rel=rel, abs=1e-5)
    return bool(found == recorded)


def _pieces(method: str) -> list[Any]:
    """A method's words, its numbers apart: some are read off the rows."""
    return [float(piece) if re.fullmatch(r"-?\d+\.\d+", piece) else piece for piece in method.split(" ")]
