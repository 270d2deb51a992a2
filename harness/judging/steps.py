"""Writing the evaluation steps of a criterion by a model, for a person to review.

G-Eval lets the judging model write the steps of its own form from the task and the criterion (Liu et al. 2023, arXiv
2303.16634, section 3, "Auto Chain-of-Thoughts for NLG Evaluation"). Deviation: they are written once, read by a person
and frozen in the criterion's file, where they are part of the judge's id.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import yaml

from harness.errors import ConfigError, JudgeError
from harness.models.protocol import LanguageModel, ReplyRequest, require
from harness.task_kinds import DIALOGUE, TaskKind
from harness.types import NO_REPLY, Criterion, Decoding

MIN_STEPS, MAX_STEPS = 3, 10
DECODING = Decoding(max_new_tokens=400, temperature=0.0, top_p=1.0)
_NUMBERED = re.compile(r"^\s*(?:\*\*)?(?:step\s+)?\d{1,2}[.):]\s*(?:\*\*)?\s*(\S.*?)\s*$", re.IGNORECASE)
_PROMPT = """\
You will be given {rated}, the reply, and the conversation before it. Your task is to rate the reply
on one metric, {name}, from {low} (worst) to {high} (best).

{definition}

Write the evaluation steps that a careful rater should take, as a numbered list of {least} to {most} short sentences,
one a line, the last of which is to choose a score. Write the list and nothing else."""


def draft_steps(criterion: Criterion, *, model: LanguageModel, kind: TaskKind = DIALOGUE) -> Criterion:
    """The criterion with steps that a model wrote, greedily.

    Raises:
        JudgeError: its text holds no numbered list of three to ten steps.
        UnavailableError: the model cannot generate.
    """
    require(model, "generate", who="judge steps")
    reply = model.generate([steps_request(criterion, kind=kind)], decoding=DECODING)[0]
    if reply.finish_reason in NO_REPLY:
        raise JudgeError(f"the steps of `{criterion.name}` could not be written: {reply.error}")
    steps = read_steps(reply.text)
    if not MIN_STEPS <= len(steps) <= MAX_STEPS:
        raise JudgeError(
            f"the steps of `{criterion.name}` must be a numbered list of {MIN_STEPS} to {MAX_STEPS}, the model wrote "
            f"{len(steps)}: {reply.text[:200]!r}; take a larger model, or write them by hand"
        )
    return replace(criterion, steps=steps)


def steps_request(criterion: Criterion, *, kind: TaskKind = DIALOGUE) -> ReplyRequest:
    """What a model is asked."""
    low, high = criterion.scale
    prompt = _PROMPT.format(
        rated=kind.rated,
        name=criterion.name,
        definition=criterion.definition.strip(),
        low=low,
        high=high,
        least=MIN_STEPS,
        most=MAX_STEPS,
    )
    return ReplyRequest(key=f"steps/{criterion.name}", messages=[{"role": "user", "content": prompt}])


def read_steps(text: str) -> tuple[str, ...]:
    """The numbered lines of a text, without their numbers, each once."""
    found = (_NUMBERED.match(line) for line in text.splitlines())
    return tuple(dict.fromkeys(match[1].replace("**", "") for match in found if match))


def require_unfrozen(path: Path, criterion: Criterion, *, force: bool) -> None:
    """Refuse to replace steps: ConfigError when there are some and `force` is not given."""
    if criterion.steps and not force:
        raise ConfigError(
            f"`{path}` must have no steps yet, it has some, and they are part of its judges' ids; pass --force to "
            "replace them"
        )


def freeze_steps(path: Path, criterion: Criterion, *, written_by: str) -> None:
    """Write a criterion with its steps into its file, whole, with a comment that says who wrote them."""
    body = {
        "name": criterion.name,
        "definition": criterion.definition,
        "steps": list(criterion.steps),
        "scale": list(criterion.scale),
    }
    header = f"# Steps drafted by {written_by}. Read them, correct them, and only then judge with them.\n"
    path.write_text(header + yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
