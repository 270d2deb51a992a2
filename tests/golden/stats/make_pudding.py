"""Davidson's chocolate puddings by an outside tool and as published; writes pudding.json beside this file.

Data: Davidson (1970), JASA 65:317, as distributed with the R package PlackettLuce (`data(pudding)`).
`published` is the output that the package's vignette prints (`PlackettLuce(R, npseudo = 0, maxit = 7)`, "the same worth
parameters as Davidson (1970)"; seven iterations, so about four digits hold). `statsmodels` is the same model as a
log-linear Poisson regression with one intercept a pair, an algorithm that shares nothing with ours.

Run: python tests/golden/stats/make_pudding.py
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import statsmodels.api as sm

HERE = Path(__file__).resolve().parent
PUBLISHED = {
    "worth": [0.1388005, 0.1729985, 0.1617420, 0.1653930, 0.1586805, 0.2023855],
    "tie": 0.7468147,
}


def main() -> None:
    with (HERE / "pudding.csv").open() as file:
        pairs = [{name: int(value) for name, value in row.items()} for row in csv.DictReader(file)]
    design, counts = [], []
    for index, row in enumerate(pairs):
        for outcome, column in ((1, "first_wins"), (-1, "second_wins"), (0, "ties")):
            line = np.zeros(len(pairs) + 6)  # an intercept a pair; strengths of brands 2 … 6; log tie parameter
            line[index] = 1
            for brand, sign in ((row["first"], 0.5), (row["second"], -0.5)):
                if brand > 1:
                    line[len(pairs) + brand - 2] += sign * outcome
            line[-1] = outcome == 0
            design.append(line)
            counts.append(row[column])
    fit = sm.GLM(counts, np.array(design), family=sm.families.Poisson()).fit(tol=1e-14)
    strengths = np.append(0.0, fit.params[len(pairs) : len(pairs) + 5])
    worth = np.exp(strengths) / np.exp(strengths).sum()
    golden = {
        "published": PUBLISHED,
        "statsmodels": {
            "worth": worth.tolist(),
            "tie": float(np.exp(fit.params[-1])),
            "deviance": float(fit.deviance),
            "pearson": float(fit.pearson_chi2),
            "model_se_6_minus_1": float(fit.bse[len(pairs) + 4]),
        },
        "versions": {"statsmodels": sm.__version__ if hasattr(sm, "__version__") else "see constraints.txt"},
    }
    (HERE / "pudding.json").write_text(json.dumps(golden, indent=2) + "\n")


if __name__ == "__main__":
    main()
