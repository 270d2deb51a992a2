"""Which films train, which choose, which test: by film, seeded, and stable when films are added.

Every film gets a number in [0, 1) that depends on the seed and its id alone. Films below `test_share` are TEST, films
from `1 − validation_share` up are VALIDATION, the rest TRAIN. Where the shares give too few, TEST is filled up with the
lowest remaining numbers and VALIDATION with the highest. It follows that, in a corpus of at least
`min_test_clusters + 2` films, adding films never moves a film into TEST: what a model has trained on cannot become what
it is tested on. A film that only filled TEST up may leave it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from harness.errors import ConfigError, SplitError
from harness.seeding import uniform
from harness.types import SPLITS, Split
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.cut_scenes import scenes

MIN_FILMS = 6  # below it a film is too coarse a cluster: conversations take its place
MIN_VERDICT_CLUSTERS = 10  # below it TEST supports no verdict

THESE_ONLY = "these {unit}s only"
TOO_FEW_CLUSTERS = "inconclusive: too few clusters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The split of every cluster, and what follows from how many there are."""

    assigned: Mapping[str, Split]  # by cluster, in corpus order
    notes: tuple[str, ...] = ()  # to be carried by every estimate, e.g. "these films only"

    def clusters(self, split: Split) -> tuple[str, ...]:
        """The clusters of one split, in corpus order."""
        return tuple(cluster for cluster, its_split in self.assigned.items() if its_split == split)

    @property
    def verdict_limit(self) -> str:
        """Why TEST can support no verdict; empty where it can."""
        return TOO_FEW_CLUSTERS if len(self.clusters("test")) < MIN_VERDICT_CLUSTERS else ""


def with_clusters_to_resample(corpus: Corpus) -> Corpus:
    """The corpus itself or, under six films, one in which every scene is its own cluster.

    Conversations that continue one another stay in one cluster, so that no scene is on both sides. Estimates from such
    a corpus speak of "these films only": nothing is known of how films differ. Rows that name their split keep their
    clusters.
    """
    if corpus.explicit_splits or corpus.cluster_unit not in ("film", "cluster") or len(corpus.clusters) >= MIN_FILMS:
        return corpus
    conversations = tuple(
        replace(conversation, cluster=scene[0].id) for scene in scenes(corpus.conversations) for conversation in scene
    )
    unit, n = corpus.cluster_unit, len(corpus.clusters)
    said = f"conversations resampled in place of {n} {unit}{'' if n == 1 else 's'}, fewer than {MIN_FILMS}"
    seen = {**corpus.seen, said: len({conversation.cluster for conversation in conversations})}
    return replace(corpus, conversations=conversations, cluster_unit="conversation", given_unit=unit, seen=seen)


def split_corpus(
    corpus: Corpus,
    *,
    seed: int,
    test_share: float = 0.2,
    validation_share: float = 0.1,
    min_test_clusters: int = MIN_VERDICT_CLUSTERS,
) -> Splits:
    """Assign every cluster to a split; clusters whose rows name a split keep that one.

    Raises:
        ConfigError: a share that leaves nothing for training.
        SplitError: fewer than three clusters to assign, which cannot fill three splits.
    """
    if not (0 < test_share < 1 and 0 < validation_share < 1 and test_share + validation_share < 1):
        raise ConfigError(
            "`test_share` and `validation_share` must be positive and together below 1 to leave some for training, "
            f"got {test_share} and {validation_share}"
        )
    explicit = corpus.explicit_splits
    free = [cluster for cluster in corpus.clusters if cluster not in explicit]
    drawn: dict[str, Split] = {}
    if free and not explicit:
        drawn = _draw(free, seed, test_share, validation_share, min_test_clusters)
    elif free:
        # Rows with a split of their own have settled the sizes; the others follow the thresholds alone.
        drawn = {cluster: _by_threshold(_place(seed, cluster), test_share, validation_share) for cluster in free}
    assigned = {cluster: explicit.get(cluster) or drawn[cluster] for cluster in corpus.clusters}
    return Splits(assigned=assigned, notes=_notes(corpus))


def whole_corpus(corpus: Corpus, split: Split) -> Splits:
    """Every cluster in one split, e.g. a test file of the caller's own."""
    return Splits(assigned=dict.fromkeys(corpus.clusters, split), notes=_notes(corpus))


def _notes(corpus: Corpus) -> tuple[str, ...]:
    return () if corpus.given_unit is None else (THESE_ONLY.format(unit=corpus.given_unit),)


def _draw(
    clusters: Iterable[str], seed: int, test_share: float, validation_share: float, min_test: int
) -> dict[str, Split]:
    places = {cluster: _place(seed, cluster) for cluster in clusters}
    n = len(places)
    if n < len(SPLITS):
        raise SplitError(
            f"`corpus` must have at least {len(SPLITS)} clusters to fill {', '.join(SPLITS)}, got {n}; "
            "add more text, or give rows a `split`"
        )
    counts = Counter(_by_threshold(place, test_share, validation_share) for place in places.values())
    # As many as verdicts need where that leaves one film each for validation and training, else the share, rounded up.
    least_test = min_test if n >= min_test + 2 else min(n - 2, max(2, math.ceil(n * test_share)))
    n_test = min(max(counts["test"], least_test), n - 2)
    least_validation = 2 if n >= min_test + 4 else 1  # one film alone makes a fickle validation loss
    n_validation = min(max(counts["validation"], least_validation), n - n_test - 1)
    ranked = sorted(places, key=lambda cluster: (places[cluster], cluster))
    splits: dict[str, Split] = dict.fromkeys(ranked, "train")
    splits.update(dict.fromkeys(ranked[:n_test], "test"))
    splits.update(dict.fromkeys(ranked[n - n_validation :], "validation"))
    return splits


def _place(seed: int, cluster: str) -> float:
    return uniform(seed, "splits", cluster)


def _by_threshold(place: float, test_share: float, validation_share: float) -> Split:
    if place < test_share:
        return "test"
    return "validation" if place >= 1 - validation_share else "train"
