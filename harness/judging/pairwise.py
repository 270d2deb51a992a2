"""The pairwise judge: which of two replies is better, asked in both orders, tie allowed.

The question names the replies A and B and offers three answers, A, B and C for a tie, each one token at a forced
position; the verdict is the most likely of the three, read by the same readers as a score (`harness.judging.reading`).
Every pair is asked twice with its replies exchanged, since judges favour a position (Zheng et al. 2023, arXiv
2306.05685, section 3.3; Wang et al. 2023, arXiv 2305.17926, which call it balanced position calibration). Deviation:
the first counts a pair whose two verdicts differ as a tie; here both verdicts stay, each with its order, and
`harness.judging.preferences` takes their mean and prints how often they agree.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from harness.errors import ConfigError, InputError, JudgeError
from harness.judging.fitting import BROKEN_OFF, FittedItem, fit
from harness.judging.neutralise import neutralise
from harness.judging.protocol import OnProgress
from harness.judging.reading import OptionReader, Reading
from harness.models.protocol import LanguageModel, OptionProbabilities, OptionRequest
from harness.types import Criterion, JudgedItem, JudgedPair, Message, Place, Preference, PreferredReply

REVISION = 1  # raise when a change of this file changes verdicts; part of the judge's id
SYSTEM = "You compare two lines of film dialogue."
# The assistant's turn is begun with this, so that a verdict must come next. A letter that follows a space is another
# token in every vocabulary; one that begins a line is the letter itself.
PREFIX = "Verdict:\n"
VERDICTS = ("A", "B", "C")  # the better reply, or C: neither
PLACES: tuple[Place, Place] = ("first", "second")
PLACEHOLDERS = frozenset({"criterion", "definition", "steps", "conversation", "reply_a", "reply_b"})


@runtime_checkable
class Comparer(Protocol):
    """What every pairwise judge is."""

    @property
    def id(self) -> str:
        """As `Judge.id`."""

    @property
    def family(self) -> str:
        """As `Judge.family`."""

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """What it compares by, in the order of its verdicts."""

    def compare(self, pairs: Sequence[JudgedPair], *, on_progress: OnProgress | None = None) -> list[Preference]:
        """Two verdicts per pair and criterion, `shown_first` first and then second; missing ones have their status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedPair:
    """A pair ready to be rendered; `item.status` is "ok" or says why there is nothing to render."""

    item: FittedItem  # the first reply with the context
    second: str  # neutralised
    is_second_truncated: bool

    def shown(self, place: Place) -> tuple[str, str]:
        """The replies as A and B when the one at `place` stands first, each marked where it was cut."""
        replies = [
            text + (BROKEN_OFF if is_cut else "")
            for text, is_cut in (
                (self.item.reply, self.item.is_truncated),
                (self.second, self.is_second_truncated),
            )
        ]
        return (replies[0], replies[1]) if place == "first" else (replies[1], replies[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class PairwiseJudge:
    """Compares two replies by each criterion, in both orders."""

    id: str
    family: str
    criteria: tuple[Criterion, ...]
    reader: OptionReader
    template: string.Template
    min_mass: float
    max_bytes: int

    def compare(self, pairs: Sequence[JudgedPair], *, on_progress: OnProgress | None = None) -> list[Preference]:
        """See `Comparer.compare`."""
        asked = self._asked(pairs)
        # All in one call: the reader knows which of their beginnings are worth encoding once.
        readings = iter(self.reader.read(self._requests(asked), on_progress=on_progress))
        return [
            self._preference(pair, c, place, next(readings) if pair.item.status == "ok" else None)
            for pair, c, place in asked
        ]

    def questions(self, pairs: Sequence[JudgedPair]) -> list[OptionRequest]:
        """What comparing the pairs asks, to be counted before it is sent."""
        return self._requests(self._asked(pairs))

    def _asked(self, pairs: Sequence[JudgedPair]) -> list[tuple[FittedPair, Criterion, Place]]:
        fitted = [fit_pair(pair, criteria=self.criteria, max_bytes=self.max_bytes) for pair in pairs]
        return [(pair, c, place) for pair in fitted for c in pair.item.criteria for place in PLACES]

    def _requests(self, asked: Sequence[tuple[FittedPair, Criterion, Place]]) -> list[OptionRequest]:
        return [render(self.template, c, pair, place) for pair, c, place in asked if pair.item.status == "ok"]

    def _preference(self, pair: FittedPair, criterion: Criterion, place: Place, reading: Reading | None) -> Preference:
        missing = Preference(
            pair_id=pair.item.id,
            criterion=criterion.name,
            judge_id=self.id,
            shown_first=place,
            preferred=None,
            status="failed",
            mode=self.reader.mode,
        )
        if reading is None:
            return replace(missing, status=pair.item.status, reason=pair.item.reason)
        if reading.answer is None:
            return replace(missing, status=reading.status, reason=reading.reason)
        return aggregate(reading.answer, missing, min_mass=self.min_mass, reason=pair.item.reason)


def fit_pair(pair: JudgedPair, *, criteria: Sequence[Criterion], max_bytes: int) -> FittedPair:
    """Neutralise a pair and drop its oldest turns until conversation and both replies have at most `max_bytes`.

    Neither reply is ever shortened; an empty one, or two that do not fit, make the pair missing as in `fitting.fit`.
    """
    replies = neutralise(pair.first), neutralise(pair.second)
    items = [
        fit(
            JudgedItem(
                id=pair.id,
                messages=pair.messages,
                reply=own,
                cluster=pair.cluster,
                is_truncated=is_cut,
                missing=pair.missing,
                criteria=pair.criteria,
            ),
            criteria=criteria,
            max_bytes=max_bytes - len(other.encode()),  # equal room for the conversation, whichever reply is looked at
        )
        for own, other, is_cut in (
            (replies[0], replies[1], pair.is_first_truncated),
            (replies[1], replies[0], pair.is_second_truncated),
        )
    ]
    problem = next((item for item in items if item.status != "ok"), None)
    first = items[0] if problem is None else replace(items[0], status=problem.status, reason=problem.reason)
    if problem is None and pair.is_second_truncated and not pair.is_first_truncated:
        first = replace(first, reason=items[1].reason)
    return FittedPair(item=first, second=replies[1], is_second_truncated=pair.is_second_truncated)


def read_template(text: str) -> string.Template:
    """The prompt's template; ConfigError unless it uses exactly the known placeholders, each at least once."""
    template = string.Template(text)
    used = set(template.get_identifiers()) if template.is_valid() else set()
    if used != PLACEHOLDERS:
        wanted = ", ".join(f"${name}" for name in sorted(PLACEHOLDERS))
        raise ConfigError(
            f"`prompt` of a pairwise judge must use {wanted} and nothing else after a $, got {sorted(used)}; "
            "write $$ for a $"
        )
    return template


def render(template: string.Template, criterion: Criterion, pair: FittedPair, place: Place) -> OptionRequest:
    """Step 1: the question, with the reply at `place` as A. Substitution is a single pass."""
    reply_a, reply_b = pair.shown(place)
    text = template.substitute(
        criterion=criterion.name,
        definition=criterion.definition.strip(),
        steps="\n".join(f"{i}. {step}" for i, step in enumerate(criterion.steps, start=1)),
        conversation="\n".join(_line(message) for message in pair.item.messages),
        reply_a=reply_a,
        reply_b=reply_b,
    )
    return OptionRequest(
        key=f"{pair.item.id}/{criterion.name}/{place}",
        messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": text.strip()}],
        prefix=PREFIX,
        options=VERDICTS,
    )


def aggregate(answer: OptionProbabilities, blank: Preference, *, min_mass: float, reason: str) -> Preference:
    """Step 4: the most likely verdict, or missing with `low_mass`; two equally likely verdicts are a tie.

    Probabilities are turned round to first, second and tie, whichever stood first.
    """
    a, b, tie = answer.probabilities
    first, second = (a, b) if blank.shown_first == "first" else (b, a)
    is_missing = answer.mass < min_mass
    lacking = f"{answer.mass:.3f} of the probability is on the verdicts, less than {min_mass:g}"
    return replace(
        blank,
        preferred=None if is_missing else _most_likely(first, second, tie),
        status="low_mass" if is_missing else "ok",
        probabilities=(first, second, tie),
        mass=answer.mass,
        entropy=answer.entropy,
        reason=lacking if is_missing else reason,
    )


def check_verdict_tokens(model: LanguageModel) -> None:
    """Ask one question before any work is done; JudgeError when a verdict is not a single token of a local model."""
    probe = OptionRequest(
        key="start-up", messages=[{"role": "user", "content": "Compare these."}], prefix=PREFIX, options=VERDICTS
    )
    try:
        model.option_probabilities([probe])
    except InputError as err:
        raise JudgeError(f"the verdicts A, B and C cannot be read from this model: {err}; choose another") from err


def _line(message: Message) -> str:
    # A and B are the replies here, so the speakers are P and Q; Q is the one whose line is wanted.
    return f"{'P' if message.role == 'user' else 'Q'}: {message.content}"


def _most_likely(first: float, second: float, tie: float) -> PreferredReply:
    if first == second or tie >= max(first, second):
        return "tie"
    return "first" if first > second else "second"
