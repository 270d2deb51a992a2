"""The pairwise judge: which of two replies is better, asked in both orders, tie allowed.

The question names the replies A and B and offers three answers, A, B and C for a tie, each one token at a forced
position; the verdict is the most likely of the three, read by the same readers as a score
(`harness.judging.choice_reading`).
Every pair is asked twice with its replies exchanged, since judges favour a position (Zheng et al. 2023, arXiv
2306.05685, section 3.3; Wang et al. 2023, arXiv 2305.17926, which call it balanced position calibration). Deviation:
the first counts a pair whose two verdicts differ as a tie; here both verdicts stay, each with its order, and
`harness.judging.preferences` takes their mean and prints how often they agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.judging import asking
from harness.judging.fitting import FittedItem
from harness.judging.method import Method
from harness.models.endpoint.queue import RequestQueue
from harness.models.protocol import LanguageModel, OptionRequest
from harness.types import Criterion, Place

if TYPE_CHECKING:
    from harness.judging.spec import JudgeSpec

REVISION = 1  # raise when a change of this file changes verdicts; part of the judge's id
SYSTEM = "You compare two lines of film dialogue."
SYSTEM_OF_ANSWERS = "You compare two replies."
# The assistant's turn is begun with this, so that a verdict must come next. A letter that follows a space is another
# token in every vocabulary; one that begins a line is the letter itself.
PREFIX = "Verdict:\n"
VERDICTS = ("A", "B", "C")  # the better reply, or C: neither
PARTS = frozenset({"reply_a", "reply_b"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PairwiseJudge(asking.AskingJudge):
    """Compares a reply with its opponent by each criterion, in both orders."""

    system: str = SYSTEM
    compares: ClassVar[bool] = True
    places: ClassVar[tuple[Place | None, ...]] = ("first", "second")
    answers: ClassVar[str] = "verdicts"

    def render(self, item: FittedItem, criterion: Criterion, place: Place | None) -> OptionRequest:
        """The reply at `place` is A."""
        a, b = (
            asking.marked(item.reply, is_truncated=item.is_truncated),
            asking.marked(item.opponent or "", is_truncated=item.is_opponent_truncated),
        )
        if place == "second":
            a, b = b, a
        # A and B are the replies here, so the speakers are P and Q.
        text = asking.fill(self.template, criterion, item, speakers=("P", "Q"), reply_a=a, reply_b=b)
        messages = [{"role": "system", "content": self.system}, {"role": "user", "content": text}]
        key = f"{item.id}/{criterion.name}/{place}"
        return OptionRequest(key=key, messages=messages, prefix=PREFIX, options=VERDICTS)

    def value(
        self, probabilities: tuple[float, ...], criterion: Criterion, place: Place | None
    ) -> tuple[float, tuple[float, ...]]:
        """The most likely verdict, turned round to reply, opponent and tie; two that are equally likely are a tie."""
        a, b, tie = probabilities
        first, second = (b, a) if place == "second" else (a, b)
        is_tie = first == second or tie >= max(first, second)
        return (0.5 if is_tie else float(first > second)), (first, second, tie)


def _build(spec: JudgeSpec, name: str, source: LanguageModel | RequestQueue) -> PairwiseJudge:
    asking.check_answers(source, prefix=PREFIX, options=VERDICTS, what="the verdicts A, B and C")
    template = asking.read_template(spec.prompt or "", method=METHOD.name, parts=PARTS)
    return PairwiseJudge(**asking.settings(spec, name, source), template=template, system=_system(spec))


def _system(spec: JudgeSpec) -> str:
    return SYSTEM if spec.kind.is_dialogue else SYSTEM_OF_ANSWERS


METHOD = Method(
    name="pairwise",
    build=_build,
    decides=lambda spec: {"code": REVISION, "system": _system(spec), "prefix": PREFIX, **asking.decides(spec)},
    capability="option_probabilities",
    local_modes=asking.LOCAL_MODES,
    endpoint_modes=asking.ENDPOINT_MODES,
    calls_per_score=asking.calls_per_score,
    asks=True,
    compares=True,
    unit="share of wins",
    is_share=True,
)
