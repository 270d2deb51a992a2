"""A question is one contrast on one measure with its smallest effect; whether it was asked before its data existed.

The data of a contrast exist once both of its sides have replied. So a question was declared in time where it stood
declared while the later side replied; replies of the other side, made for another question, tell nothing of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.store.artifacts import digest_json

if TYPE_CHECKING:
    from harness.experiment.design import ContrastDesign, MeasureDesign

LENGTH = 16  # characters of a digest: enough to tell questions apart, short enough for many in one tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One declared contrast on one declared measure."""

    contrast: str
    measure: str
    arms: tuple[str, ...]  # of both sides
    digest: str  # of what is compared, the measure, its direction and its smallest effect

    @property
    def label(self) -> str:
        """As a reader knows it."""
        return f"{self.contrast} on {self.measure}"


def questions_of(
    contrasts: Iterable[ContrastDesign],
    measures: Mapping[str, MeasureDesign],
    *,
    family: Sequence[str],
    identity: Mapping[str, Any],
) -> tuple[Question, ...]:
    """The questions of a declaration; `identity` says of each arm what it is, whatever it is called."""
    return tuple(
        Question(
            contrast=contrast.name,
            measure=name,
            arms=tuple(arm for side in contrast.sides for arm in side),
            digest=digest_json(
                {
                    # A question turned round is the same question.
                    "sides": sorted(sorted(digest_json(identity[arm]) for arm in side) for side in contrast.sides),
                    "measure": name,
                    "declared": measures[name].model_dump(mode="json")
                    | {"judge": (measures[name].judge or "").rsplit("/", 1)[-1]},
                }
            )[:LENGTH],
        )
        for name in family
        for contrast in contrasts
    )


def declared_late(
    questions: Iterable[Question], *, declaration: str, standing: Iterable[Mapping[str, Collection[str]]]
) -> tuple[str, ...]:
    """Labels of the questions that both sides had replied before.

    Args:
        declaration: digest of the whole declaration, for replies from before questions had digests of their own.
        standing: for each seed, by arm: digests that stood declared while the arm replied; an arm without replies is
            not there.
    """
    seeds = tuple(standing)

    def is_late(question: Question) -> bool:
        return any(
            there and not any(question.digest in known or declaration in known for known in there)
            for by_arm in seeds
            if (there := [by_arm[arm] for arm in question.arms if arm in by_arm])
        )

    return tuple(question.label for question in questions if is_late(question))
