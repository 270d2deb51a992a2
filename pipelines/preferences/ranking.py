"""Who prefers: a judge's scores, or the human before a sample; `pairwise_ranking` has judges that compare replies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from harness.errors import ConfigError
from harness.experiment.lineage import REFERENCE
from harness.judging.results import item_id, judged_items
from harness.types import Candidate, Generation, Progress, Prompt
from pipelines.corpus.duplicates import words

if TYPE_CHECKING:
    from harness.judging.protocol import Judge


Ranked = tuple[float, Generation]  # in the ranker's units


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A preference between two replies to one prompt."""

    chosen: str
    rejected: str
    margin: float | None  # in the ranker's units; None where it has none
    candidates: tuple[Candidate, ...]  # all that stood for choice
    orders_agree: bool | None = None  # of a ranker that shows two replies side by side
    reason: str = ""


class Ranker(Protocol):
    """Prefers among the candidates of each prompt."""

    @property
    def id(self) -> str:
        """Who prefers: a judge's id, or `reference`."""

    def choose(
        self,
        prompts: Sequence[Prompt],
        candidates: Mapping[str, Sequence[Generation]],
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, Choice | None]:
        """A choice per prompt id, None where no two candidates differ in rank.

        Args:
            prompts: what was asked.
            candidates: complete replies, by prompt id.
            on_progress: told how far the judge is.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRanker:
    """The human reply before a sample: needs no judge, and knows nothing but who wrote which."""

    @property
    def id(self) -> str:
        """Its name."""
        return REFERENCE

    def choose(
        self,
        prompts: Sequence[Prompt],
        candidates: Mapping[str, Sequence[Generation]],
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, Choice | None]:
        """The reference against the first candidate that differs from it."""
        chosen: dict[str, Choice | None] = {}
        for prompt in prompts:
            reference = (prompt.reference or "").strip()
            other = next((g for g in candidates[prompt.id] if words(g.text) != words(reference)), None)
            if other is None or not reference:
                chosen[prompt.id] = None
                continue
            stood = tuple(candidate(g, None) for g in candidates[prompt.id])
            chosen[prompt.id] = Choice(chosen=reference, rejected=other.text, margin=None, candidates=stood)
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRanker:
    """A judge that scores single replies: its best against its worst."""

    judge: Judge
    criterion: str

    def __post_init__(self) -> None:
        known = [c.name for c in self.judge.criteria]
        if self.criterion not in known:
            raise ConfigError(
                f"`criterion` must be one that {self.judge.id} scores, {', '.join(known)}, got {self.criterion!r}"
            )

    @property
    def id(self) -> str:
        """The judge's."""
        return self.judge.id

    def choose(
        self,
        prompts: Sequence[Prompt],
        candidates: Mapping[str, Sequence[Generation]],
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, Choice | None]:
        """Highest against lowest score; a candidate without a score stands back, and so does the rest of a tie."""
        asked = judged_items(prompts, [g for prompt in prompts for g in candidates[prompt.id]])
        wanted = [replace(item, criteria=(self.criterion,)) for item in asked]
        scores = {s.item_id: s.value for s in self.judge.score(wanted, on_progress=on_progress)} if wanted else {}
        return {prompt.id: self._choice([(g, scores[item_id(g)]) for g in candidates[prompt.id]]) for prompt in prompts}

    def _choice(self, scored: Sequence[tuple[Generation, float | None]]) -> Choice | None:
        ends = best_and_worst([(value, g) for g, value in scored if value is not None])
        if ends is None:
            return None
        (high, best), (low, worst) = ends
        return Choice(
            chosen=best.text,
            rejected=worst.text,
            margin=high - low,
            candidates=tuple(candidate(g, value) for g, value in scored),
            reason=f"{self.criterion} {high:.3g} against {low:.3g}",
        )


def best_and_worst(ranked: Sequence[Ranked]) -> tuple[Ranked, Ranked] | None:
    """The replies of highest and lowest rank; None where ranks are equal, or both say the same words."""
    if len(ranked) < 2:
        return None
    best, worst = (pick(ranked, key=lambda pair: pair[0]) for pick in (max, min))
    is_same = best[0] <= worst[0] or words(best[1].text) == words(worst[1].text)
    return None if is_same else (best, worst)


def candidate(generation: Generation, score: float | None) -> Candidate:
    """A reply that stood for choice, with its rank where it has one."""
    return Candidate(text=generation.text, score=score, n_tokens=generation.n_tokens)
