"""The instructions that a rater reads first, and again when they like."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from harness.studies.serving import Welcome
from harness.ui.drawing import ENDS, inert
from harness.ui.translations import t

_VOTE_KEYS = (
    ("1", "reply 1 is better"),
    ("2", "reply 2 is better"),
    ("0", "equally good"),
    ("b", "both are bad"),
)
_COMMON_KEYS = (("u", "undo"), ("s", "skip, with a reason"), ("h", "this page"))

REHEARSAL = "This link is for rehearsal: what you rate enters no result."
ITEMS = (
    "There are {n} items; those marked as practice do not count. A few items come again, and a few have an obvious "
    "answer: rate them like all others."
)
SAVED = (
    "Every rating is saved as you give it. Leave whenever you like: your link goes on where you stopped, on any device."
)
MARKING = (
    "You will read the conversation so far and one reply. Mark the reply on each of these, by itself and not compared "
    "with the last one you saw:"
)
RANKING = (
    "You will read the conversation so far and several replies to it. Put them in order, the best first, or say which "
    "is best and which is worst: {question} Where a reply stands means nothing, and longer is not better."
)
COMPARING = (
    "You will read the conversation so far and two replies to it. Each time the question is: {question} Go by your own "
    "ear. Which side a reply stands on means nothing, and longer is not better."
)


def draw_guide(greeting: Welcome, *, is_own: bool = False) -> str:
    """How to rate, for the kind of study that the link belongs to; `is_own`: the study has said what it asks."""
    begun = ""
    if greeting.has_begun:
        n_done, n = greeting.progress.n_done, greeting.progress.n_total
        begun = f"<p>{t('You have rated {n_done} of {n} so far.', n_done=n_done, n=n)}</p>"
    rehearsal = t(REHEARSAL) if greeting.is_rehearsal else ""
    return (
        f'<section class="read prose">{begun}'
        f"{'' if is_own else _what(greeting)}<ul>{_keys(greeting)}</ul>"
        f"<p>{t(ITEMS, n=greeting.progress.n_total)}</p><p>{t(SAVED)} {rehearsal}</p></section>"
    )


def _what(greeting: Welcome) -> str:
    if greeting.kind == "likert":
        rows = "".join(
            f"<li><b>{inert(c.name.capitalize())}</b>: {inert(c.definition)} {t(ENDS, low=low, high=high)}</li>"
            for c in greeting.criteria
            for low, high in (c.scale,)
        )
        return f"<p>{t(MARKING)}</p><ul>{rows}</ul>"
    said = t(RANKING if greeting.kind == "ranking" else COMPARING, question=f"<b>{inert(greeting.question)}</b>")
    return f"<p>{said}</p>"


def _keys(greeting: Welcome) -> str:
    if greeting.kind == "likert":
        low, high = greeting.criteria[0].scale
        own: Sequence[tuple[str, str]] = ((f"{low}–{high}", "mark, one criterion after the other"),)
    elif greeting.kind == "ranking":
        own = (("1–6", "the reply that is asked for"),)
    else:
        own = _VOTE_KEYS
    return "".join(f"<li><kbd>{escape(key)}</kbd> {escape(t(what))}</li>" for key, what in (*own, *_COMMON_KEYS))
