"""Statistics with honest intervals; importable on its own, NumPy and SciPy only.

Every name below is loaded when it is first used, so that `import harness.stats` costs nothing by itself. Start with
`paired_contrast`, `mean_estimate` and `verdict`; docs/statistics.md says when to use which.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.stats.correlation import pearson, spearman
    from harness.stats.crossed import crossed_mean, rater_contrast, seed_contrast
    from harness.stats.discrimination import concordance, roc_auc
    from harness.stats.effect_sizes import (
        cliffs_delta,
        cohens_dz,
        intraclass_correlation,
        smallest_effect_in_units,
        superiority,
    )
    from harness.stats.means import mean_estimate
    from harness.stats.multiplicity import adjust
    from harness.stats.paired import contrast_of_differences, paired_contrast
    from harness.stats.proportions import proportion_estimate, wilson_interval
    from harness.stats.quantiles import quantile_estimate
    from harness.stats.ranks import wilcoxon
    from harness.stats.results import TestResult
    from harness.stats.signflip import is_reachable, require_reachable, sign_flip
    from harness.stats.verdicts import clusters_to_settle, verdict

__all__ = [
    "TestResult",
    "adjust",
    "cliffs_delta",
    "clusters_to_settle",
    "cohens_dz",
    "concordance",
    "contrast_of_differences",
    "crossed_mean",
    "intraclass_correlation",
    "is_reachable",
    "mean_estimate",
    "paired_contrast",
    "pearson",
    "proportion_estimate",
    "quantile_estimate",
    "rater_contrast",
    "require_reachable",
    "roc_auc",
    "seed_contrast",
    "sign_flip",
    "smallest_effect_in_units",
    "spearman",
    "superiority",
    "verdict",
    "wilcoxon",
    "wilson_interval",
]

_HOME = {
    "TestResult": "results",
    "adjust": "multiplicity",
    "cliffs_delta": "effect_sizes",
    "clusters_to_settle": "verdicts",
    "cohens_dz": "effect_sizes",
    "concordance": "discrimination",
    "contrast_of_differences": "paired",
    "crossed_mean": "crossed",
    "intraclass_correlation": "effect_sizes",
    "is_reachable": "signflip",
    "mean_estimate": "means",
    "paired_contrast": "paired",
    "pearson": "correlation",
    "proportion_estimate": "proportions",
    "quantile_estimate": "quantiles",
    "rater_contrast": "crossed",
    "require_reachable": "signflip",
    "roc_auc": "discrimination",
    "seed_contrast": "crossed",
    "sign_flip": "signflip",
    "smallest_effect_in_units": "effect_sizes",
    "spearman": "correlation",
    "superiority": "effect_sizes",
    "verdict": "verdicts",
    "wilcoxon": "ranks",
    "wilson_interval": "proportions",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
