"""A judge inside `mlflow.genai.evaluate`: every reply of a dataset gets one feedback per criterion.

    mlflow.genai.evaluate(data=rows, scorers=[as_scorer(judge)])

A row's `inputs` hold the conversation, as `{"messages": [{"role": ..., "content": ...}]}` or as `{"prompt": "..."}` for
a single turn; its `outputs` are the reply. A missing score becomes a feedback with an error that names its status,
never a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast, get_args

from harness.doors.answers import part_thinking
from harness.errors import InputError
from harness.judging.judge_protocol import Judge
from harness.judging.preferences import item_values
from harness.store.artifacts import digest_json
from harness.types import JudgedItem, Message, Role, Score


def as_scorer(judge: Judge, *, criteria: Sequence[str] = ()) -> Any:
    """An `mlflow.genai` scorer named as the judge is; `criteria` are some of the judge's, or all.

    A pairwise judge compares a row's reply with `expectations["expected_response"]`, in both orders.

    Raises InputError: a criterion that the judge does not score; and, while it runs, a row that holds no conversation.
    """
    from mlflow.genai.scorers import scorer

    known = [c.name for c in judge.criteria]
    if unknown := [name for name in criteria if name not in known]:
        raise InputError(f"`criteria` must be of {', '.join(known)}, got {', '.join(unknown)}")

    name = judge.id.split("@")[0]
    if judge.compares:
        return _pairwise_scorer(judge, name, tuple(criteria))

    @scorer(name=name)
    def score(inputs: dict[str, Any], outputs: Any) -> list[Any]:
        item = item_of(inputs, outputs, criteria=tuple(criteria))
        return [feedback(found) for found in judge.score([item])]

    return score


def item_of(inputs: Mapping[str, Any], outputs: Any, *, criteria: tuple[str, ...] = ()) -> JudgedItem:
    """A row of a dataset as a judge sees it. A row stands for itself: no films, so each is its own cluster."""
    messages = _messages(inputs)
    if not isinstance(outputs, str):
        raise InputError(f"`outputs` must be the reply as text, got {type(outputs).__name__}")
    key = digest_json([[(m.role, m.content) for m in messages], outputs])[:16]
    reply = part_thinking(outputs).text
    return JudgedItem(id=key, messages=messages, reply=reply, cluster=key, criteria=criteria)


def feedback(score: Score) -> Any:
    """A score as MLflow's feedback with source LLM_JUDGE; a missing one as an error with its status."""
    from mlflow.entities import AssessmentError, AssessmentSource, Feedback

    evidence = {"status": score.status, "mode": score.mode, "mass": score.mass, "entropy": score.entropy}
    return Feedback(
        name=score.criterion,
        value=score.value,
        error=None
        if score.value is not None
        else AssessmentError(error_code=score.status.upper(), error_message=score.reason or score.status),
        source=AssessmentSource(source_type="LLM_JUDGE", source_id=score.judge_id),
        rationale=score.reason or None,
        metadata={key: str(value) for key, value in evidence.items() if value not in (None, "")},
    )


def _pairwise_scorer(judge: Judge, name: str, criteria: tuple[str, ...]) -> Any:
    from mlflow.genai.scorers import scorer

    @scorer(name=name)
    def score(inputs: dict[str, Any], outputs: Any, expectations: dict[str, Any]) -> list[Any]:
        item, expected = item_of(inputs, outputs, criteria=criteria), expectations.get("expected_response")
        if not isinstance(expected, str):
            raise InputError(f"`expectations` must hold `expected_response` as text, got {sorted(expectations)}")
        said = judge.score([replace(item, opponent=expected)])
        return [feedback(_share(s.criterion, said)) for s in said if s.shown_first == "first"]

    return score


def _share(criterion: str, said: Sequence[Score]) -> Score:
    """Both verdicts on one pair as a score: the share of wins, or missing for the reason of the one that is missing."""
    own = [s for s in said if s.criterion == criterion]
    told = next((s for s in own if s.value is None), own[0])
    return replace(told, value=next(iter(item_values(own).values())), mass=None, entropy=None, shown_first=None)


def _messages(inputs: Mapping[str, Any]) -> tuple[Message, ...]:
    if isinstance(inputs.get("prompt"), str):
        return (Message(role="user", content=inputs["prompt"]),)
    given = inputs.get("messages")
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise InputError(f"`inputs` must hold `messages` or a `prompt`, got the keys {sorted(inputs)}")
    return tuple(_message(turn) for turn in given)


def _message(turn: Any) -> Message:
    is_turn = isinstance(turn, Mapping) and isinstance(turn.get("content"), str)
    if not is_turn or turn.get("role") not in get_args(Role):
        raise InputError(f"`messages` must hold a role and a content each, got {turn!r}")
    return Message(role=cast(Role, turn["role"]), content=turn["content"])
