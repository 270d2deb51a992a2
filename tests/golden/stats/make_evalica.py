"""Bradley–Terry strengths by evalica on votes without ties; writes evalica.json beside this file.

Run: python tests/golden/stats/make_evalica.py
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import evalica
import numpy as np

HERE = Path(__file__).resolve().parent


def main() -> None:
    rng = np.random.default_rng(20)
    strength = np.array([0.8, 0.3, 0.0, -0.4, -0.7])
    left = rng.integers(5, size=400)
    right = (left + rng.integers(1, 5, size=400)) % 5
    wins = rng.random(400) < 1 / (1 + np.exp(strength[right] - strength[left]))
    rows = [[f"v{a}", f"v{b}", "left" if won else "right"] for a, b, won in zip(left, right, wins, strict=True)]
    winners = [evalica.Winner.X if row[2] == "left" else evalica.Winner.Y for row in rows]
    result = evalica.bradley_terry([row[0] for row in rows], [row[1] for row in rows], winners, tolerance=1e-12)
    logs = np.log(result.scores)
    golden = {"votes": rows, "strengths": (logs - logs.mean()).to_dict(), "evalica": version("evalica")}
    (HERE / "evalica.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
