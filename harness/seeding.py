"""Named random streams: independent by name, the same on every machine, no global state.

`stream(7, "splits")` and `stream(7, "dropout")` never share numbers, so that adding a consumer does not shift another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on `seed` and on every name; stable across processes and versions."""
    return derive_from(begin(seed, *names))


def begin(seed: int, *names: str | int) -> hashlib._Hash:
    """What `derive_from` goes on from: read once for many names that come last."""
    return hashlib.sha256("\x1f".join([str(seed), *map(_told, names)]).encode())


def derive_from(begun: hashlib._Hash, *names: str | int) -> int:
    """`derive` of what was begun with, followed by these names."""
    told = begun.copy()
    for name in names:
        told.update(b"\x1f" + _told(name).encode())
    return int.from_bytes(told.digest()[:8], "big") >> 1


def _told(name: str | int) -> str:
    return f"{type(name).__name__}:{name}"


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the stream of that name."""
    import numpy as np

    return np.random.default_rng(derive(seed, *names))


def stream_of_rows(seed: int, *names: str | int, rows: Iterable[object]) -> np.random.Generator:
    """The stream of one number: a function of its rows, whatever stands beside them and in whatever order they come."""
    told = hashlib.sha256()
    for row in sorted(map(repr, rows)):
        told.update(row.encode("utf-8", "surrogatepass") + b"\x1f")
    return stream(seed, *names, told.hexdigest())


def uniform(seed: int, *names: str | int) -> float:
    """One number in [0, 1) of 53 bits for that name; needs no NumPy."""
    return (derive(seed, *names) >> 10) / (1 << 53)
