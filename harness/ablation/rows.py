"""Values of one measure and one variant, in columns: a million of them must fit, and missing stays missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from harness.stats.rows import Coded, Codes, Floats, code_labels, mean_per_label


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One value under a number."""

    prompt_id: str
    cluster: str
    value: float | None  # None is missing
    draw: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Many `Row`s in columns; iterating gives them one by one."""

    prompts: Coded  # [n]
    clusters: Coded  # [n]
    draws: Codes  # [n]
    values: Floats  # [n]; NaN where missing, so that a forgotten look at `present` is refused and never counted
    present: NDArray[np.bool_]  # [n] whether there is a value

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
        )

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Row]:
        columns = (self.prompts.codes.tolist(), self.clusters.codes.tolist(), self.as_list(), self.draws.tolist())
        for prompt, cluster, value, draw in zip(*columns, strict=True):
            yield Row(
                prompt_id=str(self.prompts.labels[prompt]),
                cluster=str(self.clusters.labels[cluster]),
                value=value,
                draw=draw,
            )

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
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """The pairs of a contrast that lack a value, and what the values there are say of them."""

    n_pairs: int  # that are whole
    treatment_alone: tuple[float, ...] = ()  # values whose partner is missing
    control_alone: tuple[float, ...] = ()
    n_neither: int = 0  # prompts without a value on either side
    low: float = 0.0  # the smallest and the largest value on either side
    high: float = 0.0

    @classmethod
    def of(cls, pairs: Sequence[tuple[float | None, float | None]]) -> Lacking:
        """What is lacking of pairs given one by one, None where missing."""
        seen = [value for both in pairs for value in both if value is not None]
        return cls(
            n_pairs=sum(a is not None and b is not None for a, b in pairs),
            treatment_alone=tuple(a for a, b in pairs if a is not None and b is None),
            control_alone=tuple(b for a, b in pairs if b is not None and a is None),
            n_neither=sum(a is None and b is None for a, b in pairs),
            low=min(seen, default=0.0),
            high=max(seen, default=0.0),
        )

    @property
    def n(self) -> int:
        """Pairs that are missing."""
        return len(self.treatment_alone) + len(self.control_alone) + self.n_neither


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairedRows:
    """The prompts for which two arms both have a value."""

    treatment: Floats  # [n]
    control: Floats  # [n]
    clusters: Codes  # [n]
    lacking: Lacking


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
    )


def mean_rows(members: Sequence[Rows]) -> Rows:
    """One row a prompt: the mean over `members`, which count alike; missing where one of them lacks a value."""
    if len(members) == 1:
        return members[0]
    each = [{row.prompt_id: row for row in per_prompt(rows)} for rows in members]
    everywhere = dict.fromkeys(key for rows in each for key in rows)

    def mean(key: str) -> Row:
        found = [rows[key] for rows in each if key in rows]
        values = [row.value for row in found if row.value is not None]
        return Row(prompt_id=key, cluster=found[0].cluster, value=fmean(values) if len(values) == len(each) else None)

    return Rows.of(mean(key) for key in everywhere)


def pair(treatment: Rows, control: Rows) -> PairedRows:
    """Join two arms by prompt; each must hold a prompt once (see `per_prompt`)."""
    place = {label: i for i, label in enumerate(treatment.prompts.labels)}
    known = np.array([place.get(label, -1) for label in control.prompts.labels], dtype=np.intp)
    opposite = np.full(treatment.prompts.n_labels + 1, -1)  # the last: prompts that the treatment lacks
    opposite[known[control.prompts.codes]] = np.arange(len(control))
    partner = opposite[treatment.prompts.codes]
    shared = np.flatnonzero(partner >= 0)
    both = shared[treatment.present[shared] & control.present[partner[shared]]]
    alone, opposite_alone = treatment.present.copy(), control.present.copy()
    alone[both], opposite_alone[partner[both]] = False, False
    seen = np.concatenate([treatment.there().values, control.there().values])
    return PairedRows(
        treatment=treatment.values[both],
        control=control.values[partner[both]],
        clusters=treatment.clusters.codes[both],
        lacking=Lacking(
            n_pairs=len(both),
            treatment_alone=tuple(treatment.values[alone].tolist()),
            control_alone=tuple(control.values[opposite_alone].tolist()),
            n_neither=len(treatment) + len(control) - len(shared) - len(both) - int(alone.sum() + opposite_alone.sum()),
            low=float(seen.min(initial=np.inf)),
            high=float(seen.max(initial=-np.inf)),
        ),
    )
