"""Answers of judges that think first: a reason and a score, told apart by their lines or by their fields.

`score`: the whole answer is the score. `explain`: the last line is only the score, what stands before it is the reason.
`rate-explain`: the first line is, and the reason follows. `typed`: one JSON object with `reason` and `score`, as
`response_format` makes a server write it. A line is only the score when nothing else stands on it but one label and a
colon ("Score: 4", "- Coherence: 3"). Nothing is searched for in prose.

After Chiang & Lee 2023 (arXiv 2310.05657): asked to explain, judges agree more with people. On a local model the reason
is generated and the score's position forced behind it. At an endpoint the position is forced where the server goes on
from the beginning of an answer; else it is the one of the typed field, or of the line that is only the score.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

AnswerForm = Literal["score", "explain", "rate-explain"]
ANSWER_FORMS: tuple[AnswerForm, ...] = ("explain", "rate-explain")  # with a reason: modes of judges that think first
REVISION = 1  # raise when a change of what is asked or read here changes scores; part of the judge's id
MAX_TOKENS = 320  # of reason and score
MAX_REASON = 2_000  # characters that are kept
_LINE = re.compile(r"(?:[-*] ?)?(?:\*\*)?(?:[A-Za-z][A-Za-z ]{0,30}:(?:\*\*)?\s*)?(?P<score>-?\d+)(?:\*\*)?\.?")
_TYPED = re.compile(r"\{.*\}", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidScore:
    """A score with its reason."""

    score: str  # one of the options
    reason: str
    at: int  # offset of the score in the text


def read_said(text: str, options: Sequence[str], *, form: AnswerForm, is_typed: bool = False) -> SaidScore | None:
    """The score and the reason of an answer; None where it is not of the form, or scores outside the scale."""
    if is_typed:
        return _typed(text, options, form)
    whole = text.strip()
    begin = text.index(whole) if whole else 0
    if form == "score":
        line, reason, at = whole, "", begin
    elif form == "explain":
        reason, _, line = whole.rpartition("\n")
        at = begin + len(whole) - len(line)
    else:
        line, _, reason = whole.partition("\n")
        at = begin
    match = _LINE.fullmatch(line.strip())
    if match is None or match["score"] not in options:
        return None
    indent = len(line) - len(line.lstrip())
    return SaidScore(score=match["score"], reason=reason.strip(), at=at + indent + match.start("score"))


def reason_in(text: str, options: Sequence[str], *, prefix: str) -> str:
    """What stands before a last line that is only the score; the whole where there is none."""
    said = read_said(text, options, form="explain")
    why = text.strip() if said is None else said.reason
    return why.removesuffix(prefix.strip()).strip()[:MAX_REASON]


def instruction(low: int, high: int, *, form: AnswerForm, is_typed: bool = False) -> str:
    """What is asked of a judge that thinks first, after its prompt."""
    if is_typed:
        return (
            f"Answer with a JSON object: `reason`, one or two sentences, and `score`, a whole number {low} to {high}."
        )
    line = f'a line that holds nothing but "Score: " and a whole number from {low} to {high}'
    if form == "explain":
        return f"First explain in one or two sentences. Then write, as your last line, {line}."
    return f"Begin with {line}. Then explain it in one or two sentences."


def schema_of(options: Sequence[str], *, form: AnswerForm) -> dict[str, object]:
    """`response_format` of the typed form; the order of its fields is the order in which they are written."""
    score = {"type": "integer", "enum": [int(option) for option in options]}
    fields: dict[str, object] = {"reason": {"type": "string"}, "score": score}
    if form == "rate-explain":
        fields = dict(reversed(fields.items()))
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "rating", "strict": True, "schema": schema}}


def _typed(text: str, options: Sequence[str], form: AnswerForm) -> SaidScore | None:
    whole = text.strip()
    if _TYPED.fullmatch(whole) is None:
        return None
    try:
        said = json.loads(whole, object_pairs_hook=lambda pairs: dict(pairs) if len(dict(pairs)) == len(pairs) else {})
    except (ValueError, RecursionError):
        return None
    score, reason = said.get("score"), said.get("reason")
    if (
        isinstance(score, bool)
        or not isinstance(score, int)
        or str(score) not in options
        or not isinstance(reason, str)
    ):
        return None
    # The field's own value: the last before the closing brace, or the first after the opening one.
    place = re.search(r'"score"\s*:\s*(-?\d+)\s*\}$', whole) or re.match(r'\{\s*"score"\s*:\s*(-?\d+)\s*,', whole)
    at = -1 if place is None else text.index(whole) + place.start(1)
    return SaidScore(score=str(score), reason=reason.strip(), at=at)
