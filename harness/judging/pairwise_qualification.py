"""Whether a pairwise judge may be believed: how often it prefers the true reply to a planted control.

A pairwise judge gives no score to either reply, so there is no AUC of scores. What stands in its place is what an AUC
is the probability of: that the true reply is preferred to a control, a tie counting one half, over both orders and over
contexts. The rule of `harness.judging.qualification` then applies as it is, and the paired concordance is the same
number. A pair without a verdict in both orders is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness import stats
from harness.errors import InputError
from harness.judging.control_rule import control_status, reason_of, weakest_status, what_would_settle
from harness.judging.pairwise import Comparer
from harness.judging.preferences import first_position, position_consistency, win_shares
from harness.judging.protocol import OnProgress
from harness.judging.qualification import MIN_AUC, N_REPEATED
from harness.seeding import stream_of_rows
from harness.types import ControlItem, ControlResult, Estimate, JudgedPair, Preference, Qualification

if TYPE_CHECKING:
    import numpy as np

METHOD = "share preferring the true reply, ties half, both orders, CR2 + Satterthwaite by cluster, logit t"


def qualify_comparer(
    judge: Comparer,
    controls: Sequence[ControlItem],
    *,
    rng: np.random.Generator,
    again: Comparer | None = None,
    min_auc: float = MIN_AUC,
    level: float = 0.95,
    on_progress: OnProgress | None = None,
) -> list[Qualification]:
    """One `Qualification` per criterion of the judge, in its order.

    A few pairs are asked for a second time, by `again` where the judge itself would only look its answers up.
    Raises InputError when no control is of the judge's criteria.
    """
    names = [c.name for c in judge.criteria]
    own = [c for c in controls if c.criterion in names]
    if not own:
        raise InputError(f"`controls` must hold some of the judge's criteria ({', '.join(names)}), got none")
    said = judge.compare(control_pairs(own), on_progress=on_progress)
    second = (again or judge).compare(repeated_pairs(own))
    seed = int(rng.integers(1 << 63))  # of a stream per number, as in `qualify`
    return [
        _qualification(
            name,
            [c for c in own if c.criterion == name],
            [p for p in said if p.criterion == name],
            [p for p in second if p.criterion == name],
            judge_id=judge.id,
            seed=seed,
            min_auc=min_auc,
            level=level,
        )
        for name in names
    ]


def control_pairs(controls: Sequence[ControlItem]) -> list[JudgedPair]:
    """What a judge is asked to compare: every control with its true reply."""
    return [_pair(control) for control in controls]


def repeated_pairs(controls: Sequence[ControlItem]) -> list[JudgedPair]:
    """The pairs that are asked for a second time: spread over all, in another order."""
    pairs = control_pairs(controls)
    return list(reversed(pairs[:: math.ceil(len(pairs) / N_REPEATED)])) if pairs else []


def _pair(control: ControlItem) -> JudgedPair:
    """The true reply is the pair's first; a judge sees both orders, so that this gives nothing away."""
    return JudgedPair(
        id=f"{control.criterion}/{control.id}",
        messages=control.messages,
        first=control.true_reply,
        second=control.control_reply,
        cluster=control.cluster,
        criteria=(control.criterion,),
    )


def _qualification(
    criterion: str,
    controls: Sequence[ControlItem],
    said: Sequence[Preference],
    again: Sequence[Preference],
    *,
    judge_id: str,
    seed: int,
    min_auc: float,
    level: float,
) -> Qualification:
    shares = {pair: share for (pair, _), share in win_shares(said).items()}
    clusters = {_pair(c).id: c.cluster for c in controls}
    families = list(dict.fromkeys(c.family for c in controls))
    results = [
        _control_result([c for c in controls if c.family == family], shares, min_auc=min_auc, level=level)
        for family in families
    ]
    unscored = [family for family, result in zip(families, results, strict=True) if result is None]
    found = tuple(result for result in results if result is not None)
    whole = [p for p in said if shares[p.pair_id] is not None]
    n_missing = sum(share is None for share in shares.values())
    consistency = position_consistency(whole, clusters=clusters, level=level, n_missing=n_missing) if whole else None
    return Qualification(
        judge_id=judge_id,
        criterion=criterion,
        status="not_qualified" if unscored else weakest_status([f.status for f in found]),
        families=found,
        repeatability=_repeatability(said, again, clusters, level=level),
        length_sensitivity=_length_sensitivity(controls, shares, seed=seed, level=level),
        position_consistency=consistency,
        first_position=first_position(whole, clusters=clusters, level=level),
        reason=reason_of(found, unscored),
    )


def _control_result(
    controls: Sequence[ControlItem], shares: Mapping[str, float | None], *, min_auc: float, level: float
) -> ControlResult | None:
    """The result of one family; None when no pair has both verdicts."""
    rows = [(share, c.cluster) for c in controls if (share := shares[_pair(c).id]) is not None]
    if not rows:
        return None
    preferred = stats.proportion_estimate(
        [share for share, _ in rows],
        clusters=[cluster for _, cluster in rows],
        level=level,
        n_missing=len(controls) - len(rows),
        method=METHOD,
        row="pair",
    )
    kind = controls[0].kind
    status = control_status(preferred, preferred, kind=kind, n_controls=len(controls), min_auc=min_auc)
    settle = what_would_settle(preferred, n_pairs=len(rows), n_controls=len(controls), min_auc=min_auc)
    return ControlResult(
        criterion=controls[0].criterion,
        family=controls[0].family,
        kind=kind,
        auc=preferred,
        concordance=preferred,
        status=status,
        settle=settle if status == "inconclusive" else "",
    )


def _repeatability(
    said: Sequence[Preference], again: Sequence[Preference], clusters: Mapping[str, str], *, level: float
) -> Estimate | None:
    """Share of verdicts that are the same, or missing for the same reason, when they are asked for again."""
    first = {(p.pair_id, p.shown_first): (p.preferred, p.status) for p in said}
    if not again:
        return None
    share = stats.proportion_estimate(
        [float(first[p.pair_id, p.shown_first] == (p.preferred, p.status)) for p in again],
        clusters=[clusters[p.pair_id] for p in again],
        level=level,
        row="verdict",
    )
    return replace(share, method=share.method.replace("share,", "share of verdicts given the same twice,"))


def _length_sensitivity(
    controls: Sequence[ControlItem],
    shares: Mapping[str, float | None],
    *,
    seed: int,
    level: float,
) -> Estimate | None:
    """Rank correlation of win share and length difference, true reply − control; None where it is not defined."""
    rows = [
        (share, len(c.true_reply) - len(c.control_reply), c.cluster)
        for c in controls
        if (share := shares[_pair(c).id]) is not None
    ]
    if len(rows) < 3 or len({s for s, _, _ in rows}) == 1 or len({n for _, n, _ in rows}) == 1:
        return None
    values, lengths, films = zip(*rows, strict=True)
    rng = stream_of_rows(seed, controls[0].criterion, rows=rows)
    return stats.spearman(values, lengths, clusters=films, rng=rng, level=level, n_missing=len(controls) - len(rows))
