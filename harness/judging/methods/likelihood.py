"""The likelihood judge: how likely a language model finds a reply, with and without the conversation.

With r the reply's tokens (end token excluded), |r| their number, T(h) the model's chat template over system prompt and
history h, and ∅ a history of one empty user turn:

    coherence(r | h) = [log p(r | T(h)) − log p(r | T(∅))] / |r|      nats per token
    fluency(r)       =  log p(r | T(∅)) / |r|                         nats per token

Both come from the same two passes. Scoring by conditional likelihood follows GPTScore (Fu et al. 2023, arXiv
2302.04166, its score with equal token weights) and BARTScore (Yuan et al. 2021, arXiv 2106.11520). Deviations: no
aspect's definition is written out to the model; coherence subtracts the unconditional likelihood (pointwise mutual
information), so that a reply is not coherent merely for being common; fluency leaves the conversation out, being a
quality of the reply alone.

It is easily fooled: an echo of the conversation and a looped phrase are very likely text. The adversarial controls
(`harness.judging.controls`) are there to show it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.judging.choice_reading import Outcome, call_isolating
from harness.judging.fitting import FittedItem, fit, score_of
from harness.judging.method import Method
from harness.models.chat_templates import DIALOGUE_SYSTEM, chat_messages
from harness.models.protocol import Continuation, ContinuationRequest, LanguageModel, OnProgress
from harness.types import Criterion, JudgedItem, Message, Score

if TYPE_CHECKING:
    from harness.judging.spec import JudgeSpec

CRITERIA = ("coherence", "fluency")
MODE = "likelihood"
REVISION = 1  # raise when a change of this file changes scores; part of the judge's id
NO_HISTORY: tuple[Message, ...] = (Message(role="user", content=""),)

_Passes = dict[tuple[tuple[Message, ...], str], Outcome[Continuation]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodJudge:
    """Scores coherence and fluency in nats per reply token; higher is better."""

    id: str
    family: str
    criteria: tuple[Criterion, ...]  # of coherence and fluency
    model: LanguageModel
    max_bytes: int
    system: str | None = DIALOGUE_SYSTEM

    compares: ClassVar[bool] = False
    mode: ClassVar[str] = MODE

    def score(self, items: Sequence[JudgedItem], *, on_progress: OnProgress | None = None) -> list[Score]:
        """See `Judge.score`. Equal replies are scored once without history, whatever conversation they stand in."""
        fitted = [fit(item, criteria=self.criteria, max_bytes=self.max_bytes) for item in items]
        passes = self._run(fitted, on_progress=on_progress)
        return [self._score(item, criterion, passes) for item in fitted for criterion in item.criteria]

    def _run(self, items: Sequence[FittedItem], *, on_progress: OnProgress | None) -> _Passes:
        """Both passes over every different reply, in one call so that the model can batch them."""
        usable = [item for item in items if item.status == "ok"]
        asked = ((history, item.reply) for item in usable for c in item.criteria for history in _histories(item, c))
        pairs = dict.fromkeys(asked)  # each once, in order
        requests = [
            ContinuationRequest(key=str(i), messages=chat_messages(messages, system=self.system), reply=reply)
            for i, (messages, reply) in enumerate(pairs)
        ]
        outcomes = call_isolating(
            lambda some: self.model.continuation_logprobs(some, on_progress=on_progress), requests
        )
        return dict(zip(pairs, outcomes, strict=True))

    def _score(self, item: FittedItem, criterion: Criterion, passes: _Passes) -> Score:
        if item.status != "ok":
            return score_of(self, item, criterion, None, item.status, item.reason)
        outcomes = [passes[history, item.reply] for history in _histories(item, criterion)]
        answers = [outcome.answer for outcome in outcomes if outcome.answer is not None]
        if len(answers) < len(outcomes):
            error = next(outcome.error for outcome in outcomes if outcome.answer is None)
            return score_of(self, item, criterion, None, "failed", error)
        n_tokens = answers[0].n_tokens
        total = answers[0].total - math.fsum(answer.total for answer in answers[1:])
        if n_tokens == 0:
            return score_of(self, item, criterion, None, "empty", "the reply has no tokens")
        if not math.isfinite(total):
            return score_of(self, item, criterion, None, "failed", f"the model gave a log-probability of {total}")
        return score_of(self, item, criterion, total / n_tokens, "ok", item.reason, total=total, n_tokens=n_tokens)


def _histories(item: FittedItem, criterion: Criterion) -> tuple[tuple[Message, ...], ...]:
    """After which histories a criterion needs the reply's likelihood; the first counts, the second is taken off."""
    return (item.messages, NO_HISTORY) if criterion.name == "coherence" else (NO_HISTORY,)


def _build(spec: JudgeSpec, name: str, source: LanguageModel) -> LikelihoodJudge:
    return LikelihoodJudge(
        id=name,
        family=spec.family,
        criteria=spec.criteria,
        model=source,
        max_bytes=spec.max_bytes,
        system=_system(spec),
    )


def _system(spec: JudgeSpec) -> str | None:
    return DIALOGUE_SYSTEM if spec.kind.is_dialogue else None


def _decides(spec: JudgeSpec) -> dict[str, object]:
    names = [c.name for c in spec.criteria]  # their definitions are not shown to the model
    return {"code": REVISION, "system": _system(spec), "criteria": names}


def _calls_per_score(spec: JudgeSpec) -> float:
    """A reply is read after its history and without it, once for all criteria."""
    n_passes = 2 if any(c.name == "coherence" for c in spec.criteria) else 1
    return n_passes / len(spec.criteria)


METHOD = Method(
    name="likelihood",
    build=_build,
    decides=_decides,
    capability="continuation_logprobs",
    local_modes=(MODE,),
    criteria=CRITERIA,
    calls_per_score=_calls_per_score,
    unit="nats per token",
)
