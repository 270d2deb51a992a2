"""Statistics with honest intervals; importable on its own, NumPy and SciPy only.

Every name below is loaded when it is first used, so that `import harness.stats` costs nothing by itself. Start with
`paired_contrast`, `mean_estimate` and `verdict`; docs/statistics.md says when to use which.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.stats.correlation import pearson, spearman
    from harness.stats.discrimination import concordance, roc_auc
    from harness.stats.means import mean_estimate
    from harness.stats.multiplicity import adjust
    from harness.stats.paired import contrast_of_differences, paired_contrast
    from harness.stats.results import TestResult
    from harness.stats.verdicts import clusters_to_settle, verdict

__all__ = [
    "TestResult",
    "adjust",
    "clusters_to_settle",
    "concordance",
    "contrast_of_differences",
    "mean_estimate",
    "paired_contrast",
    "pearson",
    "roc_auc",
    "spearman",
    "verdict",
]

_HOME = {
    "TestResult": "results",
    "adjust": "multiplicity",
    "clusters_to_settle": "verdicts",
    "concordance": "discrimination",
    "contrast_of_differences": "paired",
    "mean_estimate": "means",
    "paired_contrast": "paired",
    "pearson": "correlation",
    "roc_auc": "discrimination",
    "spearman": "correlation",
    "verdict": "verdicts",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
