"""Balanced seeds × films by statsmodels' MixedLM (REML, crossed variance components); writes crossed.json beside this.

    python tests/golden/stats/make_crossed.py

With R, the same numbers: library(lme4); fit <- lmer(values ~ 1 + (1 | rows) + (1 | columns)); VarCorr(fit);
sqrt(vcov(fit)).
"""

from __future__ import annotations

import json
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf


def case(name: str, n_rows: int, n_columns: int, *, rows: float, columns: float, seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    first, second = np.repeat(np.arange(n_rows), n_columns), np.tile(np.arange(n_columns), n_rows)
    effects = rows * rng.standard_normal(n_rows)[first] + columns * rng.standard_normal(n_columns)[second]
    values = np.round(0.4 + effects + rng.standard_normal(len(first)), 3)
    frame = pd.DataFrame({"y": values, "rows": first, "columns": second, "all": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = smf.mixedlm(
            "y ~ 1", frame, groups="all", re_formula="0", vc_formula={"a": "0 + C(rows)", "b": "0 + C(columns)"}
        )
        fit = model.fit(reml=True, method=["powell", "lbfgs"], maxiter=2000)
    return {
        "name": name,
        "values": values.tolist(),
        "rows": first.tolist(),
        "columns": second.tolist(),
        "se": float(fit.bse["Intercept"]),
        "rows_variance": float(fit.vcomp[0]),
        "cells": float(fit.scale),
    }


if __name__ == "__main__":
    cases = [
        case("3 seeds, 12 films", 3, 12, rows=1.0, columns=0.8, seed=11),
        case("5 seeds, 20 films", 5, 20, rows=0.6, columns=1.0, seed=12),
        case("8 raters, 15 prompts", 8, 15, rows=0.5, columns=0.5, seed=13),
    ]
    found = {"statsmodels": version("statsmodels"), "cases": cases}
    Path(__file__).with_name("crossed.json").write_text(json.dumps(found) + "\n")
