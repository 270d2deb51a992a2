"""How many prompts show that replies are told from people's, by the AUC of a classifier fitted on other clusters.

One reply of each kind a prompt. The variance of placements is Hanley & McNeil's (1982), (Q₁ − A²) + (Q₂ − A²) over n
with Q₁ = A / (2 − A) and Q₂ = 2A² / (1 + A), times 1 + 2 (1 − A) for what one cluster's fit owes the others: 2 at 0.5,
1 at 1. On real film dialogue that makes standard errors up to 12 % too wide (docs/statistics.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from harness.errors import InputError
from harness.stats.power import (
    PairedDesign,
    PowerAnswer,
    check_power,
    paired_power,
    paired_sample_size,
    smallest_effect,
)

ALWAYS_TOLD = 0.995


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionDesign:
    """What is known before the replies are made."""

    prompts_per_cluster: float = 1.0
    level: float = 0.95
    n_tests: int = 1

    def of(self, auc: float) -> PairedDesign:
        """Rows that vary as placements do at this AUC."""
        if not 0.5 < auc < 1:
            raise InputError(f"`auc` must lie between 0.5 (never told) and 1 (always told), got {auc:g}: 0.6 is little")
        twins = auc / (2 - auc) + 2 * auc**2 / (1 + auc) - 2 * auc**2
        return PairedDesign(
            sd_difference=math.sqrt((3 - 2 * auc) * twins),
            prompts_per_cluster=self.prompts_per_cluster,
            level=self.level,
            n_tests=self.n_tests,
        )


def detection_power(design: DetectionDesign, *, auc: float, n_prompts: int) -> PowerAnswer:
    """Probability that replies which are told with this AUC are shown to be told."""
    found = paired_power(design.of(auc), effect=auc - 0.5, n_prompts=n_prompts)
    sentence = (
        f"{n_prompts:,} prompts from {found.n_clusters:,} clusters show that replies told {auc:.0%} of the time are "
        f"told from people's with power {found.power:.0%}."
    )
    return replace(found, effect=auc, sentence=sentence)


def detection_sample_size(design: DetectionDesign, *, auc: float, power: float = 0.8) -> PowerAnswer:
    """Smallest number of prompts that shows that replies are told with this AUC."""
    found = paired_sample_size(design.of(auc), effect=auc - 0.5, power=power)
    sentence = (
        f"To show with power {power:.0%} that replies told {auc:.0%} of the time are told from people's, take "
        f"{found.n:,} prompts from {found.n_clusters:,} clusters."
    )
    return replace(found, effect=auc, sentence=sentence)


def detection_detectable(design: DetectionDesign, *, n_prompts: int, power: float = 0.8) -> PowerAnswer:
    """Smallest AUC that so many prompts show. Raises InputError: they are so few that nothing shows."""
    check_power(power)

    def is_shown(auc: float) -> bool:
        return detection_power(design, auc=auc, n_prompts=n_prompts).power >= power

    if not is_shown(ALWAYS_TOLD):
        raise InputError(f"`n_prompts` must be enough to show replies that are always told, got {n_prompts}: take more")
    auc = smallest_effect(is_shown, low=0.5, high=ALWAYS_TOLD)
    found = detection_power(design, auc=auc, n_prompts=n_prompts)
    sentence = (
        f"{n_prompts:,} prompts from {found.n_clusters:,} clusters show replies told {auc:.0%} of the time or more "
        f"with power {power:.0%}."
    )
    return replace(found, power=power, sentence=sentence)
