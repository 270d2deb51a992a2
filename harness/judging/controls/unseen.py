"""Faults that no learned judge is taught: what models do that nobody thought of planting for training.

Each function returns the faulty text, or None where the conversation or the reply offers no place for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.judging.controls.faults import words

if TYPE_CHECKING:
    import numpy as np

    from harness.types import Prompt

COMMENTS = (  # on the scene, as an assistant reads it
    "This dialogue between the two characters is a poignant exploration of {topic} and of what is left unsaid.",
    "The scene captures a tense moment: one character speaks of {topic}, and the other has to decide how to answer.",
    "In this exchange the author uses {topic} to show how far the two have drifted apart.",
    "It seems that the characters are discussing {topic}. Their conversation mixes curiosity with doubt.",
    "Here the speaker's words about {topic} reveal an inner conflict that drives the story forward.",
)
NARRATION = (  # a narrator's prose, in place of the line
    "She looked at the {topic} for a long moment, then turned to the window and said nothing.",
    "He lit a cigarette and walked slowly across the room, thinking about {topic}.",
    "Outside, the rain had begun to fall, and nobody spoke of {topic} again that night.",
    "The door opened with a creak, and for a while the two of them stood there, silent, with {topic} between them.",
    "He put down his glass, his hands trembling, and stared at the {topic}.",
)
INSTRUCTIONS = (  # text of a prompt, for writing the line
    "Write the next line of this dialogue. Keep it short and stay in character: {last}",
    "### Instruction: Continue the conversation below as the second speaker. ### Input: {last}",
    "You are a helpful assistant. Reply to the following message in one sentence: {last}",
    "Please provide a response about {topic} that fits the tone of the scene and does not exceed 50 words.",
    "Task: given the last message, generate a reply about {topic}. Output only the reply.",
)
_LONG_WORD = re.compile(r"[^\W\d_]{4,}")
_AFFIRM = ((r"\bcan't\b", "can"), (r"\bwon't\b", "will"), (r"n't\b", ""), (r"\bnot ", ""), (r"\bnever\b", "always"))
_DENY = (r"\b(is|are|was|were|am|does?|did|can|could|will|would|should|have|has|had)\b", r"\1 not")
_FORMS = {
    form: other
    for one, two in (
        ("is", "are"), ("was", "were"), ("do", "does"), ("have", "has"), ("I", "me"), ("he", "him"), ("they", "them")
    )
    for form, other in ((one.casefold(), two), (two, one))
} | {"am": "is"}  # fmt: skip
_FUNCTION_WORDS = frozenset((
    "the", "a", "an", "to", "of", "in", "on", "at", "is", "are", "was", "were", "and", "that", "it", "you", "i", "for",
    "with", "do", "be",
))  # fmt: skip


def turn_before(host: Prompt, rng: np.random.Generator) -> str | None:
    """The reply to the turn before: what the same speaker has just said."""
    return host.messages[-2].content if len(host.messages) > 1 else None


def others_line(host: Prompt, rng: np.random.Generator) -> str | None:
    """The wrong person speaking: what the other one said a turn earlier."""
    return host.messages[-3].content if len(host.messages) > 2 else None


def negated(host: Prompt, rng: np.random.Generator) -> str | None:
    """The reply with its first statement turned round."""
    truth = host.reference or ""
    for pattern, word in _AFFIRM:
        turned, n = re.subn(pattern, word, truth, count=1, flags=re.IGNORECASE)
        if n:
            return turned
    turned, n = re.subn(*_DENY, truth, count=1)
    return turned if n else None


def swapped_neighbours(host: Prompt, rng: np.random.Generator) -> str | None:
    """Two neighbouring words in each other's place."""
    parts = words(host.reference or "")
    places = [i for i in range(len(parts) - 1) if parts[i].casefold() != parts[i + 1].casefold()]
    if not places:
        return None
    i = places[int(rng.integers(len(places)))]
    parts[i], parts[i + 1] = parts[i + 1], parts[i]
    return " ".join(parts)


def backwards(host: Prompt, rng: np.random.Generator) -> str | None:
    """The words from last to first."""
    return " ".join(reversed(words(host.reference or "")))


def run_together(host: Prompt, rng: np.random.Generator) -> str | None:
    """The words without the spaces between them."""
    return "".join(words(host.reference or ""))


def doubled(host: Prompt, rng: np.random.Generator) -> str | None:
    """Every word said twice."""
    return " ".join(word for part in words(host.reference or "") for word in (part, part))


def telegraphic(host: Prompt, rng: np.random.Generator) -> str | None:
    """Without its little words, where that takes two at least."""
    parts = words(host.reference or "")
    kept = [part for part in parts if part.casefold().strip(".,!?;:'\"") not in _FUNCTION_WORDS]
    return " ".join(kept) if 2 <= len(kept) <= len(parts) - 2 else None


def wrong_forms(host: Prompt, rng: np.random.Generator) -> str | None:
    """Verbs and pronouns in forms that do not fit."""
    truth = host.reference or ""
    turned = re.sub(r"[A-Za-z]+", lambda found: _FORMS.get(found[0].casefold(), found[0]), truth)
    return turned if turned != truth else None


Plant = Callable[["Prompt", "np.random.Generator"], str | None]
PLANTED: Mapping[str, Plant] = MappingProxyType(
    {
        "comment": lambda host, rng: _filled(COMMENTS, host, rng),
        "narration": lambda host, rng: _filled(NARRATION, host, rng),
        "instruction": lambda host, rng: _filled(INSTRUCTIONS, host, rng),
        **{
            function.__name__: function
            for function in (
                turn_before, others_line, negated,
                swapped_neighbours, backwards, run_together, doubled, telegraphic, wrong_forms,
            )
        },
    }
)  # fmt: skip


def _filled(templates: Sequence[str], host: Prompt, rng: np.random.Generator) -> str:
    """A template about the longest word of the last turn, so that it is not given away by its topic."""
    last = host.messages[-1].content
    topic = max(_LONG_WORD.findall(last), key=len, default="it").lower()
    return templates[int(rng.integers(len(templates)))].format(topic=topic, last=last)
