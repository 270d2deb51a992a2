"""Values of one measure and one variant, in columns: a million of them must fit, and missing stays missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from harness.stats.rows import Coded, Codes, Floats, code_labels, mean_per_label
from harness.types import Estimate, Source

MIN_SEEDS_CROSSED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One value under a number."""

    prompt_id: str
    cluster: str
    value: float | None  # None is missing
    draw: int = 0
    lost: float = 0.0  # where it is a mean of draws: the share of them that is missing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Many `Row`s in columns; iterating gives them one by one."""

    prompts: Coded  # [n]
    clusters: Coded  # [n]
    draws: Codes  # [n]
    values: Floats  # [n]; NaN where missing, so that a forgotten look at `present` is refused and never counted
    present: NDArray[np.bool_]  # [n] whether there is a value
    lost: Floats | None = None  # [n] share of each row's draws that is missing; None: every row is one draw

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Rows:
        """Columns of single rows."""
        given = list(rows)
        return cls(
            prompts=code_labels("prompt_id", [row.prompt_id for row in given]),
            clusters=code_labels("cluster", [row.cluster for row in given]),
            draws=np.array([row.draw for row in given], dtype=np.intp),
            values=np.array([np.nan if row.value is None else row.value for row in given], dtype=np.float64),
            present=np.array([row.value is not None for row in given], dtype=bool),
            lost=np.array([row.lost for row in given], dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Row]:
        lost = np.where(self.present, self.share_lost, 0.0).tolist()
        columns = (self.prompts.codes.tolist(), self.clusters.codes.tolist(), self.as_list(), self.draws.tolist(), lost)
        for prompt, cluster, value, draw, share in zip(*columns, strict=True):
            yield Row(
                prompt_id=str(self.prompts.labels[prompt]),
                cluster=str(self.clusters.labels[cluster]),
                value=value,
                draw=draw,
                lost=share,
            )

    @property
    def share_lost(self) -> Floats:
        """[n] share of each row's draws that is missing: 1 where it has no value."""
        return np.where(self.present, 0.0 if self.lost is None else self.lost, 1.0)

    @property
    def n_missing(self) -> int:
        """Rows without a value."""
        return len(self) - int(np.count_nonzero(self.present))

    def as_list(self) -> list[float | None]:
        """The values alone, None where missing."""
        return [value if there else None for value, there in zip(self.values.tolist(), self.present, strict=True)]

    def there(self) -> Rows:
        """The rows that have a value."""
        return self.taken(self.present)

    def taken(self, rows: NDArray[np.bool_] | Codes) -> Rows:
        """The rows at `rows` (mask or positions), with the same labels."""
        return Rows(
            prompts=Coded(codes=self.prompts.codes[rows], labels=self.prompts.labels),
            clusters=Coded(codes=self.clusters.codes[rows], labels=self.clusters.labels),
            draws=self.draws[rows],
            values=self.values[rows],
            present=self.present[rows],
            lost=None if self.lost is None else self.lost[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lacking:
    """The pairs of a contrast that lack a draw or more on a side, and the range of all values that were seen."""

    n_pairs: int  # with a value on both sides
    values: Floats  # [k, 2] treatment and control of the pairs that lack something, NaN where there is none
    lost: Floats  # [k, 2] share of the draws that is missing
    low: float
    high: float

    @classmethod
    def joined(cls, parts: Sequence[Lacking]) -> Lacking:
        """What is lacking of the pairs of several seeds, one after another."""
        return cls(
            n_pairs=sum(part.n_pairs for part in parts),
            values=np.concatenate([part.values for part in parts]),
            lost=np.concatenate([part.lost for part in parts]),
            low=min(part.low for part in parts),
            high=max(part.high for part in parts),
        )

    @property
    def is_absent(self) -> NDArray[np.bool_]:
        """[k] pairs without a value on a side."""
        gone: NDArray[np.bool_] = (self.lost == 1).any(axis=1)
        return gone

    @property
    def is_asked(self) -> NDArray[np.bool_]:
        """[k] pairs with a draw that has a value."""
        there: NDArray[np.bool_] = np.asarray((self.lost < 1).any(axis=1))
        return there

    @property
    def n(self) -> int:
        """Pairs that are missing."""
        return int(np.count_nonzero(self.is_absent))

    def only(self, pairs: NDArray[np.bool_]) -> Lacking:
        """These of the pairs that lack something."""
        return replace(self, values=self.values[pairs], lost=self.lost[pairs])


def lacking_of(values: Floats, lost: Floats) -> Lacking:
    """What is lacking of pairs [n, 2]: values, NaN where there is none, and shares of draws that are missing."""
    gaps = lost.any(axis=1)
    seen = values[~np.isnan(values)]
    return Lacking(
        n_pairs=int(np.count_nonzero((lost < 1).all(axis=1))),
        values=values[gaps],
        lost=lost[gaps],
        low=float(seen.min(initial=np.inf)),
        high=float(seen.max(initial=-np.inf)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Differences:
    """Paired differences of two arms: a row for each prompt, in each seed, that both have a value for."""

    treatment: Floats  # [n]
    reference: Floats  # [n]
    seeds: Codes  # [n]
    prompts: Coded  # [n]
    clusters: Coded  # [n]
    n_missing: int
    lacking: Lacking  # of the seeds that came through
    is_crossed: bool = False  # whether seeds are a level: several, and at least one arm is trained
    sources: tuple[Source, ...] = ()  # where the rows of both arms stand

    def __len__(self) -> int:
        return len(self.treatment)

    @property
    def values(self) -> Floats:
        """[n] treatment − reference."""
        difference: Floats = self.treatment - self.reference
        return difference

    @property
    def n_prompts(self) -> int:
        """Prompts, however many seeds answered each."""
        return len(np.unique(self.prompts.codes))

    @property
    def n_clusters(self) -> int:
        """Clusters, e.g. films."""
        return len(np.unique(self.clusters.codes))

    @property
    def n_seeds(self) -> int:
        """Seeds with a pair."""
        return len(np.unique(self.seeds))

    def counted(self, estimate: Estimate) -> Estimate:
        """An estimate of these rows, in which a prompt counts once however many seeds answered it."""
        return counted(estimate, n_prompts=self.n_prompts, n_seeds=self.n_seeds)


def counted(estimate: Estimate, *, n_prompts: int, n_seeds: int) -> Estimate:
    """A prompt counts once however many seeds answered it."""
    if n_seeds < MIN_SEEDS_CROSSED:
        return estimate
    notes = (*estimate.notes, "each prompt once a seed")
    return replace(estimate, n=n_prompts, n_crossed=n_seeds, crossed="seed", notes=notes)


def per_prompt(rows: Rows) -> Rows:
    """One row a prompt, in the order of their ids: the mean over its draws that have a value; missing where none has.

    A prompt counts once however often it was drawn.
    """
    first = np.full(rows.prompts.n_labels, -1)
    first[rows.prompts.codes[::-1]] = np.arange(len(rows))[::-1]  # the earliest row is written last
    merged = rows.taken(first[first >= 0])
    there = rows.there()
    means = mean_per_label(there.values, there.prompts)[merged.prompts.codes]
    has_value = np.bincount(there.prompts.codes, minlength=rows.prompts.n_labels)[merged.prompts.codes] > 0
    return Rows(
        prompts=merged.prompts,
        clusters=merged.clusters,
        draws=np.zeros(len(merged), dtype=np.intp),
        values=means,
        present=has_value,
        lost=mean_per_label(rows.share_lost, rows.prompts)[merged.prompts.codes],
    )


def joined(members: Sequence[Rows]) -> Rows:
    """The rows of several members one after another; a prompt of two members counts as two."""
    if len(members) == 1:
        return members[0]
    own = [
        replace(rows.prompts, labels=tuple(f"{place}:{label}" for label in rows.prompts.labels))
        for place, rows in enumerate(members)
    ]
    return Rows(
        prompts=recoded(own),
        clusters=recoded([rows.clusters for rows in members]),
        draws=np.concatenate([rows.draws for rows in members]),
        values=np.concatenate([rows.values for rows in members]),
        present=np.concatenate([rows.present for rows in members]),
        lost=np.concatenate([rows.share_lost for rows in members]),
    )


def recoded(parts: Sequence[Coded]) -> Coded:
    """Codes of several lists of labels as codes of one sorted list."""
    if len(parts) == 1:
        return parts[0]
    every = code_labels("label", [label for part in parts for label in part.labels])
    place = {label: i for i, label in enumerate(every.labels)}
    tables = [np.array([place[label] for label in part.labels], dtype=np.intp) for part in parts]
    codes = [table[part.codes] for table, part in zip(tables, parts, strict=True)]
    return Coded(codes=np.concatenate(codes), labels=every.labels)


def mean_rows(members: Sequence[Rows]) -> Rows:
    """One row a prompt: the mean over `members`, which count alike; missing where one of them lacks a value."""
    if len(members) == 1:
        return members[0]
    each = [{row.prompt_id: row for row in per_prompt(rows)} for rows in members]
    everywhere = dict.fromkeys(key for rows in each for key in rows)

    def mean(key: str) -> Row:
        found = [rows[key] for rows in each if key in rows]
        values = [row.value for row in found if row.value is not None]
        value = fmean(values) if len(values) == len(each) else None
        return Row(prompt_id=key, cluster=found[0].cluster, value=value, lost=fmean(row.lost for row in found))

    return Rows.of(mean(key) for key in everywhere)


def pair(treatment: Rows, control: Rows) -> Differences:
    """Join two arms by prompt; each must hold a prompt once (see `per_prompt`)."""
    place = {label: i for i, label in enumerate(treatment.prompts.labels)}
    known = np.array([place.get(label, -1) for label in control.prompts.labels], dtype=np.intp)
    opposite = np.full(treatment.prompts.n_labels + 1, -1)  # the last: prompts that the treatment lacks
    opposite[known[control.prompts.codes]] = np.arange(len(control))
    partner = opposite[treatment.prompts.codes]
    shared = np.flatnonzero(partner >= 0)
    both = shared[treatment.present[shared] & control.present[partner[shared]]]
    strangers = np.setdiff1d(np.arange(len(control)), partner[shared])  # prompts that only the control has
    ours, theirs = np.full((len(treatment), 2), np.nan), np.full((len(strangers), 2), np.nan)
    lost_ours, lost_theirs = np.ones_like(ours), np.ones_like(theirs)
    ours[:, 0], lost_ours[:, 0] = treatment.values, treatment.share_lost
    ours[shared, 1], lost_ours[shared, 1] = control.values[partner[shared]], control.share_lost[partner[shared]]
    theirs[:, 1], lost_theirs[:, 1] = control.values[strangers], control.share_lost[strangers]
    lacking = lacking_of(np.concatenate([ours, theirs]), np.concatenate([lost_ours, lost_theirs]))
    return Differences(
        treatment=treatment.values[both],
        reference=control.values[partner[both]],
        seeds=np.zeros(len(both), dtype=np.intp),
        prompts=Coded(codes=treatment.prompts.codes[both], labels=treatment.prompts.labels),
        clusters=Coded(codes=treatment.clusters.codes[both], labels=treatment.clusters.labels),
        n_missing=lacking.n,
        lacking=lacking,
    )
