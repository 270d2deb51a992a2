"""The report as GitHub-flavoured Markdown. Text from models is fenced or escaped: none of it becomes markup."""

from __future__ import annotations

import re
from html import escape

from harness.reporting.page import Page, observations
from harness.reporting.record import Sample
from harness.reporting.tables import Cell, Table
from harness.reporting.text import printable
from harness.reporting.wording import VERDICT_WORDS, Statement

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~])")


def markdown(page: Page) -> str:
    """Every section of the page in the page's order."""
    parts = [
        f"# {plain(page.record.question)}",
        *_absences(page),
        _meta(page),
        f"> {plain(page.record.caveat)}" if page.record.caveat else "",
        "## Verdict",
        plain(page.summary),
        *(_statement(s) for s in (*page.lead, *page.others)),
        *(plain(note) for note in page.notes),
        *_design(page),
        *_contrasts(page),
        *_seeds(page),
        *_variants(page),
        *_samples(page),
        *_judges(page),
        *_training(page),
        *_cost(page),
        "## What was missing",
        "Nothing was missing." if page.missing.is_empty else table(page.missing),
        *_limitations(page),
        "## Lineage",
        "" if page.sources.is_empty else table(page.sources),
        "" if page.stages.is_empty else table(page.stages),
        *_config(page),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


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


def _meta(page: Page) -> str:
    record = page.record
    parts = [record.title, f"profile {record.profile}", page.created, f"run {record.run_id}", page.cost]
    return plain(" · ".join(part for part in parts if part))


def _absences(page: Page) -> list[str]:
    said = "\n".join(f"> - {plain(absence.said)}" for absence in page.record.absences)
    return [f"> **{plain(page.absent)}**\n>\n{said}"] if said else []


def _statement(said: Statement) -> str:
    settle = f" What would settle it: {said.settle}" if said.settle else ""
    marks = f" ({'; '.join(said.marks)})" if said.marks else ""
    rest = plain(f"{said.claim} {said.number.text}{marks}. {said.reason}{settle}")
    return f"- **{VERDICT_WORDS[said.label]}.** {rest} [source](#{said.named.anchor})"


def _contrasts(page: Page) -> list[str]:
    if page.contrasts.is_empty:
        return []
    described = [m for m in page.index.measures.values() if m.description]
    meanings = "\n".join(f"- **{plain(m.label)}**: {plain(m.description)}" for m in described)
    return ["## Contrasts", table(page.contrasts), meanings]


def _design(page: Page) -> list[str]:
    if page.ablation is None:
        return []
    record = page.ablation.record
    held = "; ".join(f"{setting.key} {setting.value}" for setting in record.fixed)
    decided = f"Decided before the run: {record.decision}"
    return [
        "## Design",
        plain(page.ablation.lead),
        table(page.ablation.design),
        plain(f"Held still: {held}."),
        plain(decided),
    ]


def _seeds(page: Page) -> list[str]:
    if page.ablation is None:
        return []
    view = page.ablation
    parts = [] if view.seeds.is_empty else ["## From seed to seed", plain(view.seeds_note), table(view.seeds)]
    shapes = [table(t) for t in (view.tail, view.trends) if not t.is_empty]
    return parts + (["## Tails and trends", *shapes] if shapes else [])


def _cost(page: Page) -> list[str]:
    return [] if page.ablation is None else ["## Cost", plain(page.ablation.work), table(page.ablation.arms)]


def _variants(page: Page) -> list[str]:
    if page.variants.is_empty and page.numbers.is_empty:
        return []
    tables = [table(t) for t in (page.variants, page.numbers) if not t.is_empty]
    return ["## Variants", plain(page.decoding), *tables]


def _samples(page: Page) -> list[str]:
    if not page.record.samples:
        return []
    parts = ["## Samples", plain(page.record.sampling)]
    for sample in page.record.samples:
        parts += _sample(page, sample)
    return parts


def _sample(page: Page, sample: Sample) -> list[str]:
    history = "\n".join(f"{line.speaker or '—'}: {line.text}" for line in sample.history)
    parts = [f"### {plain(sample.title)} ({plain(sample.prompt_id)})", fenced(history)]
    if sample.reference is not None:
        parts += ["**As filmed**", fenced(sample.reference.text)]
    for reply in sample.replies:
        cut = ", cut off" if reply.finish_reason == "length" else ""
        scores = "; ".join(f"{label} {value}" for label, value in observations(reply, page.index))
        parts += [f"**{plain(reply.variant)}**{cut}", fenced(reply.text), plain(scores)]
    return parts


def _judges(page: Page) -> list[str]:
    if not page.judges:
        return []
    parts = ["## Judges and controls"]
    for judge in page.judges:
        parts += [f"### {plain(judge.row.name)}", plain(judge.row.description), plain(judge.standing)]
        parts += [] if judge.table.is_empty else [table(judge.table)]
    return parts


def _training(page: Page) -> list[str]:
    parts = [plain(page.data)] if page.data else []
    warnings = page.record.data.warnings if page.record.data else ()
    parts += [f"- {plain(warning)}" for warning in warnings]
    parts += [table(page.splits)] if page.splits and not page.splits.is_empty else []
    parts += [] if page.audit.is_empty else [table(page.audit)]
    return ["## Training and data", *parts] if parts else []


def _limitations(page: Page) -> list[str]:
    if not page.record.limitations:
        return []
    return ["## Limitations", "\n".join(f"- {plain(limit)}" for limit in page.record.limitations)]


def _config(page: Page) -> list[str]:
    parts = [fenced(page.config)] if page.config else []
    parts += [] if page.versions.is_empty else [table(page.versions)]
    return ["## Config and versions", *parts] if parts else []
