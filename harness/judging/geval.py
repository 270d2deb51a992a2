"""G-Eval: form-filling, with the score read as a distribution over the scale.

After Liu et al. 2023 (arXiv 2303.16634): frozen evaluation steps, a form to fill in, and the score of eq. 1,

    score = Σ_s p(s) · s        over the scores s of the scale.

Deviations. The paper samples 20 replies to estimate p(s), and its code counts an unreadable reply as 0. Here p(s) comes
from a reader (`harness.judging.reading`) in one of three recorded modes: exact, the softmax over the score tokens of a
local model; logprobs, an endpoint's most likely tokens; sampled, the paper's draws. The probability that the whole
scale captures (mass) is kept, and where it is less than `min_mass` the model was not answering the question: the score
is missing (`low_mass`), never 0 and never the middle.

Four steps, each tested by itself: render (here) → call → parse (the reader) → aggregate (here).
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import ConfigError, InputError, JudgeError
from harness.judging.fitting import BROKEN_OFF, FittedItem, fit, missing_score
from harness.judging.protocol import OnProgress
from harness.judging.reading import OptionReader, Reading
from harness.models.protocol import LanguageModel, OptionProbabilities, OptionRequest
from harness.types import Criterion, JudgedItem, Message, Score

REVISION = 1  # raise when a change of this file changes scores; part of the judge's id
SYSTEM = "You rate film dialogue."
PREFIX = "Score: "  # the assistant's turn is begun with this, so that a score must come next
PLACEHOLDERS = frozenset({"criterion", "definition", "steps", "conversation", "reply", "low", "high"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GEvalJudge:
    """Fills in one form per reply and criterion."""

    id: str
    family: str
    criteria: tuple[Criterion, ...]
    reader: OptionReader
    template: string.Template
    min_mass: float
    max_bytes: int

    def score(self, items: Sequence[JudgedItem], *, on_progress: OnProgress | None = None) -> list[Score]:
        """See `Judge.score`."""
        fitted = self._fitted(items)
        # All criteria in one call: the reader knows which of their beginnings are worth encoding once.
        readings = iter(self.reader.read(self._questions(fitted), on_progress=on_progress))
        return [
            self._score(item, criterion, next(readings) if item.status == "ok" else None)
            for item in fitted
            for criterion in item.criteria
        ]

    def questions(self, items: Sequence[JudgedItem]) -> list[OptionRequest]:
        """What `score` would ask, item by item."""
        return self._questions(self._fitted(items))

    def _fitted(self, items: Sequence[JudgedItem]) -> list[FittedItem]:
        return [fit(item, criteria=self.criteria, max_bytes=self.max_bytes) for item in items]

    def _questions(self, fitted: Sequence[FittedItem]) -> list[OptionRequest]:
        asked = [(item, criterion) for item in fitted if item.status == "ok" for criterion in item.criteria]
        return [render(self.template, criterion, item) for item, criterion in asked]

    def _score(self, item: FittedItem, criterion: Criterion, reading: Reading | None) -> Score:
        mode = self.reader.mode
        if reading is None:
            return item.missing(criterion, judge_id=self.id, mode=mode)
        if reading.answer is None:
            return missing_score(item.id, criterion, reading.status, reading.reason, judge_id=self.id, mode=mode)
        return aggregate(reading.answer, criterion, item, judge_id=self.id, mode=mode, min_mass=self.min_mass)


def read_template(text: str) -> string.Template:
    """The prompt's template; ConfigError unless it uses exactly the known placeholders, each at least once."""
    template = string.Template(text)
    used = set(template.get_identifiers()) if template.is_valid() else set()
    if used != PLACEHOLDERS:
        wanted = ", ".join(f"${name}" for name in sorted(PLACEHOLDERS))
        raise ConfigError(
            f"`prompt` must use {wanted} and nothing else after a $, got {sorted(used)}; write $$ for a $"
        )
    return template


def render(template: string.Template, criterion: Criterion, item: FittedItem) -> OptionRequest:
    """Step 1: the question. Substitution is a single pass, so placeholders inside graded text stay text."""
    low, high = criterion.scale
    text = template.substitute(
        criterion=criterion.name,
        definition=criterion.definition.strip(),
        steps="\n".join(f"{i}. {step}" for i, step in enumerate(criterion.steps, start=1)),
        conversation="\n".join(_line(message) for message in item.messages),
        reply=item.reply + (BROKEN_OFF if item.is_truncated else ""),
        low=low,
        high=high,
    )
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text.strip()}]
    return OptionRequest(
        key=f"{item.id}/{criterion.name}", messages=messages, prefix=PREFIX, options=score_tokens(criterion)
    )


def aggregate(
    answer: OptionProbabilities, criterion: Criterion, item: FittedItem, *, judge_id: str, mode: str, min_mass: float
) -> Score:
    """Step 4: Σ p(s)·s, or missing with `low_mass`; probabilities and mass are kept either way."""
    low, high = criterion.scale
    is_missing = answer.mass < min_mass
    value = math.fsum(p * s for p, s in zip(answer.probabilities, range(low, high + 1), strict=True))
    reason = f"{answer.mass:.3f} of the probability is on the scores, less than {min_mass:g}"
    return Score(
        item_id=item.id,
        criterion=criterion.name,
        judge_id=judge_id,
        value=None if is_missing else value,
        status="low_mass" if is_missing else "ok",
        probabilities=answer.probabilities,
        mass=answer.mass,
        entropy=answer.entropy,
        mode=mode,
        reason=reason if is_missing else item.reason,
    )


def score_tokens(criterion: Criterion) -> tuple[str, ...]:
    """The scores of the scale as the model must write them."""
    low, high = criterion.scale
    return tuple(str(score) for score in range(low, high + 1))


def check_score_tokens(model: LanguageModel, criteria: Sequence[Criterion]) -> None:
    """Ask one question per scale before any work is done; JudgeError when a score is not a single token."""
    for criterion in {c.scale: c for c in criteria}.values():
        probe = OptionRequest(
            key="start-up",
            messages=[{"role": "user", "content": "Rate this."}],
            prefix=PREFIX,
            options=score_tokens(criterion),
        )
        try:
            model.option_probabilities([probe])
        except InputError as err:
            low, high = criterion.scale
            raise JudgeError(f"`scale` [{low}, {high}] cannot be read from this model: {err}; choose another") from err


def _line(message: Message) -> str:
    # Speakers are told apart by letters; B is the one whose reply is rated.
    return f"{'A' if message.role == 'user' else 'B'}: {message.content}"
