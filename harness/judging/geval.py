"""G-Eval on a local model: form-filling at a forced position, read from the score tokens themselves.

After Liu et al. 2023 (arXiv 2303.16634): frozen evaluation steps, a form to fill in, and the score of eq. 1,

    score = Σ_s p(s) · s        over the scores s of the scale.

Deviations. The paper samples 20 replies to estimate p(s), and its code counts an unreadable reply as 0; here p(s) is
exact, the softmax over the closed set of score tokens at the position where the assistant's turn must go on. The
probability that the whole set captures (mass) is kept, and where it is less than `min_mass` the model was not answering
the question: the score is missing (`low_mass`), never 0 and never the middle.

Four steps, each a function of its own: render → call → parse → aggregate.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import ConfigError, InputError, JudgeError
from harness.judging.fitting import FittedItem, fit, missing_score
from harness.judging.isolation import Outcome, call_isolating
from harness.judging.protocol import OnProgress
from harness.models.protocol import LanguageModel, OptionProbabilities, OptionRequest
from harness.types import Criterion, JudgedItem, Message, Progress, Score

MODE = "exact"
REVISION = 1  # raise when a change of this file changes scores; part of the judge's id
SYSTEM = "You rate film dialogue."
PREFIX = "Score: "  # the assistant's turn is begun with this, so that a score must come next
PLACEHOLDERS = frozenset({"criterion", "definition", "steps", "conversation", "reply", "low", "high"})
_BROKEN_OFF = "\n(The reply was cut off here at the length limit.)"  # on a line of its own: graded text has no lines


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreDistribution:
    """What the model made of one question: exact probabilities of the scores."""

    probabilities: tuple[float, ...]  # in scale order, sums to 1
    mass: float  # probability of all score tokens together, before renormalising
    entropy: float  # nats


@dataclass(frozen=True, slots=True, kw_only=True)
class GEvalJudge:
    """Fills in one form per reply and criterion."""

    id: str
    family: str
    criteria: tuple[Criterion, ...]
    model: LanguageModel
    template: string.Template
    min_mass: float
    max_bytes: int

    def score(self, items: Sequence[JudgedItem], *, on_progress: OnProgress | None = None) -> list[Score]:
        """See `Judge.score`."""
        fitted = [fit(item, criteria=self.criteria, max_bytes=self.max_bytes) for item in items]
        usable = [item for item in fitted if item.status == "ok"]
        outcomes: dict[tuple[str, str], Outcome[OptionProbabilities]] = {}
        for number, criterion in enumerate(self.criteria):
            # One call per criterion: all its questions begin with the same definition and steps, encoded once.
            asked = [item for item in usable if criterion in item.criteria]
            requests = [render(self.template, criterion, item) for item in asked]
            progress = _part_of(on_progress, number, len(self.criteria), criterion)
            answers = call(self.model, requests, on_progress=progress)
            outcomes |= {(item.id, criterion.name): a for item, a in zip(asked, answers, strict=True)}
        return [
            self._score(item, criterion, outcomes.get((item.id, criterion.name)))
            for item in fitted
            for criterion in item.criteria
        ]

    def _score(self, item: FittedItem, criterion: Criterion, outcome: Outcome[OptionProbabilities] | None) -> Score:
        if outcome is None:
            return item.missing(criterion, judge_id=self.id, mode=MODE)
        if outcome.answer is None:
            return missing_score(item.id, criterion, "failed", outcome.error, judge_id=self.id, mode=MODE)
        distribution = parse(outcome.answer, criterion)
        if distribution is None:
            reason = "the model's probabilities are not those of the scale"
            return missing_score(item.id, criterion, "unparsable", reason, judge_id=self.id, mode=MODE)
        return aggregate(distribution, criterion, item, judge_id=self.id, min_mass=self.min_mass)


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
        reply=item.reply + (_BROKEN_OFF if item.is_truncated else ""),
        low=low,
        high=high,
    )
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text.strip()}]
    return OptionRequest(
        key=f"{item.id}/{criterion.name}", messages=messages, prefix=PREFIX, options=score_tokens(criterion)
    )


def call(
    model: LanguageModel, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None
) -> list[Outcome[OptionProbabilities]]:
    """Step 2: the model's answers, in the order of the requests; a request it cannot take gives its error."""
    return call_isolating(lambda some: model.option_probabilities(some, on_progress=on_progress), requests)


def parse(answer: OptionProbabilities, criterion: Criterion) -> ScoreDistribution | None:
    """Step 3: the distribution over the scale; None when the answer is not one, e.g. holds NaN or other options."""
    p = answer.probabilities
    is_sound = (
        answer.options == score_tokens(criterion)
        and len(p) == len(answer.options)
        and all(math.isfinite(x) and 0 <= x <= 1 for x in (*p, answer.mass))
        and math.isclose(math.fsum(p), 1.0, abs_tol=1e-4)
    )
    return ScoreDistribution(probabilities=p, mass=answer.mass, entropy=answer.entropy) if is_sound else None


def aggregate(
    distribution: ScoreDistribution, criterion: Criterion, item: FittedItem, *, judge_id: str, min_mass: float
) -> Score:
    """Step 4: Σ p(s)·s, or missing with `low_mass`; probabilities and mass are kept either way."""
    low, high = criterion.scale
    is_missing = distribution.mass < min_mass
    value = math.fsum(p * s for p, s in zip(distribution.probabilities, range(low, high + 1), strict=True))
    reason = f"{distribution.mass:.3f} of the probability is on the scores, less than {min_mass:g}"
    return Score(
        item_id=item.id,
        criterion=criterion.name,
        judge_id=judge_id,
        value=None if is_missing else value,
        status="low_mass" if is_missing else "ok",
        probabilities=distribution.probabilities,
        mass=distribution.mass,
        entropy=distribution.entropy,
        mode=MODE,
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


def _part_of(on_progress: OnProgress | None, number: int, n_parts: int, criterion: Criterion) -> OnProgress | None:
    """Progress of one criterion as a part of the whole."""
    if on_progress is None:
        return None

    def report(progress: Progress) -> None:
        done, total = number * progress.total + progress.done, n_parts * progress.total
        note = f"{criterion.name}, {progress.note}" if progress.note else criterion.name
        on_progress(Progress(done=done, total=total, unit=progress.unit, note=note))

    return report


def _line(message: Message) -> str:
    # Speakers are told apart by letters; B is the one whose reply is rated.
    return f"{'A' if message.role == 'user' else 'B'}: {message.content}"
