"""Statistics with honest intervals; importable on its own, NumPy and SciPy only.

Every name below is loaded when it is first used, so that `import harness.stats` costs nothing by itself. Start with
`paired_contrast`, `mean_estimate` and `verdict`; docs/statistics.md says when to use which.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # fmt: off
    from harness.stats.agreement import cohens_kappa, fleiss_kappa, krippendorff_alpha
    from harness.stats.annotators import (
        AlternativeAnnotator, AnnotatorTest, BlandAltman, alternative_annotator, bland_altman, repeatability,
    )
    from harness.stats.bradley_terry import StrengthFit, Unfitted, find_unconnected, fit_strengths
    from harness.stats.correlation import kendall_within, pearson, spearman
    from harness.stats.crossed import RaterClaims, crossed_mean, crossed_share, rater_contrast, seed_contrast
    from harness.stats.crossed_power import (
        SeedDesign, seed_pilot, seed_shares, seeds_detectable, seeds_power, seeds_sample_size,
    )
    from harness.stats.discrimination import concordance, roc_auc
    from harness.stats.means import mean_estimate
    from harness.stats.paired import (
        contrast_of_differences, is_reachable, paired_contrast, require_reachable, sign_flip,
    )
    from harness.stats.pilot import pilot_detectable, pilot_power, pilot_sample_size
    from harness.stats.plackett_luce import RankingFit, fit_rankings
    from harness.stats.power import (
        PairedDesign, PowerAnswer, paired_detectable, paired_power, paired_sample_size, votes_detectable, votes_power,
        votes_sample_size,
    )
    from harness.stats.ppi import PoweredMean, powered_mean
    from harness.stats.proportions import log_odds_ratio, proportion_estimate, wilson_interval, within_range
    from harness.stats.quantiles import (
        QuantileContrast, TailAsymmetry, quantile_contrasts, quantile_estimate, tail_asymmetry,
    )
    from harness.stats.outcomes import TestResult
    from harness.stats.sequential import Advice, BettingSequence, Look
    from harness.stats.trend import SeedComponents, jonckheere, page_trend, seed_components
    from harness.stats.verdicts import adjust, clusters_to_settle, smallest_effect_in_units, verdict
    from harness.stats.votes import Votes, WinRate, binomial_p_value, read_votes, win_rate
    # fmt: on

_NAMES = {  # by the module that is loaded when one of them is first used
    "agreement": "cohens_kappa fleiss_kappa krippendorff_alpha",
    "annotators": "AlternativeAnnotator AnnotatorTest BlandAltman alternative_annotator bland_altman repeatability",
    "bradley_terry": "StrengthFit Unfitted find_unconnected fit_strengths",
    "correlation": "kendall_within pearson spearman",
    "crossed": "RaterClaims crossed_mean crossed_share rater_contrast seed_contrast",
    "crossed_power": "SeedDesign seed_pilot seed_shares seeds_detectable seeds_power seeds_sample_size",
    "discrimination": "concordance roc_auc",
    "means": "mean_estimate",
    "paired": "contrast_of_differences is_reachable paired_contrast require_reachable sign_flip",
    "pilot": "pilot_detectable pilot_power pilot_sample_size",
    "plackett_luce": "RankingFit fit_rankings",
    "power": (
        "PairedDesign PowerAnswer paired_detectable paired_power paired_sample_size votes_detectable votes_power "
        "votes_sample_size"
    ),
    "ppi": "PoweredMean powered_mean",
    "proportions": "log_odds_ratio proportion_estimate wilson_interval within_range",
    "quantiles": "QuantileContrast TailAsymmetry quantile_contrasts quantile_estimate tail_asymmetry",
    "outcomes": "TestResult",
    "sequential": "Advice BettingSequence Look",
    "trend": "SeedComponents jonckheere page_trend seed_components",
    "verdicts": "adjust clusters_to_settle smallest_effect_in_units verdict",
    "votes": "Votes WinRate binomial_p_value read_votes win_rate",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
