"""What a model is asked to do: each task is one declaration, of all that differs between film dialogue and an answer.

A task carries the noun of what stands alone in its data, its system prompt, how replies end, what judges are told they
read, and the measures that are declared where prompts have references. `guess` names one from the data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType
from typing import Literal

from harness.errors import InputError

TaskName = Literal["dialogue", "chat", "exact", "extraction", "code-like", "summary", "classification"]

MOSTLY = 0.8  # of the references have a form that tells the task
MOST_LABELS, ROWS_PER_LABEL = 20, 10
WORDS_OF_AN_ANSWER, WORDS_OF_A_TEXT = 8, 60
_CODE = re.compile(
    r"\s*(```|#!/|\$ |(select|insert|update|delete|create|with|def|class|import|from|return|function|const|let|var)\s)"
    r"|.*[;{}]\s*$|\s*[\w.]+\([^)]*\)\s*$",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKind:
    """One task."""

    name: TaskName
    words: str  # what it is, to a reader
    noun: str  # of a row that stands alone, in the singular
    max_new_tokens: int  # of a reply
    measures: tuple[str, ...]  # declared where prompts have references
    temperature: float = 0.0
    rated: str = "one reply to a request"  # what a judge rates
    compared: str = "two replies to the same request"  # what a judge of pairs compares
    is_dialogue: bool = False  # keeps its own system prompt; others have none but what their rows bring


DIALOGUE = TaskKind(
    name="dialogue", words="the next line of a dialogue", noun="row", max_new_tokens=64, temperature=0.8, measures=(),
    rated="one line of film dialogue", compared="two replies to the same lines of film dialogue", is_dialogue=True,
)  # fmt: skip
_KINDS = (
    DIALOGUE,
    TaskKind(
        name="chat", words="open replies", noun="prompt", max_new_tokens=128, temperature=0.8, measures=("chrf",)
    ),
    TaskKind(
        name="exact", words="one right answer", noun="question", max_new_tokens=64,
        measures=("exact_match", "token_f1"),
    ),
    TaskKind(
        name="extraction", words="fields as JSON", noun="document", max_new_tokens=256,
        measures=("field_f1", "json_valid"),
    ),
    TaskKind(
        name="code-like", words="code or queries", noun="prompt", max_new_tokens=128,
        measures=("code_match", "edit_similarity"),
    ),
    TaskKind(
        name="summary", words="a shorter text", noun="text", max_new_tokens=160, measures=("rouge_l", "chrf"),
        rated="one summary of a text", compared="two summaries of the same text",
    ),
    TaskKind(
        name="classification", words="one of a few labels", noun="text", max_new_tokens=16, measures=("accuracy",)
    ),
)  # fmt: skip
TASKS: Mapping[str, TaskKind] = MappingProxyType({kind.name: kind for kind in _KINDS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A task that the data look like."""

    kind: TaskKind
    why: str  # a sentence, with how to say otherwise


def find_task(name: str) -> TaskKind:
    """The task of that name.

    Raises:
        InputError: there is none.
    """
    if name not in TASKS:
        raise InputError(f"`task` must be one of {', '.join(TASKS)}, got {name!r}")
    return TASKS[name]


def require_fit(kind: TaskKind, references: Sequence[str]) -> None:
    """Refuse a task that was named for rows that it cannot be measured on.

    Raises:
        InputError: they have no references, or not of its form.
    """
    there = [text.strip() for text in references if text.strip()]
    n, n_labels = len(there), len({text.casefold() for text in there})
    asked = f"`--task {kind.name}` must fit the data"
    if kind.measures and kind.name != "chat" and not there:
        raise InputError(f"{asked}: none of {len(references):,} rows has a reference; give `completion`, or take chat")
    if kind.name == "extraction" and not any(map(_is_json, there)):
        raise InputError(f"{asked}: none of {n:,} references is JSON; take exact, or write the fields as JSON")
    if kind.name == "classification" and n_labels > max(MOST_LABELS, n / 2):
        raise InputError(f"{asked}: {n:,} references are {n_labels:,} different labels; take exact")


def guess(prompts: Sequence[str], references: Sequence[str]) -> Guess:
    """The task of rows that are no film dialogue, by their references; those without any are chat."""
    name, seen = _seen(prompts, [text.strip() for text in references if text.strip()])
    return Guess(kind=TASKS[name], why=f"taken for `{name}`, since {seen}; say `--task` if it is another")


def _seen(prompts: Sequence[str], references: Sequence[str]) -> tuple[TaskName, str]:
    if not references:
        return "chat", "the rows have no reference"
    n, n_labels = len(references), len({text.casefold() for text in references})
    words = median(len(text.split()) for text in references)
    if _share(references, _is_json) >= MOSTLY:
        return "extraction", "the references are JSON"
    if n_labels <= min(MOST_LABELS, n / ROWS_PER_LABEL) and words <= WORDS_OF_AN_ANSWER:
        return "classification", f"{n:,} references are {n_labels} labels"
    if _share(references, _CODE.match) >= MOSTLY:
        return "code-like", "the references look like code"
    if words <= WORDS_OF_AN_ANSWER:
        return "exact", f"half of the references have at most {words:g} word{'' if words == 1 else 's'}"
    if median(len(text.split()) for text in prompts) >= max(WORDS_OF_A_TEXT, 2 * words):
        return "summary", "the references are far shorter than long prompts"
    return "chat", f"half of the references have more than {WORDS_OF_AN_ANSWER} words"


def _share(texts: Sequence[str], has: Callable[[str], object]) -> float:
    return sum(bool(has(text)) for text in texts) / len(texts)


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False
