"""Rows, clusters and levels as they arrive from a caller: checked once here, then only mathematics elsewhere."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import InputError

Labels = Sequence[Hashable] | NDArray[Any]
Floats = NDArray[np.float64]
Codes = NDArray[np.intp]
MOST_TIMES = 20  # a plan for more than this many times the prompts, clusters or seeds is arithmetic, not advice


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """Labels as integers: `labels[codes[i]]` is the label of row i, labels in sorted order."""

    codes: Codes  # [n], 0 … len(labels)-1
    labels: tuple[Hashable, ...]

    @property
    def n_labels(self) -> int:
        """Number of different labels."""
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSums:
    """What a mean needs of its rows: one sum and one count per cluster."""

    sums: Floats  # [clusters] sum of the values
    sizes: Floats  # [clusters] number of rows
    mean: float

    @property
    def residual_sums(self) -> Floats:
        """Per cluster, the sum of `value − mean`."""
        return self.sums - self.mean * self.sizes

    @property
    def n(self) -> int:
        """Rows in all."""
        return int(self.sizes.sum())

    @property
    def n_clusters(self) -> int:
        """Clusters in all."""
        return len(self.sizes)


def check_values(name: str, values: ArrayLike, *, minimum: int = 1) -> Floats:
    """`values` as a one-dimensional float array without NaN or infinity, or an InputError that says what to do."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as err:
        raise InputError(
            f"`{name}` must hold numbers, got {_kind(values)}: drop missing rows and pass `n_missing`"
        ) from err
    if array.ndim != 1:
        raise InputError(f"`{name}` must be one-dimensional, got shape {array.shape}: pass one criterion at a time")
    if len(array) < minimum:
        raise InputError(f"`{name}` must hold at least {minimum} rows, got {len(array)}: score more rows first")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise InputError(
            f"`{name}` must be finite, got {len(bad)} of {len(array)} rows that are not (first: row {bad[0]}): "
            "drop the missing rows and pass their number as `n_missing`"
        )
    return array


def check_same_length(**arrays: Any) -> int:
    """The common length of the named arrays; InputError when they differ."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"`{name}` has {length}" for name, length in lengths.items())
        raise InputError(f"rows must be aligned, one for one: {said}: join them by prompt first")
    return next(iter(lengths.values()))


def check_columns(*, clusters: Labels, minimum: int = 1, **columns: ArrayLike) -> list[Floats]:
    """Columns of numbers, in the order and under the names given, a row of each with a cluster."""
    arrays = {name: check_values(name, column, minimum=minimum) for name, column in columns.items()}
    check_same_length(**arrays, clusters=clusters)
    return list(arrays.values())


def check_level(level: float) -> float:
    """`level` as a confidence level between 0.5 and 1 (both excluded)."""
    if not 0.5 < level < 1:
        raise InputError(f"`level` must lie between 0.5 and 1, got {level}: 0.95 is usual")
    return float(level)


def check_n_missing(n_missing: int) -> int:
    """`n_missing` as a count."""
    if n_missing < 0:
        raise InputError(f"`n_missing` must be 0 or more, got {n_missing}: count the rows that are missing")
    return int(n_missing)


def check_positive(name: str, value: float) -> float:
    """`value` as a finite number above 0."""
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"`{name}` must be a number above 0, got {value}: give its size, without a sign")
    return float(value)


def check_count(name: str, value: int, *, minimum: int = 1) -> int:
    """`value` as a whole number of at least `minimum`."""
    if int(value) != value or value < minimum:
        raise InputError(f"`{name}` must be a whole number of at least {minimum}, got {value}: raise it")
    return int(value)


def code_labels(name: str, labels: Labels) -> Coded:
    """Give every different label a number; the order of the rows does not matter, since labels are sorted first."""
    if isinstance(labels, np.ndarray) and labels.dtype != object:
        unique, codes = np.unique(labels, return_inverse=True)
        if unique.dtype.kind == "f" and np.isnan(unique).any():
            raise InputError(f"`{name}` must be a label on every row, got NaN: drop those rows or name their cluster")
        return Coded(codes=codes.astype(np.intp), labels=tuple(unique.tolist()))
    found = dict.fromkeys(labels)
    if any(label is None or label != label for label in found):
        raise InputError(f"`{name}` must be a label on every row, got None: drop those rows or name their cluster")
    ordered = sorted(found, key=str)
    number = {label: i for i, label in enumerate(ordered)}
    codes = np.fromiter(map(number.__getitem__, labels), dtype=np.intp, count=len(labels))
    return Coded(codes=codes, labels=tuple(ordered))


def sum_clusters(values: Floats, clusters: Coded) -> ClusterSums:
    """Sums and sizes per cluster; centred first, so that a large common offset costs no digits."""
    sizes = np.bincount(clusters.codes, minlength=clusters.n_labels).astype(np.float64)
    origin = float(values[0])
    shifted = np.bincount(clusters.codes, weights=values - origin, minlength=clusters.n_labels)
    mean = origin + float(shifted.sum() / sizes.sum())
    return ClusterSums(sums=shifted + origin * sizes, sizes=sizes, mean=mean)


def mean_per_label(values: Floats, labels: Coded) -> Floats:
    """[labels] mean of the values of each label; NaN for a label without one."""
    counts = np.bincount(labels.codes, minlength=labels.n_labels)
    sums = np.bincount(labels.codes, weights=values, minlength=labels.n_labels)
    means: Floats = np.divide(sums, counts, out=np.full(labels.n_labels, np.nan), where=counts > 0)
    return means


def cluster_counts(n_clusters: int, *, n_resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Blocks of a matrix [resamples, clusters]: how often each cluster was drawn; blocks keep memory under ~100 MB."""
    block = max(1, min(n_resamples, 2_000_000 // n_clusters))
    for start in range(0, n_resamples, block):
        rows = min(block, n_resamples - start)
        drawn = rng.integers(n_clusters, size=(rows, n_clusters), dtype=np.int64)
        drawn += np.arange(rows, dtype=np.int64)[:, None] * n_clusters
        counts = np.bincount(drawn.ravel(), minlength=rows * n_clusters)
        yield counts.reshape(rows, n_clusters).astype(np.float64)


def join_notes(notes: Iterable[str]) -> tuple[str, ...]:
    """The notes that say something, each once, in order."""
    return tuple(dict.fromkeys(note for note in notes if note))


def _kind(values: object) -> str:
    return (
        f"{type(values).__name__} of {type(values[0]).__name__}"
        if isinstance(values, list) and values
        else repr(type(values).__name__)
    )
