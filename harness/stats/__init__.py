"""Statistics with honest intervals; importable on its own, NumPy and SciPy only.

Every name below is loaded when it is first used, so that `import harness.stats` costs nothing by itself. Start with
`paired_contrast`, `mean_estimate` and `verdict`; docs/statistics.md says when to use which.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.stats.agreement import cohens_kappa, fleiss_kappa, krippendorff_alpha
    from harness.stats.annotators import (
        AlternativeAnnotator,
        AnnotatorTest,
        BlandAltman,
        alternative_annotator,
        bland_altman,
        repeatability,
    )
    from harness.stats.bca import mean_estimate_bca
    from harness.stats.bradley_terry import GoodnessOfFit, StrengthFit, Unfitted, find_unconnected, fit_strengths
    from harness.stats.correlation import pearson, spearman
    from harness.stats.crossed import RaterClaims, crossed_mean, crossed_share, rater_contrast, seed_contrast
    from harness.stats.crossed_power import (
        SeedDesign,
        seed_pilot,
        seed_shares,
        seeds_detectable,
        seeds_power,
        seeds_sample_size,
    )
    from harness.stats.discrimination import concordance, roc_auc
    from harness.stats.effect_sizes import (
        cliffs_delta,
        cohens_dz,
        intraclass_correlation,
        smallest_effect_in_units,
        superiority,
    )
    from harness.stats.log_odds import log_odds_ratio
    from harness.stats.means import mean_estimate
    from harness.stats.multiplicity import adjust
    from harness.stats.paired import contrast_of_differences, paired_contrast
    from harness.stats.pilot import pilot_detectable, pilot_power, pilot_sample_size
    from harness.stats.power import (
        PairedDesign,
        PowerAnswer,
        paired_detectable,
        paired_power,
        paired_sample_size,
        votes_detectable,
        votes_power,
        votes_sample_size,
    )
    from harness.stats.ppi import PoweredMean, powered_contrast, powered_mean
    from harness.stats.proportions import proportion_estimate, wilson_interval, within_range
    from harness.stats.quantiles import quantile_estimate
    from harness.stats.ranks import wilcoxon
    from harness.stats.results import TestResult
    from harness.stats.sequential import Advice, BettingSequence, Look
    from harness.stats.sequential_votes import DecisiveVotes, DifferenceSequence
    from harness.stats.signflip import is_reachable, require_reachable, sign_flip
    from harness.stats.strength_bootstrap import bootstrap_contrast
    from harness.stats.tail import (
        QuantileContrast,
        TailAsymmetry,
        low_quality_contrast,
        low_quality_rate,
        quantile_contrasts,
        tail_asymmetry,
    )
    from harness.stats.trend import SeedComponents, jonckheere, page_trend, seed_components
    from harness.stats.verdicts import clusters_to_settle, verdict
    from harness.stats.votes import Votes, WinRate, binomial_p_value, read_votes, win_rate

__all__ = [
    "Advice",
    "AlternativeAnnotator",
    "AnnotatorTest",
    "BettingSequence",
    "BlandAltman",
    "DecisiveVotes",
    "DifferenceSequence",
    "GoodnessOfFit",
    "Look",
    "PairedDesign",
    "PowerAnswer",
    "PoweredMean",
    "QuantileContrast",
    "RaterClaims",
    "SeedComponents",
    "SeedDesign",
    "StrengthFit",
    "TailAsymmetry",
    "TestResult",
    "Unfitted",
    "Votes",
    "WinRate",
    "adjust",
    "alternative_annotator",
    "binomial_p_value",
    "bland_altman",
    "bootstrap_contrast",
    "cliffs_delta",
    "clusters_to_settle",
    "cohens_dz",
    "cohens_kappa",
    "concordance",
    "contrast_of_differences",
    "crossed_mean",
    "crossed_share",
    "find_unconnected",
    "fit_strengths",
    "fleiss_kappa",
    "intraclass_correlation",
    "is_reachable",
    "jonckheere",
    "krippendorff_alpha",
    "log_odds_ratio",
    "low_quality_contrast",
    "low_quality_rate",
    "mean_estimate",
    "mean_estimate_bca",
    "page_trend",
    "paired_contrast",
    "paired_detectable",
    "paired_power",
    "paired_sample_size",
    "pearson",
    "pilot_detectable",
    "pilot_power",
    "pilot_sample_size",
    "powered_contrast",
    "powered_mean",
    "proportion_estimate",
    "quantile_contrasts",
    "quantile_estimate",
    "rater_contrast",
    "read_votes",
    "repeatability",
    "require_reachable",
    "roc_auc",
    "seed_components",
    "seed_contrast",
    "seed_pilot",
    "seed_shares",
    "seeds_detectable",
    "seeds_power",
    "seeds_sample_size",
    "sign_flip",
    "smallest_effect_in_units",
    "spearman",
    "superiority",
    "tail_asymmetry",
    "verdict",
    "votes_detectable",
    "votes_power",
    "votes_sample_size",
    "wilcoxon",
    "wilson_interval",
    "win_rate",
    "within_range",
]

_HOME = {
    "Advice": "sequential",
    "AlternativeAnnotator": "annotators",
    "AnnotatorTest": "annotators",
    "BettingSequence": "sequential",
    "BlandAltman": "annotators",
    "DecisiveVotes": "sequential_votes",
    "DifferenceSequence": "sequential_votes",
    "GoodnessOfFit": "bradley_terry",
    "Look": "sequential",
    "PairedDesign": "power",
    "PowerAnswer": "power",
    "PoweredMean": "ppi",
    "QuantileContrast": "tail",
    "RaterClaims": "crossed",
    "SeedComponents": "trend",
    "SeedDesign": "crossed_power",
    "StrengthFit": "bradley_terry",
    "TailAsymmetry": "tail",
    "TestResult": "results",
    "Unfitted": "bradley_terry",
    "Votes": "votes",
    "WinRate": "votes",
    "adjust": "multiplicity",
    "alternative_annotator": "annotators",
    "binomial_p_value": "votes",
    "bland_altman": "annotators",
    "bootstrap_contrast": "strength_bootstrap",
    "cliffs_delta": "effect_sizes",
    "clusters_to_settle": "verdicts",
    "cohens_dz": "effect_sizes",
    "cohens_kappa": "agreement",
    "concordance": "discrimination",
    "contrast_of_differences": "paired",
    "crossed_mean": "crossed",
    "crossed_share": "crossed",
    "find_unconnected": "bradley_terry",
    "fit_strengths": "bradley_terry",
    "fleiss_kappa": "agreement",
    "intraclass_correlation": "effect_sizes",
    "is_reachable": "signflip",
    "jonckheere": "trend",
    "krippendorff_alpha": "agreement",
    "log_odds_ratio": "log_odds",
    "low_quality_contrast": "tail",
    "low_quality_rate": "tail",
    "mean_estimate": "means",
    "mean_estimate_bca": "bca",
    "page_trend": "trend",
    "paired_contrast": "paired",
    "paired_detectable": "power",
    "paired_power": "power",
    "paired_sample_size": "power",
    "pearson": "correlation",
    "pilot_detectable": "pilot",
    "pilot_power": "pilot",
    "pilot_sample_size": "pilot",
    "powered_contrast": "ppi",
    "powered_mean": "ppi",
    "proportion_estimate": "proportions",
    "quantile_contrasts": "tail",
    "quantile_estimate": "quantiles",
    "rater_contrast": "crossed",
    "read_votes": "votes",
    "repeatability": "annotators",
    "require_reachable": "signflip",
    "roc_auc": "discrimination",
    "seed_components": "trend",
    "seed_contrast": "crossed",
    "seed_pilot": "crossed_power",
    "seed_shares": "crossed_power",
    "seeds_detectable": "crossed_power",
    "seeds_power": "crossed_power",
    "seeds_sample_size": "crossed_power",
    "sign_flip": "signflip",
    "smallest_effect_in_units": "effect_sizes",
    "spearman": "correlation",
    "superiority": "effect_sizes",
    "tail_asymmetry": "tail",
    "verdict": "verdicts",
    "votes_detectable": "power",
    "votes_power": "power",
    "votes_sample_size": "power",
    "wilcoxon": "ranks",
    "wilson_interval": "proportions",
    "win_rate": "votes",
    "within_range": "proportions",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
