"""Contrasts in people's units over all prompts: a judge's scores everywhere, corrected by people who saw a sample."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.errors import InputError
from harness.stats import PoweredMean, powered_mean, proportion_estimate, within_range
from harness.stats.crossed import panel_claim
from harness.stats.rows import Floats
from harness.studies.rating_rows import RatedSlot
from harness.studies.studies import POPULATION, Study
from harness.types import Estimate

FIRST_DRAW = 0  # the one that people rate


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCriterion:
    """One judge's scores on one criterion."""

    name: str
    judge_id: str
    values: Mapping[tuple[str, str, int], float]  # prompt, variant, draw -> score; a missing one is not there
    clusters: Mapping[str, str]  # prompt -> film
    is_mark: bool  # on the scale that people mark on


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedContrast:
    """One variant against another."""

    variant: str
    opponent: str
    powered: PoweredMean | None  # marks: mean difference; votes: mean vote for `variant`, ties half
    concordance: Estimate | None  # votes: share of prompts where judge and panel prefer the same
    n_unscored: int  # prompts of the population that the judge has no score for
    why_not: str


def mark_contrasts(
    study: Study, rated: Sequence[RatedSlot], one: JudgedCriterion, *, drawn: frozenset[str]
) -> tuple[ValidatedContrast, ...]:
    """Differences of mean marks."""
    marks: dict[tuple[str, str], list[float]] = {}
    for row in rated:
        if one.name in row.marks:
            marks.setdefault((row.prompt_id, row.replies[0].variant), []).append(float(row.marks[one.name]))
    variants = list(dict.fromkeys(r.replies[0].variant for r in sorted(rated, key=lambda r: r.item_id)))
    contrasts = []
    for names in itertools.combinations(variants, 2):
        human = {
            prompt: float(np.mean(marks[prompt, names[0]]) - np.mean(marks[prompt, names[1]]))
            for prompt in drawn
            if all((prompt, name) in marks for name in names)
        }
        contrasts.append(_contrast(study, rated, one, names, human, drawn=drawn, is_vote=False))
    return tuple(contrasts)


def vote_contrasts(
    study: Study, rated: Sequence[RatedSlot], one: JudgedCriterion, *, drawn: frozenset[str]
) -> tuple[ValidatedContrast, ...]:
    """Mean votes; the judge votes for the reply that it scores higher."""
    votes: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rated:
        if row.first_wins is not None:
            names = (row.replies[0].variant, row.replies[1].variant)
            votes.setdefault(names, {}).setdefault(row.prompt_id, []).append(row.first_wins)
    contrasts = []
    for names, by_prompt in sorted(votes.items()):
        human = {prompt: float(np.mean(given)) for prompt, given in by_prompt.items()}
        contrasts.append(_contrast(study, rated, one, names, human, drawn=drawn, is_vote=True))
    return tuple(contrasts)


def _contrast(
    study: Study,
    rated: Sequence[RatedSlot],
    one: JudgedCriterion,
    names: tuple[str, str],
    human: Mapping[str, float],
    *,
    drawn: frozenset[str],
    is_vote: bool,
) -> ValidatedContrast:
    """Judge and people on one pair of variants, prompt by prompt; `human` holds those that people answered."""
    population = list(study.lineage[POPULATION])
    prompts = [p for p in population if all((p, name, FIRST_DRAW) in one.values for name in names)]
    clusters = [one.clusters[p] for p in prompts]
    gaps = np.array([one.values[p, names[0], FIRST_DRAW] - one.values[p, names[1], FIRST_DRAW] for p in prompts])
    judge = (np.sign(gaps) + 1) / 2 if is_vote else gaps
    people = np.array([human.get(p, math.nan) for p in prompts])
    concordance = _concordance(judge, people, clusters, level=study.design.level) if is_vote else None
    powered, why_not = None, ""
    try:
        powered = powered_mean(
            judge,
            people,
            # The sample is a simple one: every prompt was drawn with the probability that the drawn ones carry.
            probabilities=np.full(len(prompts), rated[0].probability or 0.0),
            clusters=clusters,
            level=study.design.level,
            n_missing=len(drawn & set(prompts)) - int(np.count_nonzero(~np.isnan(people))),
        )
        powered = _about_these(powered, len({r.rater for r in rated}), is_share=concordance is not None)
    except InputError as err:
        why_not = str(err)
    return ValidatedContrast(
        variant=names[0],
        opponent=names[1],
        powered=powered,
        concordance=concordance,
        n_unscored=len(population) - len(prompts),
        why_not=why_not,
    )


def _about_these(powered: PoweredMean, n_raters: int, *, is_share: bool) -> PoweredMean:
    """The panel's own opinion: raters are not resampled; and shares stay within what shares can be."""

    def kept(estimate: Estimate) -> Estimate:
        return within_range(estimate, low=0, high=1) if is_share else estimate

    return replace(
        powered,
        test=replace(powered.test, estimate=panel_claim(kept(powered.test.estimate), n_raters)),
        human_only=panel_claim(kept(powered.human_only), n_raters),
        judge_only=kept(powered.judge_only),
    )


def _concordance(judge: Floats, human: Floats, clusters: Sequence[str], *, level: float) -> Estimate | None:
    there = np.flatnonzero(~np.isnan(human)).tolist()
    if not there:
        return None
    return proportion_estimate(
        0.5 + 0.5 * np.sign(judge[there] - 0.5) * np.sign(human[there] - 0.5),
        clusters=[clusters[i] for i in there],
        level=level,
        method="share of prompts where judge and panel prefer the same (ties half), CR2 + Satterthwaite by cluster",
    )
