"""The learned judge that ships, on the embedded encoder and the sample corpus: taught, qualified, found again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stories import EXPERIMENTS, fresh_home, screentest

pytestmark = [pytest.mark.model, pytest.mark.slow]
LEARNED = EXPERIMENTS / "judges" / "learned"


def test_it_tells_faults_that_nobody_taught_it(tmp_path: Path) -> None:
    home = fresh_home(tmp_path / "mlruns")
    first = screentest("judge", "qualify", LEARNED, "--json", home=home)
    found = {row["criterion"]: row for row in first.json}
    assert set(found) == {"coherence", "fluency"}
    for row in found.values():
        bases = {(f["family"], f["basis"]) for f in row["families"]}
        assert {family for family, basis in bases if basis == "taught"} < {family for family, _ in bases}
        assert all(f["n_missing"] == 0 for f in row["families"])
    untaught = {f["family"]: f["auc"] for f in found["coherence"]["families"] if f["basis"] == "untaught"}
    assert min(untaught[f] for f in ("echo", "turn_before", "others_line", "looped")) > 0.85
    fluency = [f["auc"] for f in found["fluency"]["families"] if f["basis"] == "untaught"]
    assert min(fluency) > 0.6
    again = screentest("judge", "qualify", LEARNED, "--json", home=home)
    assert json.dumps(again.json) == json.dumps(first.json)
