"""Adjusting p values for the number of contrasts that were declared together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from harness.errors import InputError

Method = Literal["holm", "bh", "by"]


def adjust(p_values: Sequence[float], *, method: Method = "holm") -> list[float]:
    """Adjusted p values, in the order given.

    `holm` (Holm 1979): all decisions of the family are right together with the stated confidence, whatever the
    dependence. `bh` (Benjamini & Hochberg 1995): the expected share of false claims among the claims made, for
    independent or positively dependent tests; `by` (Benjamini & Yekutieli 2001): the same under any dependence. Compare
    each with 1 − level. An empty family gives an empty list.
    Raises InputError on a value outside [0, 1] (a test that could not be made is not part of the list).
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise InputError(f"`p_values` must lie in [0, 1], got {list(p_values)}: leave out the contrasts without a test")
    if method not in ("holm", "bh", "by"):
        raise InputError(f"`method` must be holm, bh or by, got {method!r}: holm is the default")
    n = len(p)
    order = np.argsort(p, kind="stable")
    ranked = p[order]
    if method == "holm":
        stepped = np.maximum.accumulate(ranked * np.arange(n, 0, -1))
    else:
        penalty = float(np.sum(1 / np.arange(1, n + 1))) if method == "by" else 1.0
        stepped = np.minimum.accumulate((ranked * penalty * n / np.arange(1, n + 1))[::-1])[::-1]
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]
