"""The rule on control families: from their estimates to qualified, not qualified or inconclusive.

`harness.judging.qualification` says what the rule is; a judge of scores and a pairwise judge share it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.types import ControlResult, Estimate, QualificationStatus

MAX_MISSING = 0.2  # a judge that cannot score more of a family than this has chosen what it is tested on
MAX_SETTLE = 100_000


def control_status(
    auc: Estimate, concordance: Estimate, *, kind: str, n_controls: int, min_auc: float
) -> QualificationStatus:
    """What one family's figures say of the judge."""
    if kind == "adversarial" and concordance.value < 0.5:
        return "not_qualified"
    if auc.low is None or auc.high is None:
        return "inconclusive"
    if auc.high < min_auc:
        return "not_qualified"
    is_complete = concordance.n_missing <= MAX_MISSING * n_controls
    return "qualified" if auc.low > min_auc and is_complete else "inconclusive"


def what_would_settle(auc: Estimate, *, n_pairs: int, n_controls: int, min_auc: float) -> str:
    """How many controls would decide, from the interval's width: half the width takes four times the controls."""
    if n_controls - n_pairs > MAX_MISSING * n_controls:
        return f"{n_controls - n_pairs} of {n_controls} controls have a missing score; a judge that scores them all"
    if auc.low is None or auc.high is None:
        return "controls from a second film, without which there is no interval"
    distance = abs(auc.value - min_auc)
    reach = max(auc.value - auc.low, auc.high - auc.value)  # the longer side: the interval is skewed while it is wide
    n_needed = math.inf if distance < 1e-9 else math.ceil(1.05 * n_pairs * (reach / distance) ** 2)
    if n_needed > MAX_SETTLE:
        return f"no number of controls in reach: the AUC lies on the threshold of {min_auc:g}"
    return f"about {max(n_needed, n_pairs + 1)} controls instead of {n_pairs}, from as many times the films"


def weakest_status(statuses: Sequence[QualificationStatus]) -> QualificationStatus:
    """Of a criterion, from its families: one failure fails it, and it takes all to qualify."""
    if "not_qualified" in statuses:
        return "not_qualified"
    return "qualified" if statuses and set(statuses) == {"qualified"} else "inconclusive"


def reason_of(families: Sequence[ControlResult], unscored: Sequence[str]) -> str:
    """One sentence on why a criterion stands as it does; `unscored` names families without a single pair of scores."""
    if not families and not unscored:
        return "no controls of this criterion"
    parts = [f"{name}: nothing could be scored" for name in unscored]
    for family in families:
        name = f"{family.family} ({family.basis})" if family.basis else family.family
        preferred = family.kind == "adversarial" and family.concordance.value < 0.5
        share = f"{1 - family.concordance.value:.0%}"
        if family.status == "not_qualified" and preferred:
            parts.append(f"{name}: preferred to the true reply in {share} of contexts")
        elif family.status == "not_qualified":
            parts.append(f"{name}: AUC {family.auc.value:.2f}, surely below the threshold")
        elif family.status == "inconclusive":
            parts.append(f"{name}: AUC {family.auc.value:.2f} decides nothing")
    return "; ".join(parts) or "told from the true reply in every family"
