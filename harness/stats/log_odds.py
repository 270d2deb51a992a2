"""How much likelier a feature is in one of two paired texts: log odds ratio with an interval over clusters."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import InputError
from harness.stats.outcomes import t_estimate
from harness.stats.rows import Labels, check_level, check_same_length, check_values, code_labels, join_notes
from harness.types import Estimate

METHOD = "log odds ratio, linearised, clustered, t"
NO_SPREAD = "no spread between clusters"
CORRECTED = "0 or all in one text: half a row added to each cell"


def log_odds_ratio(first: ArrayLike, second: ArrayLike, *, clusters: Labels, level: float = 0.95) -> Estimate:
    """log odds of a feature in `first` [n] minus log odds in `second` [n]; rows are pairs of texts, 0 or 1 each.

    The variance is that of the linearised estimator, summed within clusters and multiplied by G / (G − 1) (Liang &
    Zeger 1986, doi:10.1093/biomet/73.1.13, for the saturated logistic model of side); t with G − 1 degrees of freedom.
    Where a side has the feature in no row or in all, half a row is added to each cell (Haldane 1956), and the note says
    so. Raises InputError on values other than 0 and 1, unequal lengths or no rows.
    """
    one, two = check_values("first", first), check_values("second", second)
    check_same_length(first=one, second=two, clusters=clusters)
    check_level(level)
    if not (np.isin(one, (0, 1)).all() and np.isin(two, (0, 1)).all()):
        raise InputError("`first` and `second` must be 0 or 1 in every row: whether a text has the feature")
    coded = code_labels("clusters", clusters)
    n, n_clusters = len(one), coded.n_labels
    is_bare = any(side.min() == side.max() for side in (one, two))
    shares = [(side.sum() + 0.5) / (n + 1) if is_bare else side.mean() for side in (one, two)]
    value = float(np.log(shares[0] / (1 - shares[0])) - np.log(shares[1] / (1 - shares[1])))
    pulls = [(side - p) / (p * (1 - p)) / n for side, p in zip((one, two), shares, strict=True)]
    sums = np.bincount(coded.codes, weights=pulls[0] - pulls[1])
    se = math.sqrt(n_clusters / (n_clusters - 1) * float(np.sum(sums**2))) if n_clusters > 1 else None
    notes = [] if se is None else [CORRECTED if is_bare else "", NO_SPREAD if se == 0 else ""]
    return t_estimate(
        value, se, n_clusters - 1.0, n=n, n_clusters=n_clusters, level=level, method=METHOD, notes=join_notes(notes)
    )
