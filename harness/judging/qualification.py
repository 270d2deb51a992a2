"""Whether a judge may be believed: how well it tells true replies from planted controls.

Per criterion and control family the measure is the unpaired ROC AUC of true replies against controls with an interval
clustered by film, and beside it the paired concordance (share of contexts in which the true reply scores higher). The
rule, with `min_auc` 0.60:

- *qualified*: every family's lower bound is above `min_auc`;
- *not qualified*: some family's upper bound is below it, or an adversarial control is preferred, i.e. scores above its
  true reply in more than half of the contexts, or nothing could be scored;
- *inconclusive*: neither; `settle` says about how many controls would decide it.

A pairwise judge gives no score to either reply, so there is no AUC of scores. What stands in its place is what an AUC
is the probability of: that the true reply is preferred to a control, a tie counting one half, over both orders and over
contexts; the paired concordance is the same number. A pair without a verdict in both orders is missing.

A learned judge knows the faults that it was taught. Each of those is scored a second time by the judge that was taught
all but that one, and only families that the scorer was not taught count; both are shown.

A qualified judge has shown that it sees planted faults, not that it agrees with people.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from harness import stats
from harness.composing import compose
from harness.errors import InputError
from harness.judging.control_rule import control_status, reason_of, weakest_status, what_would_settle
from harness.judging.judge_protocol import Judge, TaughtJudge
from harness.judging.preferences import first_position, item_values, position_consistency, rank_correlation
from harness.models.protocol import OnProgress
from harness.seeding import stream_of_rows
from harness.types import ControlItem, ControlResult, Estimate, JudgedItem, Message, Qualification, Score

if TYPE_CHECKING:
    import numpy as np

MIN_AUC = 0.60
N_REPEATED = 12  # true replies, or pairs, that are judged a second time
REPEAT_TOLERANCE = 1e-4  # other batches may round differently; a score that moves more is not repeatable
Basis = Literal["", "taught", "untaught"]
PREFERRED = "share preferring the true reply, ties half, both orders, CR2 + Satterthwaite by cluster, logit t"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What a judge made of one control."""

    control: ControlItem
    item: JudgedItem  # the true reply, of a pairwise judge against the control
    true: float | None  # the true reply's score, or its share of the win
    planted: float | None  # the control's
    basis: Basis = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """How a judge is qualified, and what decides its numbers besides its scores."""

    judge_id: str
    compares: bool
    min_auc: float
    level: float
    seed: int  # of a stream per number: no criterion's interval depends on its neighbours


def qualify(
    judge: Judge,
    controls: Sequence[ControlItem],
    *,
    rng: np.random.Generator,
    min_auc: float = MIN_AUC,
    level: float = 0.95,
    on_progress: OnProgress | None = None,
    again: Judge | None = None,
) -> list[Qualification]:
    """One `Qualification` per criterion of the judge, in the judge's order.

    A reply that stands in several controls is scored once, and a few true replies (or pairs) a second time, by `again`
    where the judge itself would only look its answers up. A criterion without controls is inconclusive: nothing is
    known about it. Raises InputError when no control is of the judge's criteria.
    """
    controls = _validate(judge, controls, min_auc=min_auc, level=level)
    compares = judge.compares
    rule = _Rule(judge_id=judge.id, compares=compares, min_auc=min_auc, level=level, seed=int(rng.integers(1 << 63)))
    scores = judge.score(control_items(controls, compares=compares), on_progress=on_progress)
    second = (again or judge).score(repeated_items(controls, compares=compares))
    judged = _judged(controls, item_values(scores), compares=compares)
    held_out: list[_Judged] = []
    if isinstance(judge, TaughtJudge):
        judged = [replace(one, basis=_basis(judge, one.control)) for one in judged]
        held_out = _held_out(judge, controls)
    return [
        _qualification(
            criterion.name,
            [one for one in judged if one.control.criterion == criterion.name],
            [one for one in held_out if one.control.criterion == criterion.name],
            [s for s in scores if s.criterion == criterion.name],
            [s for s in second if s.criterion == criterion.name],
            rule,
        )
        for criterion in judge.criteria
    ]


def _basis(judge: TaughtJudge, control: ControlItem) -> Basis:
    return "taught" if control.family in judge.taught(control.criterion) else "untaught"


def _held_out(judge: TaughtJudge, controls: Sequence[ControlItem]) -> list[_Judged]:
    """The controls of every family that was taught, scored by the judge that was taught the others."""
    found = []
    taught = [c for c in controls if _basis(judge, c) == "taught"]
    for family in dict.fromkeys(c.family for c in taught):
        own = [c for c in taught if c.family == family]
        scores = judge.without(family).score(control_items(own))
        found += [replace(one, basis="untaught") for one in _judged(own, item_values(scores), compares=False)]
    return found


