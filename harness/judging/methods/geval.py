"""G-Eval: form-filling, with the score read as a distribution over the scale.

After Liu et al. 2023 (arXiv 2303.16634): frozen evaluation steps, a form to fill in, and the score of eq. 1,

    score = Σ_s p(s) · s        over the scores s of the scale.

Deviations. The paper samples 20 replies to estimate p(s), and its code counts an unreadable reply as 0. Here p(s) comes
from a reader (`harness.judging.choice_reading`) in a recorded mode: exact, the softmax over the score tokens of a local
model; logprobs, an endpoint's most likely tokens; sampled, the paper's draws; explain and rate-explain, any of these
beside a reason (`harness.judging.reasoned`). The probability that the whole scale captures (mass) is kept, and
where it is less than `min_mass` the model was not answering the question: the score is missing (`low_mass`), never 0
and never the middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.judging import asking
from harness.judging.fitting import FittedItem
from harness.judging.method import Method
from harness.judging.reasoned import ANSWER_FORMS
from harness.models.endpoint.queue import RequestQueue
from harness.models.protocol import LanguageModel, OptionRequest
from harness.types import Criterion, Place

if TYPE_CHECKING:
    from harness.judging.spec import JudgeSpec

REVISION = 1  # raise when a change of this file changes scores; part of the judge's id
SYSTEM = "You rate film dialogue."
SYSTEM_OF_ANSWERS = "You rate replies."
PREFIX = "Score: "  # the assistant's turn is begun with this, so that a score must come next
PARTS = frozenset({"reply", "low", "high"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GEvalJudge(asking.AskingJudge):
    """Fills in one form per reply and criterion."""

    system: str = SYSTEM
    instruction: str = ""  # how to answer with a reason, of a judge that thinks first

    def render(self, item: FittedItem, criterion: Criterion, place: Place | None = None) -> OptionRequest:
        """See `AskingJudge.render`."""
        low, high = criterion.scale
        reply = asking.marked(item.reply, is_truncated=item.is_truncated)
        text = asking.fill(
            self.template, criterion, item, speakers=("A", "B"), reply=reply, low=str(low), high=str(high)
        )
        text = f"{text}\n\n{self.instruction}" if self.instruction else text
        messages = [{"role": "system", "content": self.system}, {"role": "user", "content": text}]
        options = score_tokens(criterion)
        return OptionRequest(key=f"{item.id}/{criterion.name}", messages=messages, prefix=PREFIX, options=options)

    def value(
        self, probabilities: tuple[float, ...], criterion: Criterion, place: Place | None
    ) -> tuple[float, tuple[float, ...]]:
        """Σ p(s)·s."""
        low, high = criterion.scale
        return math.fsum(p * s for p, s in zip(probabilities, range(low, high + 1), strict=True)), probabilities


def score_tokens(criterion: Criterion) -> tuple[str, ...]:
    """The scores of the scale as the model must write them."""
    low, high = criterion.scale
    return tuple(str(score) for score in range(low, high + 1))


def _build(spec: JudgeSpec, name: str, source: LanguageModel | RequestQueue) -> GEvalJudge:
    low, high = spec.criteria[0].scale  # of all of them
    options = score_tokens(spec.criteria[0])
    asking.check_answers(source, prefix=PREFIX, options=options, what=f"`scale` [{low}, {high}]")
    template = asking.read_template(spec.prompt or "", method=METHOD.name, parts=PARTS)
    return GEvalJudge(
        **asking.settings(spec, name, source),
        template=template,
        system=_system(spec),
        instruction=asking.said_instruction(spec),
    )


def _system(spec: JudgeSpec) -> str:
    return SYSTEM if spec.kind.is_dialogue else SYSTEM_OF_ANSWERS


def _check(spec: JudgeSpec) -> None:
    if spec.scale is None:
        raise ValueError("`scale` must be given for a geval judge, e.g. [1, 5]")
    low, high = spec.scale
    if not 0 <= low < high <= 9:
        raise ValueError(f"`scale` must rise within 0 to 9, one digit a score, got [{low}, {high}]")
    if other := next((c for c in spec.criteria if c.scale != spec.scale), None):
        raise ValueError(f"`scale` must be that of its criteria, got {other.name} on {list(other.scale)}")


METHOD = Method(
    name="geval",
    build=_build,
    decides=lambda spec: {"code": REVISION, "system": _system(spec), "prefix": PREFIX, **asking.decides(spec)},
    capability="option_probabilities",
    local_modes=(*asking.LOCAL_MODES, "explain"),
    endpoint_modes=(*asking.ENDPOINT_MODES, *ANSWER_FORMS),
    check=_check,
    calls_per_score=asking.calls_per_score,
    asks=True,
)
