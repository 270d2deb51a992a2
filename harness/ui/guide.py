"""The instructions that a rater reads first, and again when they like."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from harness.studies.serving import Welcome
from harness.ui.drawing import inert

_VOTE_KEYS = (
    ("1", "reply 1 is better"),
    ("2", "reply 2 is better"),
    ("0", "equally good"),
    ("b", "both are bad"),
)
_COMMON_KEYS = (("u", "undo"), ("s", "skip, with a reason"), ("h", "this page"))


def draw_guide(greeting: Welcome, *, is_own: bool = False) -> str:
    """How to rate, for the kind of study that the link belongs to; `is_own`: the study has said what it asks."""
    begun = ""
    if greeting.has_begun:
        begun = f"<p>You have rated {greeting.progress.n_done} of {greeting.progress.n_total} so far.</p>"
    rehearsal = " This link is for rehearsal: what you rate enters no result." if greeting.is_rehearsal else ""
    return (
        '<section class="read prose"><h1 tabindex="-1" data-item="guide">How to rate</h1>'
        f"{begun}{'' if is_own else _what(greeting)}<ul>{_keys(greeting)}</ul>"
        f"<p>There are {greeting.progress.n_total} items; those marked as practice do not count. A few items come "
        "again, and a few have an obvious answer: rate them like all others.</p>"
        "<p>Every rating is saved as you give it. Leave whenever you like: your link goes on where you stopped, on any "
        f"device.{rehearsal}</p></section>"
    )


def _what(greeting: Welcome) -> str:
    if greeting.kind == "likert":
        rows = "".join(
            f"<li><b>{inert(s.name.capitalize())}</b>: {inert(s.definition)} {s.low} is worst, {s.high} is best.</li>"
            for s in greeting.scales
        )
        return (
            "<p>You will read the conversation so far and one reply. Mark the reply on each of these, by itself and "
            f"not compared with the last one you saw:</p><ul>{rows}</ul>"
        )
    if greeting.kind == "ranking":
        return (
            "<p>You will read the conversation so far and several replies to it. Put them in order, the best first, "
            f"or say which is best and which is worst: <b>{inert(greeting.question)}</b> Where a reply stands means "
            "nothing, and longer is not better.</p>"
        )
    return (
        "<p>You will read the conversation so far and two replies to it. Each time the question is: "
        f"<b>{inert(greeting.question)}</b> Go by your own ear. Which side a reply stands on means nothing, and longer "
        "is not better.</p>"
    )


def _keys(greeting: Welcome) -> str:
    if greeting.kind == "likert":
        low, high = greeting.scales[0].low, greeting.scales[0].high
        own: Sequence[tuple[str, str]] = ((f"{low}–{high}", "mark, one criterion after the other"),)
    elif greeting.kind == "ranking":
        own = (("1–6", "the reply that is asked for"),)
    else:
        own = _VOTE_KEYS
    return "".join(f"<li><kbd>{escape(key)}</kbd> {escape(what)}</li>" for key, what in (*own, *_COMMON_KEYS))