def without_controls(judge_id: str, criteria: Sequence[str]) -> list[Qualification]:
    """Of a judge whose criteria nothing is planted for nothing is known."""
    reason = reason_of((), ())
    return [
        Qualification(judge_id=judge_id, criterion=c, status="inconclusive", families=(), reason=reason)
        for c in criteria
    ]


def control_items(controls: Sequence[ControlItem], *, compares: bool = False) -> list[JudgedItem]:
    """What a judge is asked to score: every different reply in its context once; or every pair."""
    return [_pair(c) for c in controls] if compares else list(_items_by_text(controls).values())


def repeated_items(controls: Sequence[ControlItem], *, compares: bool = False) -> list[JudgedItem]:
    """The true replies, or pairs, that are judged a second time: spread over all, in another order, since neighbours
    must not count."""
    items = _items_by_text(controls)
    firsts = control_items(controls, compares=True) if compares else [items[c.messages, c.true_reply] for c in controls]
    unique = list({item.id: item for item in firsts}.values())
    return list(reversed(unique[:: math.ceil(len(unique) / N_REPEATED)])) if unique else []


def is_self_judging(judge_family: str, variant_families: Iterable[str | None]) -> bool:
    """Whether a judge shares its family with a variant, or with the judge that made the preferences.

    Such scores are exploratory: models rate their own kind too high. A variant of unknown family (None: a file of
    generations, an endpoint) cannot be compared and counts as another.
    """
    own = _family(judge_family)
    return any(own == _family(family) for family in variant_families if family is not None)


def _judged(
    controls: Sequence[ControlItem], values: Mapping[tuple[str, str], float | None], *, compares: bool
) -> list[_Judged]:
    items, found = _items_by_text(controls), []
    for c in controls:
        item = _pair(c) if compares else items[c.messages, c.true_reply]
        true = values[item.id, c.criterion]
        if compares:
            planted = None if true is None else 1 - true
        else:
            planted = values[items[c.messages, c.control_reply].id, c.criterion]
        found.append(_Judged(control=c, item=item, true=true, planted=planted))
    return found


def _qualification(
    criterion: str,
    judged: Sequence[_Judged],
    held_out: Sequence[_Judged],
    scores: Sequence[Score],
    again: Sequence[Score],
    rule: _Rule,
) -> Qualification:
    groups: dict[tuple[str, str], list[_Judged]] = {}
    for one in (*judged, *held_out):
        groups.setdefault((one.control.family, one.basis), []).append(one)
    results = {key: _control_result(group, rule) for key, group in groups.items()}
    unscored = [key[0] for key, r in results.items() if r is None and groups[key][0].control.kind != "beside"]
    families = tuple(result for result in results.values() if result is not None)
    counted = [result for result in families if result.counts]
    clusters = {one.item.id: one.control.cluster for one in judged}
    standing = [one for one in judged if one.true is not None]
    kept = {one.item.id for one in standing}
    whole, n_missing = [s for s in scores if s.item_id in kept], len(judged) - len(standing)
    is_placed = rule.compares and bool(whole)
    return Qualification(
        judge_id=rule.judge_id,
        criterion=criterion,
        status="not_qualified" if unscored else weakest_status([f.status for f in counted]),
        families=families,
        repeatability=_repeatability(scores, again, clusters, rule),
        length_sensitivity=_length_sensitivity(criterion, judged, rule),
        position_consistency=position_consistency(whole, clusters=clusters, level=rule.level, n_missing=n_missing)
        if is_placed
        else None,
        first_position=first_position(whole, clusters=clusters, level=rule.level) if is_placed else None,
        reason=reason_of(counted, unscored),
    )


