"""10,000 prompts × 6 variants × 5 draws × 4 criteria: 1.2 million scores to a report, under 60 s and 4 GB.

`pytest tests/benchmarks/test_scale_analysis.py -s` prints the figures; `make bench` runs it too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("scale.py")
MAX_SECONDS, MAX_GB, MAX_REPORT_MB = 60, 4.0, 5.0


def run(*arguments: object) -> str:
    words = [sys.executable, str(SCRIPT), *(str(a) for a in arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_a_million_scores_become_a_report(tmp_path: Path) -> None:
    run("make", tmp_path)
    found: dict[str, Any] = json.loads(run("analyse", tmp_path).splitlines()[-1])
    print(f"{found['rows']:,} scores: {found['seconds']} s, {found['peak_gb']} GB, report {found['report_mb']} MB")
    assert found["rows"] == 1_200_000
    assert found["seconds"]["all"] < MAX_SECONDS
    assert found["peak_gb"] < MAX_GB
    assert found["report_mb"] < MAX_REPORT_MB  # a page that a browser opens at once
    assert len(found["findings"]) == 4 * 6 + 4 * 5
    verdicts = {(name, subject): verdict for name, subject, *_, verdict in found["findings"] if verdict}
    assert verdicts["coherence", "large-base"] == "better"
    assert verdicts["coherence", "control-base"] == "equivalent"
    # 1 % of the scores are missing, with their reason; a prompt is lost only when all five draws are.
    assert sum(of for _, _, of in found["missing"]) == 1_200_000
    assert 0.008 < sum(n for _, n, _ in found["missing"]) / 1_200_000 < 0.012
    assert all(n + n_missing == 10_000 for _, _, n, n_missing, _, _ in found["findings"])
    assert found["samples"] == 8
