"""What moves a pairwise judge besides the replies: findings of each variant that stand beside its share of wins.

A win share means little while a judge prefers a position or a length, so neither is shown without the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.experiment.judges.pairwise_stages import PREFERENCES
from harness.experiment.measured_arms import source_of
from harness.judging.preferences import ComparedGenerations, item_values, pairwise_estimates
from harness.reporting.record import Measure
from harness.seeding import stream
from harness.store.artifacts import read_parquet
from harness.types import Finding

if TYPE_CHECKING:
    from harness.experiment.judges.judge_uses import JudgeUse
    from harness.store.tracking import StageResult

REVISION = 1


# Figures of `PairwiseEstimates`, by their names there.
BIASES = (
    Measure(
        name="position_consistency",
        label="same verdict in both orders",
        unit="share",
        better=None,
        description="Share of pairs on which the judge says the same with the replies exchanged. Near 0 it looks at "
        "the position alone, and every share of wins is one half.",
    ),
    Measure(
        name="first_position",
        label="verdicts for the first position",
        unit="share",
        better=None,
        description="Share of decisive verdicts for the reply that was shown first; one half is no preference.",
    ),
    Measure(
        name="length_correlation",
        label="wins and length",
        unit="",
        better=None,
        description="Rank correlation of the share of wins with how much longer the reply is than the control's.",
    ),
)


def bias_measures(uses: Mapping[str, JudgeUse]) -> tuple[Measure, ...]:
    """What the findings' names mean, for each measure with a pairwise judge."""
    return tuple(
        replace(
            bias,
            name=f"{measure}_{bias.name}",
            label=f"{measure.replace('_', ' ').capitalize()}: {bias.label}",
            criterion=use.criterion,
        )
        for measure, use in uses.items()
        if use.spec.declared.compares
        for bias in BIASES
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A stage of a pairwise judge's verdicts."""

    judge_id: str
    stage: StageResult
    arms: Mapping[str, str]  # name of replies in it → whose they are


def bias_findings(
    uses: Mapping[str, JudgeUse], compared: Sequence[Comparison], *, seed: int, level: float
) -> tuple[Finding, ...]:
    """Every figure that is defined, of each arm's first seed.

    A variant on which no pair has both verdicts has none, and a judge that said one thing throughout no correlation.
    """
    found = {
        (finding.name, finding.variant): finding
        for measure, use in uses.items()
        for comparison in reversed(compared)
        if comparison.judge_id == use.judge_id
        for finding in _of_measure(measure, use, comparison, seed=seed, level=level)
    }
    return tuple(found.values())


def _of_measure(measure: str, use: JudgeUse, compared: Comparison, *, seed: int, level: float) -> Iterator[Finding]:
    stage = compared.stage
    said = read_parquet(stage.folder / PREFERENCES, ComparedGenerations, where={"criterion": [use.criterion]})
    for variant in dict.fromkeys(row.first for row in said):
        of = [row for row in said if row.first == variant]
        if all(share is None for share in item_values(of).values()):
            continue
        estimates = pairwise_estimates(of, rng=stream(seed, "biases", measure, variant), level=level)
        source = source_of(stage, PREFERENCES, first=variant, criterion=use.criterion)
        for bias in BIASES:
            if (estimate := getattr(estimates, bias.name)) is not None:
                yield Finding(
                    name=f"{measure}_{bias.name}",
                    estimate=estimate,
                    unit=bias.unit,
                    better=None,
                    variant=compared.arms[variant],
                    judge_id=use.judge_id,
                    sources=(source,),
                )
