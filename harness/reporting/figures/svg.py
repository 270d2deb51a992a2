"""A small SVG canvas: shapes with classes, colours left to the style sheet, every text escaped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import Literal, TypeVar

from harness.reporting.safe_text import printable

Anchor = Literal["start", "middle", "end"]
L = TypeVar("L")  # what tells the wide page from the phone: a `Layout`, or a width


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One picture with its words: finished markup for a wide page and for a phone."""

    wide: str
    narrow: str
    caption: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where rows of a picture stand, on a wide page or on a phone."""

    width: float
    start: float  # plot edges
    end: float
    row: float
    is_narrow: bool


@dataclass(slots=True, kw_only=True)
class Canvas:
    """Collects shapes; `render` closes them into one `<svg>`. Units are CSS pixels at full size."""

    width: float
    height: float = 0.0  # known when all is drawn
    shapes: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, *, kind: str) -> None:
        """A straight line."""
        self.shapes.append(f'<line class="{kind}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>')

    def rect(self, x: float, y: float, width: float, height: float, *, kind: str) -> None:
        """A rectangle; a negative width is drawn as nothing."""
        if width > 0:
            self.shapes.append(
                f'<rect class="{kind}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"/>'
            )

    def circle(self, x: float, y: float, radius: float, *, kind: str) -> None:
        """A dot."""
        self.shapes.append(f'<circle class="{kind}" cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"/>')

    def diamond(self, x: float, y: float, radius: float, *, kind: str) -> None:
        """A square on its point."""
        corners = f"{_n(x - radius)},{_n(y)} {_n(x)},{_n(y - radius)} {_n(x + radius)},{_n(y)} {_n(x)},{_n(y + radius)}"
        self.shapes.append(f'<polygon class="{kind}" points="{corners}"/>')

    def path(self, points: list[tuple[float, float]], *, kind: str) -> None:
        """A line through points."""
        if points:
            steps = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
            self.shapes.append(f'<path class="{kind}" d="M{steps}"/>')

    def area(self, points: list[tuple[float, float]], *, kind: str) -> None:
        """A closed shape."""
        if points:
            corners = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
            self.shapes.append(f'<polygon class="{kind}" points="{corners}"/>')

    def text(self, x: float, y: float, words: str, *, kind: str = "t", anchor: Anchor = "start") -> None:
        """One line of text with its base line at y."""
        at = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.shapes.append(f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}"{at}>{escape(printable(words))}</text>')

    def render(self, *, id: str, title: str, description: str) -> str:
        """The finished markup, with a title and a description for those who hear the page."""
        return (
            f'<svg role="img" aria-labelledby="{id}-t {id}-d" viewBox="0 0 {_n(self.width)} {_n(self.height)}" '
            f'width="{_n(self.width)}" height="{_n(self.height)}" xmlns="http://www.w3.org/2000/svg">'
            f'<title id="{id}-t">{escape(printable(title))}</title>'
            f'<desc id="{id}-d">{escape(printable(description))}</desc>{"".join(self.shapes)}</svg>'
        )


def figure(
    draw: Callable[[L], Canvas], wide: L, narrow: L, *, id: str, title: str, description: str, caption: str,
    heading: str = "",
) -> Figure:  # fmt: skip
    """Draw a picture for both pages; `title` and `description` are told to those who hear it, `heading` is shown."""

    def drawn(layout: L, page: str) -> str:
        return draw(layout).render(id=f"{id}-{page}", title=title, description=description)

    return Figure(wide=drawn(wide, "w"), narrow=drawn(narrow, "n"), caption=caption, title=heading or title)


def fit(words: str, width: float, *, size: float = 13.0) -> str:
    """Shorten text to about a width in pixels, with an ellipsis; sans-serif letters are about 0.54 of their size."""
    n = max(int(width / (0.54 * size)), 4)
    return words if len(words) <= n else f"{words[: n - 1].rstrip()}…"


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
