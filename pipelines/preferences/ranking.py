"""Who prefers: a judge, by its scores or its comparisons, or the human before a sample."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from harness.errors import ConfigError
from harness.experiment.lineage import OTHER, REFERENCE
from harness.judging.preferences import item_values
from harness.judging.scored import item_id, judged_items
from harness.seeding import derive
from harness.store.artifacts import digest_json
from harness.types import Candidate, Generation, JudgedItem, PreferencePair, Prompt
from pipelines.corpus.duplicates import words

if TYPE_CHECKING:
    from harness.judging.judge_protocol import Judge

Ranked = tuple[float, Generation]  # in the ranker's units
Candidates = Mapping[str, Sequence[Generation]]  # complete replies, by prompt id


class Ranker(Protocol):
    """Prefers among the candidates of each prompt."""

    def choose(self, prompts: Sequence[Prompt], candidates: Candidates) -> dict[str, PreferencePair | None]:
        """A pair per prompt id, None where no two candidates differ in rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanRanker:
    """The human reply before another: needs no judge, and knows nothing but who wrote which.

    The other is a sample; with `others` it is what a human replied to one of those prompts, of another film: both are
    people's, one fits.
    """

    others: tuple[Prompt, ...] | None = None
    seed: int = 0  # of the draw among them

    def choose(self, prompts: Sequence[Prompt], candidates: Candidates) -> dict[str, PreferencePair | None]:
        """The reference against the first reply that differs from it."""
        return {prompt.id: self._pair(prompt, candidates.get(prompt.id, ())) for prompt in prompts}

    def _pair(self, prompt: Prompt, candidates: Sequence[Generation]) -> PreferencePair | None:
        reference = (prompt.reference or "").strip()
        replies = (g.text for g in candidates) if self.others is None else self._replies_elsewhere(prompt, self.others)
        other = next((said for said in replies if words(said) != words(reference)), None) if reference else None
        if other is None:
            return None
        stood = tuple(candidate(g, None) for g in candidates)
        by = REFERENCE if self.others is None else OTHER
        return PreferencePair(
            prompt=prompt, chosen=reference, rejected=other, margin=None, preferred_by=by, candidates=stood
        )

    def _replies_elsewhere(self, prompt: Prompt, others: tuple[Prompt, ...]) -> Iterator[str]:
        """What people said in other films, from a place on that is drawn by the prompt's id."""
        first = derive(self.seed, "other reply", prompt.id)
        for step in range(len(others)):
            other = others[(first + step) % len(others)]
            said = (other.reference or "").strip()
            if said and other.cluster != prompt.cluster:
                yield said


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRanker:
    """A judge: the best reply against the worst.

    Of a judge that scores single replies a candidate's rank is its score. One that compares sees every candidate
    against every other, and the rank is the mean share of wins: 1, ½ or 0 in each order. A candidate without a score,
    or without a comparison that has both orders, stands back.
    """

    judge: Judge
    criterion: str

    def __post_init__(self) -> None:
        known = [c.name for c in self.judge.criteria]
        if self.criterion not in known:
            raise ConfigError(
                f"`criterion` must be one that {self.judge.id} scores, {', '.join(known)}, got {self.criterion!r}"
            )

    def choose(self, prompts: Sequence[Prompt], candidates: Candidates) -> dict[str, PreferencePair | None]:
        """Highest against lowest rank; of a comparison the pair says whether both orders of the two agree."""
        asked = [item for prompt in prompts for item in self._items(prompt, candidates[prompt.id])]
        scores = self.judge.score(asked) if asked else []
        values = {item: value for (item, _), value in item_values(scores).items()}
        said: dict[str, list[float | None]] = {}
        for score in scores:
            said.setdefault(score.item_id, []).append(score.value)
        return {prompt.id: self._pair(prompt, candidates[prompt.id], values, said) for prompt in prompts}

    def _items(self, prompt: Prompt, candidates: Sequence[Generation]) -> Iterator[JudgedItem]:
        items = {item.id: replace(item, criteria=(self.criterion,)) for item in judged_items([prompt], candidates)}
        if not self.judge.compares:
            yield from items.values()
            return
        for one, other in itertools.combinations(candidates, 2):
            opponent = items[item_id(other)]
            yield replace(
                items[item_id(one)],
                id=_pair_id(one, other),
                opponent=opponent.reply,
                is_opponent_truncated=opponent.is_truncated,
            )

    def _pair(
        self,
        prompt: Prompt,
        candidates: Sequence[Generation],
        values: Mapping[str, float | None],
        said: Mapping[str, Sequence[float | None]],
    ) -> PreferencePair | None:
        compares = self.judge.compares
        ranks = _win_shares(candidates, values) if compares else {g.draw: values[item_id(g)] for g in candidates}
        ends = best_and_worst([(rank, g) for g in candidates if (rank := ranks[g.draw]) is not None])
        if ends is None:
            return None
        (high, best), (low, worst) = ends
        figures = f": wins {high:.0%} against {low:.0%}" if compares else f" {high:.3g} against {low:.3g}"
        return PreferencePair(
            prompt=prompt,
            chosen=best.text,
            rejected=worst.text,
            margin=high - low,
            preferred_by=self.judge.id,
            candidates=tuple(candidate(g, ranks[g.draw]) for g in candidates),
            orders_agree=_agrees(best, worst, said) if compares else None,
            reason=f"{self.criterion}{figures}",
        )


def _win_shares(candidates: Sequence[Generation], values: Mapping[str, float | None]) -> dict[int, float | None]:
    """By draw, the mean share of wins over the others; None without a comparison that has both orders."""
    won: dict[int, list[float]] = {g.draw: [] for g in candidates}
    for one, other in itertools.combinations(candidates, 2):
        share = values[_pair_id(one, other)]
        if share is not None:
            won[one.draw].append(share)
            won[other.draw].append(1 - share)
    return {draw: sum(parts) / len(parts) if parts else None for draw, parts in won.items()}


def _agrees(best: Generation, worst: Generation, said: Mapping[str, Sequence[float | None]]) -> bool:
    """Whether the chosen reply was preferred to the rejected one wherever it stood."""
    is_first = best.draw < worst.draw
    pair = _pair_id(best, worst) if is_first else _pair_id(worst, best)
    return said[pair] == [float(is_first)] * 2


def _pair_id(one: Generation, other: Generation) -> str:
    return digest_json([one.prompt_id, one.variant, one.draw, other.draw])[:16]


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
