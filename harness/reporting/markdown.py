"""The report as GitHub-flavoured Markdown. Text from models is fenced or escaped: none of it becomes markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from harness.reporting.page import Page, observations, takes
from harness.reporting.record import Sample
from harness.reporting.safe_text import printable
from harness.reporting.tables import Cell, Table
from harness.reporting.wording import Statement

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~])")


def markdown(page: Page) -> str:
    """The whole page in its order."""
    parts = [*_head(page)]
    for section in page.sections:
        parts += [f"## {plain(section.title)}", *(_PARTS[part.kind](page, part) for part in section.parts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def comment(page: Page) -> str:
    """The answer alone, short enough for a comment on a pull request."""
    return "\n\n".join(part for part in _head(page) if part) + "\n"


def _head(page: Page) -> list[str]:
    return [
        f"# {plain(page.record.question)}",
        *_absences(page),
        plain(" ".join(page.answer)),
        "" if page.table.is_empty else table(page.table),
        f"> {plain(page.limit)}" if page.limit else "",
    ]


def table(drawn: Table) -> str:
    """A table; group headings become a bold row, because Markdown has no row groups."""
    lines = [_line(list(drawn.head)), "|" + "---|" * len(drawn.head)]
    for group in drawn.groups:
        if group.heading:
            heading = f"**{plain(group.heading)}**" + (f" ({plain(group.note)})" if group.note else "")
            lines.append("| " + " | ".join([heading, *[""] * (len(drawn.head) - 1)]) + " |")
        for row in group.rows:
            cells = [_cell(cell) for cell in row.cells]
            if row.id:
                cells[0] = f'<a id="{row.id}"></a>{cells[0]}'
            lines.append("| " + " | ".join(cells) + " |")
    return f"{plain(drawn.caption)}\n\n" + "\n".join(lines)


def plain(text: str) -> str:
    """Text as itself: markup, HTML and line breaks lose their meaning."""
    one_line = " ".join(printable(text).split())
    return _MARKUP.sub(r"\\\1", escape(one_line, quote=False))


def fenced(text: str) -> str:
    """Text as it is, in a fence longer than any run of backticks inside it."""
    shown = printable(text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(plain(cell) for cell in cells) + " |"


def _cell(cell: Cell) -> str:
    lines = [line for line in cell.text.split("\n") if line] or [""]
    text = "<br>".join(f"<code>{plain(line)}</code>" if cell.is_code and line else plain(line) for line in lines)
    if cell.badge is not None:
        text = f"**{text}**"
    if cell.href:
        text = f"[{text}](#{cell.href})"
    return f"{text}<br>{plain(cell.detail)}" if cell.detail else text


def _absences(page: Page) -> list[str]:
    said = "\n".join(f"> - {plain(absence.said)}" for absence in page.record.absences)
    return [f"> **{plain(page.absent)}**\n>\n{said}"] if said else []


def _statement(said: Statement) -> str:
    settle = f" What would settle it: {said.settle}" if said.settle else ""
    marks = f" ({'; '.join(said.marks)})" if said.marks else ""
    rest = plain(f"{said.claim} {said.number.text}{marks}. {said.reason}{settle}")
    return f"- **{said.label.capitalize()}.** {rest} [source](#{said.named.anchor})"


def _samples(page: Page, part: Any) -> str:
    return "\n\n".join(said for sample in part.samples for said in _sample(page, sample) if said)


def _sample(page: Page, sample: Sample) -> list[str]:
    history = "\n".join(f"{line.speaker or '—'}: {line.text}" for line in sample.history)
    parts = [f"### {plain(sample.title)} ({plain(sample.prompt_id)})", fenced(history)]
    if sample.reference is not None:
        parts += [f"**{page.index.reference_label}**", fenced(sample.reference.text)]
    shown, others = takes(sample)
    for take in (*shown, *others):
        reply = take.reply
        cut = ", cut off" if reply.finish_reason == "length" else ""
        scores = "; ".join(f"{label} {value}" for label, value in observations(reply, page.index))
        reasons = [plain(f"{score.measure}: {score.reason}") for score in reply.scores if score.reason]
        parts += [f"**{plain(take.variants)}**{cut}", fenced(reply.text), plain(scores), *reasons]
    return parts


# One way to draw each kind of part; a picture has no Markdown.
_PARTS: Mapping[str, Callable[[Page, Any], str]] = {
    "words": lambda page, part: plain(part.text),
    "heading": lambda page, part: f"### {plain(part.text)}",
    "points": lambda page, part: "\n".join(f"- {plain(item)}" for item in part.items),
    "settings": lambda page, part: "; ".join(f"{plain(key)} {plain(value)}" for key, value in part.items),
    "claims": lambda page, part: "\n\n".join(_statement(said) for said in part.statements),
    "pictures": lambda page, part: "",
    "rows": lambda page, part: table(part.table),
    "exhibits": _samples,
    "code": lambda page, part: fenced(part.text),
}
