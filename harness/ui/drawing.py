"""A task as HTML: every word of the data is escaped text, isolated from its neighbours, and can do nothing.

Pure functions; `st.html` sanitises the result once more in the browser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

from harness.studies.serving import RatingTask, TaskProgress
from harness.types import Criterion, Message
from harness.ui.translations import t

# Bidirectional embeddings, overrides and isolates: they could turn the words around them. Letters of any script stay.
_TURNING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
# Control characters that are no space: HTML gives them no meaning and browsers no picture.
_CONTROLS = dict.fromkeys([*range(0x00, 0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0)])
_INERT = _TURNING | _CONTROLS
REPLY = "Reply {place}"
ITEM, PRACTICE_ITEM = "Item {n} of {total}", "Practice item {n} of {total}"
ENDS, PLACE = "{low} is worst, {high} is best.", "{n} of {total}"


def inert(text: str) -> str:
    """Text as HTML in which nothing is markup and nothing turns its surroundings."""
    return escape(text.translate(_INERT))


def draw_top(task: RatingTask) -> str:
    """Where the rater is, and the question."""
    progress = task.progress
    share = 100 * progress.n_done / max(1, progress.n_total)
    place = t(ITEM, n=progress.n_done + 1, total=progress.n_total)
    marks = [f"<span>{place}</span>", *(f"<span>{text}</span>" for text in _top_notes(task))]
    return (
        f'<div class="read"><div class="top">{"".join(marks)}</div>'
        '<div class="bar" role="progressbar" aria-label="' + t("Progress") + '" aria-valuemin="0" '
        f'aria-valuemax="{progress.n_total}" aria-valuenow="{progress.n_done}"><i style="width:{share:.1f}%"></i></div>'
        f'<h1 tabindex="-1" data-item="{inert(task.slot)}">{inert(task.question)}</h1></div>'
    )


def _top_notes(task: RatingTask) -> list[str]:
    notes = []
    if (left := time_left(task.progress)) != "":
        notes.append(left)
    if task.is_practice:
        notes.append('<span class="badge">' + t("Practice: does not count") + "</span>")
    if task.is_rehearsal:
        notes.append('<span class="badge">' + t("Rehearsal: enters no result") + "</span>")
    return notes


def time_left(progress: TaskProgress) -> str:
    """Time left at the rater's own pace; empty in the beginning."""
    if progress.seconds_left is None:
        return ""
    if progress.seconds_left < 60:
        return t("less than a minute left")
    return t("about {n} min left", n=round(progress.seconds_left / 60))


def draw_scene(lines: Sequence[Message]) -> str:
    """The conversation so far as a chat; long ones begin at their end. One turn of nobody's is what was asked."""
    if not lines:
        return ""
    name = t("The conversation so far" if len(lines) > 1 or lines[0].name else "What was asked")
    return (
        f'<section class="read"><h2>{name}</h2>'
        f'<div class="scene" tabindex="0" role="group" aria-label="{name}"><div class="lines">'
        f"{''.join(_line(line) for line in lines)}</div></div></section>"
    )


def _line(line: Message) -> str:
    side = " answerer" if line.role == "assistant" else ""
    who = f'<span class="who" dir="auto">{inert(line.name)}</span>' if line.name else ""
    return f'<div class="line{side}">{who}<span class="said" dir="auto">{inert(line.content)}</span></div>'


def draw_line(line: Message) -> str:
    """One line by itself."""
    return f'<div class="read"><div class="lines">{_line(line)}</div></div>'


def last_speaker(lines: Sequence[Message], role: str) -> str:
    """Who of a conversation speaks in a role: the assistant's line is the one that is due; empty where nobody says."""
    return next((line.name for line in reversed(lines) if line.role == role and line.name), "")


def draw_replies(task: RatingTask) -> str:
    """The replies, side by side or one under the other."""
    n = len(task.replies)
    names = [t("The reply")] if n == 1 else [t(REPLY, place=place) for place in range(1, n + 1)]
    answerer = last_speaker(task.scene, "assistant")
    whose = f" · {inert(answerer)}" if answerer else ""
    cards = "".join(_reply(name, whose, text) for name, text in zip(names, task.replies, strict=True))
    return f'<div class="read replies{" one" if n == 1 else ""}">{cards}</div>'


def _reply(name: str, whose: str, text: str) -> str:
    is_empty = not text.strip()
    shown = t("(says nothing)") if is_empty else inert(text)
    return draw_card(f"{name}<bdi>{whose}</bdi>", shown, label=name, look="text empty" if is_empty else "text")


def draw_card(
    title: str, shown: str, *, label: str = "", look: str = "text", level: int = 2, before: str = "", after: str = ""
) -> str:
    """A reply under its title, all of it HTML; with a label it is reached and scrolled by keys."""
    reach = f' tabindex="0" role="group" aria-label="{label}"' if label else ""
    body = f'{before}<div class="{look}" dir="auto"{reach}>{shown}</div>{after}'
    return f'<section class="reply"><h{level}>{title}</h{level}>{body}</section>'


def draw_criterion(criterion: Criterion, *, given: Mapping[str, int], n: int) -> str:
    """The one of `n` criteria to mark, in a sentence; its definition on demand, and the marks given before."""
    short, *others = re.split(r"(?<=[.?!])\s+", criterion.definition, maxsplit=1)
    low, high = criterion.scale
    rest = "".join(others)
    before = "".join(f"<span>{inert(name.capitalize())} <b>{mark}</b></span>" for name, mark in given.items())
    more = f"<details><summary>{t('More on this')}</summary><p>{inert(rest)}</p></details>" if rest else ""
    done = f'<p class="top">{before}</p>' if before else ""
    return (
        f'<div class="read scale">{done}<p><b>{inert(criterion.name.capitalize())}</b> '
        f'<span class="quiet">({t(PLACE, n=len(given) + 1, total=n)})</span> {inert(short)} '
        f'<span class="quiet">{t(ENDS, low=low, high=high)}</span></p>{more}</div>'
    )


def draw_ranking(ask: str, *, given: Mapping[str, int]) -> str:
    """What is asked next, and the places given before."""
    before = "".join(f"<span>{t(REPLY, place=inert(place))} <b>{rank}.</b></span>" for place, rank in given.items())
    return f'<div class="read scale">{f"<p class=top>{before}</p>" if before else ""}<p><b>{ask}</b></p></div>'


def draw_notice(text: str) -> str:
    """Something the rater should know."""
    return f'<p class="read notice">{inert(text)}</p>'


def spoken(task: RatingTask, marks: Mapping[str, int]) -> str:
    """What a screen reader says when a task, or its next criterion, appears."""
    said = PRACTICE_ITEM if task.is_practice else ITEM
    place = f"{t(said, n=task.progress.n_done + 1, total=task.progress.n_total)}."
    due = next((c.name for c in task.criteria if c.name not in marks), "")
    return f"{place} {due.capitalize()}." if due else place


def draw_table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a caption; the first cell of a row is its heading. Wide tables scroll by themselves."""
    head = "".join(f'<th scope="col">{inert(name)}</th>' for name in columns)
    body = "".join(f"<tr>{_table_row(cells)}</tr>" for cells in rows)
    return (
        f'<div class="read scroll" tabindex="0" role="region" aria-label="{inert(caption)}"><table>'
        f"<caption>{inert(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _table_row(cells: Sequence[str]) -> str:
    first, *others = cells
    return f'<th scope="row">{inert(first)}</th>' + "".join(f"<td>{inert(cell)}</td>" for cell in others)
