"""Who prefers, where a judge compares two replies: every candidate against every other, in both orders."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import ConfigError
from harness.judging.preferences import PART
from harness.store.artifacts import digest_json
from harness.types import Generation, JudgedPair, Place, Preference, Progress, Prompt
from pipelines.preferences.ranking import Choice, best_and_worst, candidate

if TYPE_CHECKING:
    from harness.judging.pairwise import Comparer

_Verdicts = dict[str, dict[Place, Preference]]  # pair id → reply shown first → verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRanker:
    """A pairwise judge: the candidate that wins most against the one that wins least.

    A candidate's rank is its mean share of wins over the others; a comparison counts 1, ½ or 0 in each order. A
    comparison of which an order is missing counts for nobody, and a candidate without any stands back.
    """

    comparer: Comparer
    criterion: str

    def __post_init__(self) -> None:
        known = [c.name for c in self.comparer.criteria]
        if self.criterion not in known:
            raise ConfigError(
                f"`criterion` must be one that {self.comparer.id} compares by, {', '.join(known)}, "
                f"got {self.criterion!r}"
            )

    @property
    def id(self) -> str:
        """The judge's."""
        return self.comparer.id

    def choose(
        self,
        prompts: Sequence[Prompt],
        candidates: Mapping[str, Sequence[Generation]],
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, Choice | None]:
        """See `Ranker.choose`; the choice says whether both orders of the two agree."""
        asked = [pair for prompt in prompts for pair in self._pairs(prompt, candidates[prompt.id])]
        verdicts: _Verdicts = {}
        for said in self.comparer.compare(asked, on_progress=on_progress) if asked else ():
            verdicts.setdefault(said.pair_id, {})[said.shown_first] = said
        return {prompt.id: self._choice(candidates[prompt.id], verdicts) for prompt in prompts}

    def _pairs(self, prompt: Prompt, candidates: Sequence[Generation]) -> Iterator[JudgedPair]:
        for one, other in itertools.combinations(candidates, 2):
            yield JudgedPair(
                id=_pair_id(one, other),
                messages=prompt.messages,
                first=one.text,
                second=other.text,
                cluster=prompt.cluster,
                is_first_truncated=one.finish_reason == "length",
                is_second_truncated=other.finish_reason == "length",
                criteria=(self.criterion,),
            )

    def _choice(self, candidates: Sequence[Generation], verdicts: _Verdicts) -> Choice | None:
        won: dict[int, list[float]] = {g.draw: [] for g in candidates}
        for one, other in itertools.combinations(candidates, 2):
            share = _share(verdicts[_pair_id(one, other)])
            if share is not None:
                won[one.draw].append(share)
                won[other.draw].append(1 - share)
        ranked = [(sum(parts) / len(parts), g) for g in candidates if (parts := won[g.draw])]
        ends = best_and_worst(ranked)
        if ends is None:
            return None
        (high, best), (low, worst) = ends
        shares = {g.draw: share for share, g in ranked}
        return Choice(
            chosen=best.text,
            rejected=worst.text,
            margin=high - low,
            candidates=tuple(candidate(g, shares.get(g.draw)) for g in candidates),
            orders_agree=_agrees(best, worst, verdicts),
            reason=f"{self.criterion}: wins {high:.0%} against {low:.0%}",
        )


def _share(both: Mapping[Place, Preference]) -> float | None:
    """What the first reply won of both orders; None where one is missing."""
    said = [PART[p.preferred] for p in both.values() if p.preferred is not None]
    return sum(said) / 2 if len(said) == 2 else None


def _agrees(best: Generation, worst: Generation, verdicts: _Verdicts) -> bool:
    """Whether the chosen reply was preferred to the rejected one wherever it stood."""
    is_first = best.draw < worst.draw
    both = verdicts[_pair_id(best, worst) if is_first else _pair_id(worst, best)]
    return len(both) == 2 and all(p.preferred == ("first" if is_first else "second") for p in both.values())


def _pair_id(one: Generation, other: Generation) -> str:
    return digest_json([one.prompt_id, one.variant, one.draw, other.draw])[:16]
