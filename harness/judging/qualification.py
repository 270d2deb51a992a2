"""Whether a judge may be believed: how well it tells true replies from planted controls.

Per criterion and control family the measure is the unpaired ROC AUC of true replies against controls with an interval
clustered by film, and beside it the paired concordance (share of contexts in which the true reply scores higher). The
rule, with `min_auc` 0.60:

- *qualified*: every family's lower bound is above `min_auc`;
- *not qualified*: some family's upper bound is below it, or an adversarial control is preferred, i.e. scores above its
  true reply in more than half of the contexts, or nothing could be scored;
- *inconclusive*: neither; `settle` says about how many controls would decide it.

A qualified judge has shown that it sees planted faults, not that it agrees with people.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness import stats
from harness.errors import InputError
from harness.judging.control_rule import control_status, reason_of, weakest_status, what_would_settle
from harness.judging.protocol import Judge, OnProgress
from harness.seeding import stream_of_rows
from harness.types import ControlItem, ControlResult, Estimate, JudgedItem, Message, Qualification, Score

if TYPE_CHECKING:
    import numpy as np

MIN_AUC = 0.60
N_REPEATED = 12  # true replies that are scored a second time
REPEAT_TOLERANCE = 1e-4  # other batches may round differently; a score that moves more is not repeatable


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """What a judge made of the controls: items by their text, and scores by item and criterion."""

    items: dict[tuple[tuple[Message, ...], str], JudgedItem]
    scores: dict[tuple[str, str], Score]

    def item(self, control: ControlItem, reply: str) -> JudgedItem:
        return self.items[control.messages, reply]

    def value(self, control: ControlItem, reply: str) -> float | None:
        return self.scores[self.item(control, reply).id, control.criterion].value


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

    A reply that stands in several controls is scored once, and a few true replies a second time, by `again` where the
    judge itself would only look its answers up. A criterion without controls is inconclusive: nothing is known about
    it. Raises InputError when no control is of the judge's criteria.
    """
    controls = _validate(judge, controls, min_auc=min_auc, level=level)
    items = _items_by_text(controls)
    seed = int(rng.integers(1 << 63))  # of a stream per number: no criterion's interval depends on its neighbours
    scored = _Scored(
        items=items,
        scores={(s.item_id, s.criterion): s for s in judge.score(list(items.values()), on_progress=on_progress)},
    )
    second = (again or judge).score(repeated_items(controls))
    return [
        _qualification(
            criterion.name,
            [c for c in controls if c.criterion == criterion.name],
            scored,
            [s for s in second if s.criterion == criterion.name],
            judge_id=judge.id,
            seed=seed,
            min_auc=min_auc,
            level=level,
        )
        for criterion in judge.criteria
    ]


def without_controls(judge_id: str, criteria: Sequence[str]) -> list[Qualification]:
    """Of a judge whose criteria nothing is planted for nothing is known."""
    reason = reason_of((), ())
    return [
        Qualification(judge_id=judge_id, criterion=c, status="inconclusive", families=(), reason=reason)
        for c in criteria
    ]


def control_items(controls: Sequence[ControlItem]) -> list[JudgedItem]:
    """What a judge is asked to score: every different reply in its context once."""
    return list(_items_by_text(controls).values())


def repeated_items(controls: Sequence[ControlItem]) -> list[JudgedItem]:
    """The true replies that are scored a second time: spread over all, in another order, since neighbours must not
    count."""
    items = _items_by_text(controls)
    true_items = list({(item := items[c.messages, c.true_reply]).id: item for c in controls}.values())
    return list(reversed(true_items[:: math.ceil(len(true_items) / N_REPEATED)])) if true_items else []


def is_self_judging(judge_family: str, variant_families: Iterable[str | None]) -> bool:
    """Whether a judge shares its family with a variant, or with the judge that made the preferences.

    Such scores are exploratory: models rate their own kind too high. A variant of unknown family (None: a file of
    generations, an endpoint) cannot be compared and counts as another.
    """
    own = _family(judge_family)
    return any(own == _family(family) for family in variant_families if family is not None)


