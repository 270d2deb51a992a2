"""Which pairs are trained on, in what order and in what rows, and which are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ConfigError
from harness.models.chat_templates import chat_format
from harness.seeding import stream
from harness.store.prepared import read_summary
from harness.types import PreferencePair
from pipelines.preferences.held_out import require_apart
from pipelines.training.pair_rows import PairIds, tokenise
from pipelines.training.recipe import PairSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPlan:
    """The pairs of a whole training."""

    train: tuple[PairIds, ...]
    packs: tuple[tuple[int, ...], ...]  # rows of `train` that share a row, all epochs, in order
    validation: tuple[PairIds, ...]  # of films that give no training pair
    n_too_long: int  # left out for `max_tokens`

    @property
    def longest_row(self) -> int:
        """Tokens of the longest pack, prompts counted once."""
        each = [len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for pair in self.train]
        return max(sum(each[row] for row in pack) for pack in self.packs)

    @property
    def n_tokens(self) -> int:
        """Tokens of all packs, prompts counted once for each reply."""
        return sum(self.train[row].n_tokens for pack in self.packs for row in pack)


def plan_pairs(
    pairs: Sequence[PreferencePair],
    *,
    tokenizer: PreTrainedTokenizerBase,
    prepared: Path,
    settings: PairSettings,
    n_validation: int,
    seed: int,
) -> PairPlan:
    """Hold films out, draw evenly over the rest, and put the pairs into rows; the same for the same seed.

    Raises:
        SplitError: a pair is near a held-out row of the corpus.
        ConfigError: too few pairs or films remain.
    """
    require_apart(pairs, prepared)
    system, end_id = read_summary(prepared).system, chat_format(tokenizer).end_id
    every = [tokenise(tokenizer, pair, system=system, end_id=end_id) for pair in pairs]
    fitting = [pair for pair in every if pair.longest <= settings.max_tokens]
    films = _by_film(fitting, seed=seed)
    held: list[PairIds] = []
    while films and len(held) < n_validation:
        held += films.pop(next(iter(films)))
    if not films:
        raise ConfigError(
            f"`validation.n_pairs` must leave clusters to train on, got {n_validation} for {len(fitting)} pairs of "
            f"{len({pair.cluster for pair in fitting})} clusters within `data.max_tokens`: make more, or hold out fewer"
        )
    drawn = _in_turns(films, most=settings.n_pairs)
    packs: list[tuple[int, ...]] = []
    for epoch in range(settings.epochs):
        order = stream(seed, "pairs", epoch).permutation(len(drawn)).tolist()
        size = settings.pairs_per_pack
        packs += [tuple(order[begin : begin + size]) for begin in range(0, len(order), size)]
    return PairPlan(
        train=tuple(drawn), packs=tuple(packs), validation=tuple(held), n_too_long=len(every) - len(fitting)
    )


def _by_film(pairs: Sequence[PairIds], *, seed: int) -> dict[str, list[PairIds]]:
    """Films in a seeded order, each with its pairs in a seeded order."""
    films: dict[str, list[PairIds]] = {}
    for pair in sorted(pairs, key=lambda pair: (pair.prompt_id, pair.chosen, pair.rejected)):
        films.setdefault(pair.cluster, []).append(pair)
    rng = stream(seed, "preference films")
    names = sorted(films)
    order = [names[i] for i in rng.permutation(len(names))]
    return {name: [films[name][i] for i in rng.permutation(len(films[name]))] for name in order}


def _in_turns(films: dict[str, list[PairIds]], *, most: int | None) -> list[PairIds]:
    """Films taking turns, so that no long film decides what is learned."""
    deepest = max(map(len, films.values()))
    taken = [queue[depth] for depth in range(deepest) for queue in films.values() if depth < len(queue)]
    return taken if most is None else taken[:most]
