"""Tables as HTML: every cell is escaped text that was written elsewhere, numbers by `harness.reporting.numbers`."""

from __future__ import annotations

from collections.abc import Sequence

from harness.ui.drawing import inert


def draw_table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a caption; the first cell of a row is its heading. Wide tables scroll by themselves."""
    head = "".join(f'<th scope="col">{inert(name)}</th>' for name in columns)
    body = "".join(f"<tr>{_row(cells)}</tr>" for cells in rows)
    return (
        f'<div class="read scroll" tabindex="0" role="region" aria-label="{inert(caption)}"><table>'
        f"<caption>{inert(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    return f'<th scope="row">{inert(first)}</th>' + "".join(f"<td>{inert(cell)}</td>" for cell in others)