def _qualification(
    criterion: str,
    controls: Sequence[ControlItem],
    scored: _Scored,
    again: Sequence[Score],
    *,
    judge_id: str,
    seed: int,
    min_auc: float,
    level: float,
) -> Qualification:
    names = list(dict.fromkeys(c.family for c in controls))
    results = [
        _control_result([c for c in controls if c.family == name], scored, min_auc=min_auc, level=level)
        for name in names
    ]
    unscored = [name for name, result in zip(names, results, strict=True) if result is None]
    families = tuple(result for result in results if result is not None)
    first = [scored.scores[s.item_id, criterion] for s in again]
    return Qualification(
        judge_id=judge_id,
        criterion=criterion,
        status="not_qualified" if unscored else weakest_status([f.status for f in families]),
        families=families,
        repeatability=_repeatability(first, again, scored, level=level),
        length_sensitivity=_length_sensitivity(controls, scored, seed=seed, level=level),
        reason=reason_of(families, unscored),
    )


def _control_result(
    controls: Sequence[ControlItem], scored: _Scored, *, min_auc: float, level: float
) -> ControlResult | None:
    """The result of one family; None when no context has both scores."""
    pairs = [(scored.value(c, c.true_reply), scored.value(c, c.control_reply), c.cluster) for c in controls]
    whole = [(true, control, film) for true, control, film in pairs if true is not None and control is not None]
    if not whole:
        return None
    trues, planted, films = zip(*whole, strict=True)
    n_missing = sum((true is None) + (control is None) for true, control, _ in pairs)
    auc = stats.roc_auc(
        trues, planted, positive_clusters=films, negative_clusters=films, level=level, n_missing=n_missing
    )
    concordance = stats.concordance(trues, planted, clusters=films, level=level, n_missing=len(controls) - len(whole))
    status = control_status(auc, concordance, kind=controls[0].kind, n_controls=len(controls), min_auc=min_auc)
    return ControlResult(
        criterion=controls[0].criterion,
        family=controls[0].family,
        kind=controls[0].kind,
        auc=auc,
        concordance=concordance,
        status=status,
        settle=what_would_settle(auc, n_pairs=len(whole), n_controls=len(controls), min_auc=min_auc)
        if status == "inconclusive"
        else "",
    )


def _repeatability(first: Sequence[Score], again: Sequence[Score], scored: _Scored, *, level: float) -> Estimate | None:
    """Share of replies that get the same score, or are missing for the same reason, when they are scored again."""
    clusters = {item.id: item.cluster for item in scored.items.values()}
    same = [1.0 if _is_same(a, b) else 0.0 for a, b in zip(first, again, strict=True)]
    if not same:
        return None
    # A share of rows is the concordance of 0/1 with one half; it brings the interval that a share near 1 needs.
    share = stats.concordance(same, [0.5] * len(same), clusters=[clusters[s.item_id] for s in first], level=level)
    method = share.method.replace("paired concordance", "share of replies scored the same twice")
    return replace(share, method=method)


def _is_same(first: Score, again: Score) -> bool:
    if first.value is None or again.value is None:
        return first.status == again.status
    return math.isclose(first.value, again.value, abs_tol=REPEAT_TOLERANCE)


def _length_sensitivity(
    controls: Sequence[ControlItem], scored: _Scored, *, seed: int, level: float
) -> Estimate | None:
    """Rank correlation of score and length in characters over the true replies; None where it is not defined."""
    unique = {scored.item(c, c.true_reply).id: c for c in controls}.values()
    rows = [
        (value, len(c.true_reply), c.cluster) for c in unique if (value := scored.value(c, c.true_reply)) is not None
    ]
    if len(rows) < 3 or len({v for v, _, _ in rows}) == 1 or len({n for _, n, _ in rows}) == 1:
        return None
    values, lengths, films = zip(*rows, strict=True)
    rng = stream_of_rows(seed, controls[0].criterion, rows=rows)
    return stats.spearman(values, lengths, clusters=films, rng=rng, level=level, n_missing=len(unique) - len(rows))


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
