"""Judges that put a question of their own and read a closed set of answers: what G-Eval and pairwise judges share.

Four steps, each tested by itself: render → call → parse (the reader, `harness.judging.choice_reading`) → aggregate.
"""

from __future__ import annotations

import string
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import ConfigError, InputError, JudgeError
from harness.judging import reasoned, remote_reading
from harness.judging.choice_reading import LocalReader, OptionReader, Reading
from harness.judging.fitting import BROKEN_OFF, FittedItem, fit, score_of
from harness.judging.remote_reading import EndpointReader
from harness.models.endpoint.calls import ChatCall
from harness.models.endpoint.queue import RequestQueue
from harness.models.protocol import LanguageModel, OnProgress, OptionProbabilities, OptionRequest
from harness.types import Criterion, JudgedItem, Place, Score

if TYPE_CHECKING:
    from harness.judging.spec import JudgeSpec

LOCAL_MODES = ("exact", "auto")
ENDPOINT_MODES = ("logprobs", "sampled", "auto")

_Asked = tuple[FittedItem, Criterion, Place | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingJudge(ABC):
    """Asks one question per item, criterion and order in which a pair is shown."""

    id: str
    family: str
    criteria: tuple[Criterion, ...]
    reader: OptionReader
    template: string.Template
    min_mass: float
    max_bytes: int

    compares: ClassVar[bool] = False
    places: ClassVar[tuple[Place | None, ...]] = (None,)
    answers: ClassVar[str] = "scores"

    @property
    def mode(self) -> str:
        """How its reader reads."""
        return self.reader.mode

    @abstractmethod
    def render(self, item: FittedItem, criterion: Criterion, place: Place | None) -> OptionRequest:
        """Step 1: the question. Substitution is a single pass, so placeholders inside graded text stay text."""

    @abstractmethod
    def value(
        self, probabilities: tuple[float, ...], criterion: Criterion, place: Place | None
    ) -> tuple[float, tuple[float, ...]]:
        """The score that a distribution over the answers gives, and the distribution as it is recorded."""

    def score(self, items: Sequence[JudgedItem], *, on_progress: OnProgress | None = None) -> list[Score]:
        """See `Judge.score`."""
        asked = self._asked(items)
        # All in one call: the reader knows which of their beginnings are worth encoding once.
        readings = iter(self.reader.read(self._requests(asked), on_progress=on_progress))
        return [
            replace(self._score(item, c, place, next(readings) if item.status == "ok" else None), shown_first=place)
            for item, c, place in asked
        ]

    def questions(self, items: Sequence[JudgedItem]) -> list[OptionRequest]:
        """What `score` would ask, item by item."""
        return self._requests(self._asked(items))

    def calls(self, items: Sequence[JudgedItem]) -> list[ChatCall]:
        """See `RemoteJudge.calls`."""
        return self.reader.calls(self.questions(items))

    def aggregate(
        self, answer: OptionProbabilities, item: FittedItem, criterion: Criterion, place: Place | None = None
    ) -> Score:
        """Step 4: the value, or missing with `low_mass`; probabilities and mass are kept either way."""
        value, probabilities = self.value(answer.probabilities, criterion, place)
        evidence = {"probabilities": probabilities, "mass": answer.mass, "entropy": answer.entropy}
        if answer.mass >= self.min_mass:
            return score_of(self, item, criterion, value, "ok", item.reason, **evidence)
        lacking = f"{answer.mass:.3f} of the probability is on the {self.answers}, less than {self.min_mass:g}"
        return score_of(self, item, criterion, None, "low_mass", lacking, **evidence)

    def _asked(self, items: Sequence[JudgedItem]) -> list[_Asked]:
        if self.compares and any(item.opponent is None for item in items):
            raise ConfigError(f"`{self.id}` compares two replies and scores none; give it two files, or a control")
        fitted = [fit(item, criteria=self.criteria, max_bytes=self.max_bytes) for item in items]
        return [(item, c, place) for item in fitted for c in item.criteria for place in self.places]

    def _requests(self, asked: Sequence[_Asked]) -> list[OptionRequest]:
        return [self.render(item, c, place) for item, c, place in asked if item.status == "ok"]

    def _score(self, item: FittedItem, criterion: Criterion, place: Place | None, reading: Reading | None) -> Score:
        if reading is None:
            return score_of(self, item, criterion, None, item.status, item.reason)
        if reading.answer is None:
            return score_of(self, item, criterion, None, reading.status, reading.reason)
        found = self.aggregate(reading.answer, item, criterion, place)
        return replace(found, reason=" ".join(filter(None, (found.reason, reading.explanation))))


def settings(spec: JudgeSpec, name: str, source: LanguageModel | RequestQueue) -> dict[str, Any]:
    """What every such judge is made with, but for its template."""
    return {
        "id": name,
        "family": spec.family,
        "criteria": spec.criteria,
        "reader": reader_of(spec, source),
        "min_mass": spec.min_mass or 0.0,
        "max_bytes": spec.max_bytes,
    }


def reader_of(spec: JudgeSpec, source: LanguageModel | RequestQueue) -> OptionReader:
    """How a judge reads its answers; JudgeError while its mode is `auto`."""
    if not isinstance(source, RequestQueue):
        return LocalReader(model=source, explains=spec.thinks is not None)
    if spec.reading == "auto":
        raise JudgeError(f"`mode` of {spec.name} must be resolved before it judges, got {spec.mode}")
    return EndpointReader(
        queue=source,
        model=spec.source,
        top_logprobs=spec.top_logprobs if spec.reading == "logprobs" else 0,
        n_draws=spec.n_draws,
        temperature=spec.temperature,
        answer=spec.thinks or "score",
        is_typed=spec.thinks is not None and spec.typed == "json_schema",
        prefill=spec.forced_by,
        without=spec.without,
    )


def decides(spec: JudgeSpec) -> dict[str, Any]:
    """What of an asking judge's file and mode decides a score."""
    found: dict[str, Any] = {"prompt": spec.prompt, "min_mass": spec.min_mass}
    if spec.thinks:
        found |= {"thinks": reasoned.REVISION, "instruction": said_instruction(spec)}
    if spec.reading == "exact":
        return found
    if spec.thinks:
        found |= {"reads": spec.reads, "typed": spec.typed, "reason_tokens": reasoned.MAX_TOKENS}
    found |= {"reading": remote_reading.REVISION, "max_tokens": remote_reading.MAX_TOKENS}
    found |= {"prefill": spec.forced_by} if spec.forced_by else {}
    found |= {"without": sorted(spec.without)} if spec.without else {}
    if spec.reading == "sampled":
        return found | {"n_draws": spec.n_draws, "temperature": spec.temperature}
    return found | {"top_logprobs": spec.top_logprobs}


def calls_per_score(spec: JudgeSpec) -> float:
    """One call, two where a reason is followed by a forced score, or one per draw."""
    is_twice = spec.mode == "explain" and spec.reading == "logprobs" and spec.prefill != "none"
    return spec.n_draws if spec.reading == "sampled" else 2.0 if is_twice else 1.0


def said_instruction(spec: JudgeSpec) -> str:
    """What a judge that thinks first is told after its prompt; empty for the others."""
    if spec.thinks is None or spec.scale is None:
        return ""
    return reasoned.instruction(*spec.scale, form=spec.thinks, is_typed=spec.is_remote and spec.typed == "json_schema")


def read_template(text: str, *, method: str, parts: frozenset[str]) -> string.Template:
    """The prompt's template; ConfigError unless it uses every placeholder of the method, and no other."""
    template = string.Template(text)
    used = set(template.get_identifiers()) if template.is_valid() else set()
    placeholders = {"criterion", "definition", "steps", "conversation", *parts}
    if used != placeholders:
        wanted = ", ".join(f"${name}" for name in sorted(placeholders))
        raise ConfigError(
            f"`prompt` of a {method} judge must use {wanted} and nothing else after a $, got {sorted(used)}; "
            "write $$ for a $"
        )
    return template


def fill(
    template: string.Template, criterion: Criterion, item: FittedItem, *, speakers: tuple[str, str], **parts: object
) -> str:
    """The text of a question; the second of the speakers is the one whose reply is wanted."""
    said = (f"{speakers[message.role != 'user']}: {message.content}" for message in item.messages)
    return template.substitute(
        parts,
        criterion=criterion.name,
        definition=criterion.definition.strip(),
        steps="\n".join(f"{i}. {step}" for i, step in enumerate(criterion.steps, start=1)),
        conversation="\n".join(said),
    ).strip()


def marked(reply: str, *, is_truncated: bool) -> str:
    """A reply with a mark where it was cut."""
    return reply + (BROKEN_OFF if is_truncated else "")


def check_answers(source: LanguageModel | RequestQueue, *, prefix: str, options: tuple[str, ...], what: str) -> None:
    """Ask a model in this process one question before any work is done; JudgeError when an answer is not one token."""
    if isinstance(source, RequestQueue):
        return
    messages = [{"role": "user", "content": "Judge this."}]
    try:
        source.option_probabilities([OptionRequest(key="start-up", messages=messages, prefix=prefix, options=options)])
    except InputError as err:
        raise JudgeError(f"{what} cannot be read from this model: {err}; choose another") from err
