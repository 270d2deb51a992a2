"""Agreement coefficients by outside tools; writes agreement.json beside this file.

Tools: krippendorff (alpha), statsmodels (Fleiss), scikit-learn (Cohen). Data: Krippendorff's own example (2011,
"Computing Krippendorff's Alpha-Reliability": four observers, twelve units, gaps; he prints nominal 0.743, ordinal
0.815, interval 0.849), the worked table of Fleiss' kappa that Wikipedia prints (0.210), and seeded draws.

Run: python tests/golden/stats/make_agreement.py
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import krippendorff
import numpy as np
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

HERE = Path(__file__).resolve().parent
NAN = float("nan")
OBSERVERS = [  # [observer][unit]
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]
FLEISS = [  # counts [subject][category], 14 raters
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def main() -> None:
    rng = np.random.default_rng(9)
    truth = rng.integers(1, 6, size=80)
    marks = np.clip(truth[:, None] + rng.integers(-1, 2, size=(80, 3)), 1, 5)
    first, second = marks[:, 0], marks[:, 1]
    golden = {
        "observers": [[None if value != value else value for value in row] for row in OBSERVERS],
        "published_alpha": {"nominal": 0.743, "ordinal": 0.815, "interval": 0.849},
        "krippendorff_alpha": {
            scale: krippendorff.alpha(reliability_data=OBSERVERS, level_of_measurement=scale)
            for scale in ("nominal", "ordinal", "interval")
        },
        "fleiss_counts": FLEISS,
        "published_fleiss": 0.210,
        "statsmodels_fleiss": float(fleiss_kappa(np.array(FLEISS))),
        "marks": marks.tolist(),
        "marks_fleiss": float(fleiss_kappa(aggregate_raters(marks)[0])),
        "marks_alpha": {
            scale: krippendorff.alpha(reliability_data=marks.T.tolist(), level_of_measurement=scale)
            for scale in ("nominal", "ordinal", "interval")
        },
        "sklearn_cohen": {
            weights: float(cohen_kappa_score(first, second, weights=None if weights == "none" else weights))
            for weights in ("none", "linear", "quadratic")
        },
        "versions": {name: version(name) for name in ("krippendorff", "statsmodels", "scikit-learn")},
    }
    (HERE / "agreement.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
