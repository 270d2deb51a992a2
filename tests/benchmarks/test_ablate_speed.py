"""Wall time of an ablation against the sum of its distinct stages over the workers.

`pytest tests/benchmarks/test_ablate_speed.py -s`; needs a core per worker.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from ablations import PLAIN
from stories import EXPERIMENTS, fresh_home, screentest

pytestmark = [pytest.mark.model, pytest.mark.slow]

N_WORKERS = 2
OVERHEAD = 1.1  # starting the workers, loading bases, logging and the stage that all others wait for included


@pytest.mark.skipif((os.cpu_count() or 1) < N_WORKERS, reason="needs a core per worker")
def test_wall_time_is_the_work_over_the_workers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four arms and three seeds on the embedded model, with trainings of half the quick profile's size."""
    arms = {f"a{n}": {"sft.neftune_alpha": n} for n in (0, 5, 10, 15)}
    changes = {
        "arms": arms,
        "control": "a0",
        "contrasts": [{"name": "a5-a0", "arms": ["a5", "a0"]}],
        "fixed": {"sft.data.train_tokens": 4000},
        "recipes": {"sft": str(EXPERIMENTS / "recipes" / "sft" / "embedded-quick.yaml")},
        "test": {"prompts": 16, "min_clusters": 5},
        "decoding": {"max_new_tokens": 32},
        "data": {},
    }
    file = tmp_path / "ablation.yaml"
    file.write_text(yaml.safe_dump(PLAIN | changes))
    result = screentest("ablate", file, "--workers", N_WORKERS, "--json", home=fresh_home(tmp_path / "mlruns")).json
    assert result["stage_counts"] == {"prepare": 1, "sft": 12, "generate": 12, "heldout": 12, "metrics": 1}
    work = sum(s["seconds"] for s in result["stages"] if s["name"] in result["stage_counts"])
    ratio = result["wall_seconds"] * N_WORKERS / work
    with capsys.disabled():
        print(f"\n{work:.0f} s of stages, {result['wall_seconds']:.0f} s on the clock: {ratio:.3f} of the ideal")
    assert ratio <= OVERHEAD
