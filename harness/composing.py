"""Nouns made of others: a row that carries another one's fields on names what differs, and no field twice."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

Noun = TypeVar("Noun")


def compose(kind: type[Noun], *sources: object, **own: Any) -> Noun:
    """A dataclass of the fields that `sources` hold by the same names, the last source first; `own` go before all."""
    given = dict(own)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name not in given:
            for source in reversed(sources):
                if hasattr(source, field.name):
                    given[field.name] = getattr(source, field.name)
                    break
    return kind(**given)
