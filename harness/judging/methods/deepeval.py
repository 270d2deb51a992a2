"""Any metric of deepeval as a judge; the judge is `harness.judging.deepeval`'s, which is imported when one is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.judging.method import Method
from harness.models.endpoint.capabilities import MOST_LOGPROBS

if TYPE_CHECKING:
    from harness.judging.deepeval.metric_judge import DeepevalJudge
    from harness.judging.spec import JudgeSpec
    from harness.models.endpoint.queue import RequestQueue
    from harness.models.protocol import LanguageModel


def _build(spec: JudgeSpec, name: str, source: LanguageModel | RequestQueue) -> DeepevalJudge:
    from harness.judging.deepeval.metric_judge import make_judge

    return make_judge(spec, name, source)


def _decides(spec: JudgeSpec) -> dict[str, Any]:
    from harness.judging.deepeval import metric_judge as judge

    found: dict[str, Any] = {"code": judge.REVISION, "version": judge.version()}  # its prompts change with it
    found |= {"deepeval": spec.deepeval.model_dump(mode="json")} if spec.deepeval else {}
    is_less = spec.mode == "logprobs" and spec.top_logprobs < MOST_LOGPROBS
    return found | ({"top_logprobs": spec.top_logprobs} if is_less else {})


METHOD = Method(
    name="deepeval",
    build=_build,
    decides=_decides,
    capability=None,  # what it needs is the metric's to say
    local_modes=("deepeval",),
    endpoint_modes=("logprobs", "deepeval", "auto"),  # weighted by log-probabilities, or as the model wrote it
    unit="from 0 to 1",
    is_share=True,
)
