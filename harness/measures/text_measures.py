"""One row of reference-free measures per generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.composing import compose
from harness.doors.text import is_absent
from harness.measures.measure import Measure, MeasuredReply
from harness.measures.ngrams import grams, spoken_words, words
from harness.types import NO_REPLY, Generation, Prompt, ScoreStatus


def _of_replies(name: str, label: str, description: str, phrase: tuple[str, str]) -> Measure:
    """A share of replies, or of a reply's words, of which less is better."""
    return Measure(
        name=name, label=label, unit="share", better="lower", description=description, phrase=phrase, origin="replies",
        is_rate=True,
    )  # fmt: skip


MEASURES = (
    _of_replies(
        "repetition",
        "Repetition",
        "Share of a reply's word n-grams that it has said before: loops show here.",
        ("repeats itself less within a reply", "repeats itself more within a reply"),
    ),
    _of_replies(
        "echo",
        "Echo of the context",
        "Share of a reply's word n-grams copied from the conversation so far.",
        ("copies less of the conversation", "copies more of the conversation"),
    ),
    _of_replies(
        "no_text",
        "Replies without text",
        "Share of replies that are empty, were refused or failed: the other measures leave them out.",
        ("leaves fewer prompts without a reply", "leaves more prompts without a reply"),
    ),
    _of_replies(
        "cut_off",
        "Cut off",
        "Share of replies that ran into the length cap instead of ending.",
        ("finishes more of its replies", "leaves more of its replies unfinished"),
    ),
    Measure(name="length", label="Length", unit="words", better=None, description="Words per reply.", origin="replies"),
)

ORDER = 3  # words: short enough to find a loop in one line, long enough that "I don't" is none


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMeasures:
    """What can be said of one reply by looking at it. None is missing: what has no text cannot be measured by it."""

    prompt_id: str
    variant: str
    draw: int
    cluster: str
    status: ScoreStatus  # why there is no text; ok where there is
    no_text: float  # 1 where the reply has no text, for whatever reason; never missing
    length: int | None  # words
    n_tokens: int | None
    repetition: float | None  # share of 3-grams said before
    echo: float | None  # share of 3-grams taken from the context
    cut_off: float | None  # 1 when the reply ran into the cap, 0 when it ended, None where unknown


def text_measures(generations: Sequence[Generation], prompts: Sequence[Prompt]) -> list[TextMeasures]:
    """A row per generation, in their order; each answers one of the prompts."""
    by_id = {prompt.id: prompt for prompt in prompts}
    return [_row(generation, by_id[generation.prompt_id]) for generation in generations]


def reply_status(generation: Generation) -> ScoreStatus:
    """Whether a reply has text, and why not: `failed`, `refused`, or `empty` for one of signs that nobody can see."""
    if (status := NO_REPLY.get(generation.finish_reason)) is not None:
        return status
    return "empty" if is_absent(generation.text) else "ok"


def blank_row(generation: Generation) -> MeasuredReply:
    """A reply's row before anything is measured: its status says why there will be nothing."""
    return compose(MeasuredReply, generation, value=None, status=reply_status(generation))


def is_cut_off(generation: Generation) -> float | None:
    """1 where the reply ran into the cap, with text or without; 0 where it ended with text; None (missing) otherwise.

    An empty reply that ended did not end *well*: counting it as such would make silence the best behaviour.
    """
    if generation.finish_reason == "length":
        return 1.0
    return 0.0 if generation.finish_reason == "stop" and reply_status(generation) == "ok" else None


def repetition(text: str) -> float | None:
    """Share of a reply's n-grams that it has said before: 1 − distinct n-grams / n-grams.

    0 for a reply of fewer than three words, which has no room for a loop; None (missing) for an empty one. The
    sequence-level repetition of Welleck et al. (1908.04319, section 6.1) with words for tokens.
    """
    tokens = words(text)
    if not tokens:
        return None
    found = grams(tokens, ORDER)
    return 1 - len(set(found)) / len(found) if found else 0.0


def echo(text: str, context: Sequence[str]) -> float | None:
    """Share of a reply's n-grams that stand in one of the context's turns; None (missing) for an empty reply.

    A reply of fewer than three words is compared whole: it is an echo (1) if its words stand in a row in the context.
    """
    tokens = words(text)
    if not tokens:
        return None
    order = min(ORDER, len(tokens))
    said = {gram for turn in context for gram in grams(words(turn), order)}
    found = grams(tokens, order)
    return sum(gram in said for gram in found) / len(found)


def _row(generation: Generation, prompt: Prompt) -> TextMeasures:
    status, text = reply_status(generation), generation.text
    has_text = status == "ok"
    context = [message.content for message in prompt.messages]
    return compose(
        TextMeasures,
        generation,
        status=status,
        no_text=float(not has_text),
        length=len(spoken_words(text)) if has_text else None,
        n_tokens=None if generation.is_missing else generation.n_tokens,
        repetition=repetition(text) if has_text else None,
        echo=echo(text, context) if has_text else None,
        cut_off=is_cut_off(generation),
    )
