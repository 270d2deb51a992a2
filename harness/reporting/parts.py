"""What a page is made of: sections of parts, listed once and drawn alike in HTML and Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.reporting.figures.svg import Figure
from harness.reporting.record import Sample
from harness.reporting.tables import Table
from harness.reporting.wording import Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A paragraph."""

    kind: ClassVar[str] = "words"
    text: str
    tone: Literal["plain", "quiet"] = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading inside a section."""

    kind: ClassVar[str] = "heading"
    text: str
    code: str = ""  # what identifies it, e.g. the start of a judge's id


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """A list of sentences."""

    kind: ClassVar[str] = "points"
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Names and values on a line or two."""

    kind: ClassVar[str] = "settings"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Contrasts said in words, with number, reason and what would settle them."""

    kind: ClassVar[str] = "claims"
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Figures, each under its title; on a page only."""

    kind: ClassVar[str] = "pictures"
    figures: tuple[Figure, ...]
    is_grid: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A table."""

    kind: ClassVar[str] = "rows"
    table: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibits:
    """Prompts with every variant's reply, side by side."""

    kind: ClassVar[str] = "exhibits"
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Text as a file holds it."""

    kind: ClassVar[str] = "code"
    text: str


Part = Words | Heading | Points | Settings | Claims | Pictures | Rows | Exhibits | Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One entry of the navigation: folded to its title and one line, unless it is open."""

    id: str
    title: str
    gist: str  # what is inside, in one line, with a count
    parts: tuple[Part, ...]
    is_open: bool = False


def words(text: str, *, tone: Literal["plain", "quiet"] = "plain") -> tuple[Words, ...]:
    """A paragraph where there is something to say."""
    return (Words(text=text, tone=tone),) if text else ()


def rows(table: Table | None, *, heading: str = "") -> tuple[Part, ...]:
    """A table where it has a row, under its heading."""
    if table is None or table.is_empty:
        return ()
    return (*((Heading(text=heading),) if heading else ()), Rows(table=table))


def pictures(figures: tuple[Figure, ...], *, is_grid: bool = False) -> tuple[Pictures, ...]:
    """Figures where there are any."""
    return (Pictures(figures=figures, is_grid=is_grid),) if figures else ()