def _control_result(judged: Sequence[_Judged], rule: _Rule) -> ControlResult | None:
    """The result of one family; None when no context has both scores, or no pair both verdicts."""
    whole = [(one.true, one.planted, one) for one in judged if one.true is not None and one.planted is not None]
    if not whole:
        return None
    control, n_missing = judged[0].control, len(judged) - len(whole)
    trues, planted = [true for true, _, _ in whole], [other for _, other, _ in whole]
    films = [one.control.cluster for _, _, one in whole]
    if rule.compares:
        auc = concordance = stats.proportion_estimate(
            trues, clusters=films, level=rule.level, n_missing=n_missing, method=PREFERRED, row="pair"
        )
    else:
        n_unscored = sum((one.true is None) + (one.planted is None) for one in judged)
        auc = stats.roc_auc(
            trues, planted, positive_clusters=films, negative_clusters=films, level=rule.level, n_missing=n_unscored
        )
        concordance = stats.concordance(trues, planted, clusters=films, level=rule.level, n_missing=n_missing)
    n, min_auc = len(judged), rule.min_auc
    status = control_status(auc, concordance, kind=control.kind, n_controls=n, min_auc=min_auc)
    settle = what_would_settle(auc, n_pairs=len(whole), n_controls=n, min_auc=min_auc)
    return compose(
        ControlResult,
        control,
        auc=auc,
        concordance=concordance,
        status=status,
        settle=settle if status == "inconclusive" else "",
        basis=judged[0].basis,
    )


def _repeatability(
    scores: Sequence[Score], again: Sequence[Score], clusters: Mapping[str, str], rule: _Rule
) -> Estimate | None:
    """Share of scores that are the same, or missing for the same reason, when they are asked for a second time."""
    if not again:
        return None
    first = {(s.item_id, s.shown_first): s for s in scores}
    what = "verdicts given" if rule.compares else "replies scored"
    return stats.proportion_estimate(
        [float(_is_same(first[s.item_id, s.shown_first], s)) for s in again],
        clusters=[clusters[s.item_id] for s in again],
        level=rule.level,
        method=f"share of {what} the same twice, CR2 + Satterthwaite by cluster, logit t",
        row="verdict" if rule.compares else "",
    )


def _is_same(first: Score, again: Score) -> bool:
    if first.value is None or again.value is None:
        return first.status == again.status
    return math.isclose(first.value, again.value, abs_tol=REPEAT_TOLERANCE)


def _length_sensitivity(criterion: str, judged: Sequence[_Judged], rule: _Rule) -> Estimate | None:
    """Rank correlation of score and length in characters over the true replies, of a pair with the difference in
    length; None where it is not defined."""
    unique = {one.item.id: one for one in judged}.values()
    rows = [
        (one.true, len(one.item.reply) - len(one.item.opponent or ""), one.control.cluster)
        for one in unique
        if one.true is not None
    ]
    rng = stream_of_rows(rule.seed, criterion, rows=rows)
    return rank_correlation(rows, rng=rng, level=rule.level, n_missing=len(unique) - len(rows))


def _pair(control: ControlItem) -> JudgedItem:
    """The true reply against the control; a judge sees both orders, so that this gives nothing away."""
    return JudgedItem(
        id=f"{control.criterion}/{control.id}",
        messages=control.messages,
        reply=control.true_reply,
        opponent=control.control_reply,
        cluster=control.cluster,
        criteria=(control.criterion,),
    )


def _items_by_text(controls: Sequence[ControlItem]) -> dict[tuple[tuple[Message, ...], str], JudgedItem]:
    """Every different reply in its context once, with the criteria it is a control of; contexts kept together."""
    contexts: dict[tuple[Message, ...], dict[str, list[ControlItem]]] = {}
    for control in controls:
        for reply in (control.true_reply, control.control_reply):
            contexts.setdefault(control.messages, {}).setdefault(reply, []).append(control)
    return {
        (messages, reply): JudgedItem(
            id=f"control-{i}-{j}",
            messages=messages,
            reply=reply,
            cluster=of[0].cluster,
            criteria=tuple(sorted({c.criterion for c in of})),
        )
        for i, (messages, replies) in enumerate(contexts.items())
        for j, (reply, of) in enumerate(replies.items())
    }


def _family(name: str) -> str:
    return name.strip().casefold()


def _validate(judge: Judge, controls: Sequence[ControlItem], *, min_auc: float, level: float) -> list[ControlItem]:
    if not 0.5 <= min_auc < 1:
        raise InputError(f"`min_auc` must lie in [0.5, 1), got {min_auc:g}; 0.5 is a coin's")
    if not 0 < level < 1:
        raise InputError(f"`level` must lie in (0, 1), got {level:g}; 0.95 is usual")
    names = [c.name for c in judge.criteria]
    own = [c for c in controls if c.criterion in names]
    if not own:
        raise InputError(f"`controls` must hold some of the judge's criteria ({', '.join(names)}), got none")
    kinds = {(c.criterion, c.family): c.kind for c in own}
    mixed = next((c for c in own if kinds[c.criterion, c.family] != c.kind), None)
    if mixed is not None:
        raise InputError(f"`{mixed.id}`: one control family must be of one kind, got both kinds of {mixed.family!r}")
    return own
