"""What people made of each prompt: who was preferred by most of them, where they were even, split, or liked neither."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.stats import BettingSequence
from harness.studies.items import ItemReply
from harness.studies.rating_rows import RatedSlot
from harness.types import Estimate, Message

Outcome = Literal["variant", "opponent", "tie", "both_bad", "split"]
OUTCOMES: tuple[Outcome, ...] = ("variant", "opponent", "tie", "split", "both_bad")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVotes:
    """One prompt that everybody who is to rate it has rated."""

    prompt_id: str
    messages: tuple[Message, ...]
    replies: tuple[ItemReply, ...]  # of the variant, then of its opponent
    votes: tuple[tuple[str, str], ...]  # rater, and the preferred variant, "tie" or "both_bad"
    comments: tuple[str, ...]  # that raters wrote beside their votes
    mean: float  # vote for the variant, ties and both bad ½

    @property
    def outcome(self) -> Outcome:
        """What more than half of the votes said; `split` where nothing was said by so many."""
        [(said, n)] = Counter(vote for _, vote in self.votes).most_common(1)
        if 2 * n <= len(self.votes):
            return "split"
        names: dict[str, Outcome] = {self.replies[0].variant: "variant", self.replies[1].variant: "opponent"}
        return names.get(said) or ("tie" if said == "tie" else "both_bad")

    @property
    def disagreement(self) -> float:
        """How far raters preferred opposite replies: 1 where as many took one as the other, 0 where nobody objected."""
        first, second = (sum(vote == reply.variant for _, vote in self.votes) for reply in self.replies)
        return 2 * min(first, second) / len(self.votes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """All prompts of one pair of variants that are complete, in the order in which they were completed."""

    prompts: tuple[PromptVotes, ...]
    course: tuple[Estimate, ...]  # mean vote with its band, after each prompt
    preferred: Estimate | None  # share of prompts on which most raters preferred the variant; valid at every look

    def n(self, outcome: Outcome) -> int:
        """Prompts of that outcome."""
        return sum(prompt.outcome == outcome for prompt in self.prompts)

    @property
    def disputed(self) -> tuple[PromptVotes, ...]:
        """Prompts on which raters preferred opposite replies, the most disputed first."""
        found = [prompt for prompt in self.prompts if prompt.disagreement > 0]
        return tuple(sorted(found, key=lambda prompt: -prompt.disagreement))


def tally(settled: Sequence[Sequence[RatedSlot]], *, race: BettingSequence, level: float) -> Tally:
    """Count prompts, each given by its slots, in the order in which they were completed; `race` takes their votes."""
    prompts = tuple(_prompt(rows) for rows in settled)
    majority = BettingSequence(level=level)
    course = tuple(race.update(prompt.mean).estimate for prompt in prompts)
    for prompt in prompts:
        majority.update(float(prompt.outcome == "variant"))
    return Tally(prompts=prompts, course=course, preferred=majority.look().estimate if prompts else None)


def _prompt(rows: Sequence[RatedSlot]) -> PromptVotes:
    given = [(row, row.winner, row.first_wins) for row in rows]
    means = [first for _, _, first in given if first is not None]
    return PromptVotes(
        prompt_id=rows[0].prompt_id,
        messages=rows[0].messages,
        replies=rows[0].replies,
        votes=tuple((row.rater, winner) for row, winner, _ in given if winner is not None),
        comments=tuple(row.comment for row in rows if row.comment),
        mean=sum(means) / len(means),
    )
