"""Arms × seeds as rows: one measure of one arm with rows from every seed, and paired differences of two arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.experiment.analysis.contrasts import MeasuredArm, sources_of
from harness.experiment.analysis.values import MIN_SEEDS_CROSSED, Lacking, joined, mean_rows, pair, per_prompt, recoded
from harness.experiment.analysis.values import Differences as Differences
from harness.types import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededArm:
    """One measure of one arm, with its rows from every seed that was run."""

    measure: str
    arm: str
    by_seed: Mapping[int, MeasuredArm]
    is_trained: bool  # False: nothing was trained here, and the rows are the same for every seed
    n_seeds_lost: int = 0  # trainings that should be there and failed
    judge_id: str | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where the rows of every seed stand, each place once."""
        return sources_of(list(self.by_seed.values()))

    @property
    def speaking(self) -> list[MeasuredArm]:
        """The seeds that count: an untrained arm is the same with each, and counts once."""
        return list(self.by_seed.values())[: None if self.is_trained else 1]

    def pooled(self) -> MeasuredArm:
        """All seeds' rows as one measured arm, e.g. to take a standard deviation of."""
        return replace(self.speaking[0], rows=joined([arm.rows for arm in self.speaking]), sources=self.sources)

    def by_prompt(self) -> SeededArm:
        """The same with one row a prompt in each seed: the mean of its draws."""
        rows = {seed: replace(arm, rows=per_prompt(arm.rows)) for seed, arm in self.by_seed.items()}
        return replace(self, by_seed=rows)


def side_of(members: Sequence[SeededArm | None]) -> SeededArm | None:
    """One side of a contrast: an arm, or the mean of several within each seed; None where one of them is lost."""
    found = [arm for arm in members if arm is not None]
    if len(found) < len(members):
        return None
    if len(found) == 1:
        return found[0]
    shared = [seed for seed in found[0].by_seed if all(seed in arm.by_seed for arm in found)]
    return SeededArm(
        measure=found[0].measure,
        arm=", ".join(arm.arm for arm in found),
        by_seed={
            seed: replace(
                found[0].by_seed[seed],
                rows=mean_rows([arm.by_seed[seed].rows for arm in found]),
                sources=sources_of([arm.by_seed[seed] for arm in found]),
            )
            for seed in shared
        },
        is_trained=any(arm.is_trained for arm in found),
        n_seeds_lost=max(arm.n_seeds_lost for arm in found),
        judge_id=found[0].judge_id,
    )


def paired_rows(treatment: SeededArm, reference: SeededArm) -> Differences | None:
    """Pair prompts within each seed that both arms have; what one of them lacks is counted as missing.

    None where no seed is shared.
    """
    is_trained = treatment.is_trained or reference.is_trained
    both = [seed for seed in treatment.by_seed if seed in reference.by_seed]
    both = both if is_trained else both[:1]
    if not both:
        return None
    first, second = treatment.by_prompt().by_seed, reference.by_prompt().by_seed
    pairs = [pair(first[seed].rows, second[seed].rows) for seed in both]
    lacking = Lacking.joined([found.lacking for found in pairs])
    n_per_seed = max(len(measured.rows) for measured in first.values())
    return Differences(
        treatment=np.concatenate([found.treatment for found in pairs]),
        reference=np.concatenate([found.reference for found in pairs]),
        seeds=np.repeat(np.array(both, dtype=np.intp), [len(found.treatment) for found in pairs]),
        prompts=recoded([found.prompts for found in pairs]),
        clusters=recoded([found.clusters for found in pairs]),
        n_missing=lacking.n + n_per_seed * max(treatment.n_seeds_lost, reference.n_seeds_lost),
        lacking=lacking,
        is_crossed=len(both) >= MIN_SEEDS_CROSSED and is_trained,
        sources=treatment.sources + reference.sources,
    )


def paired_sides(by_arm: Mapping[str, SeededArm], sides: Sequence[Sequence[str]]) -> Differences | None:
    """Pair the two sides of a contrast; None where an arm is lost or no seed is shared."""
    treatment, reference = (side_of([by_arm.get(name) for name in side]) for side in sides)
    return None if treatment is None or reference is None else paired_rows(treatment, reference)
