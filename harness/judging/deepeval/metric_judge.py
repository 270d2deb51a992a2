"""Any metric of deepeval as a judge: the same items, the same missing states, deepeval's score from 0 to 1.

A metric that weights its score (GEval and its kin) silently falls back to the unweighted number where it finds no
probabilities. Those are two measures, so here the mode is fixed when the judge is made, `weighted` where the model
gives exact probabilities and `raw` where it gives none, and a weighted judge's score that fell back is missing.

What is graded loses its braces besides what every judge takes away: a reply must not look like the JSON object that
deepeval asks its model for, nor like the marks it keeps pictures under.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import ConfigError, InputError, JudgeError
from harness.judging.deepeval.quiet import import_deepeval
from harness.judging.fitting import FittedItem, fit, score_of
from harness.models.endpoint.queue import RequestQueue
from harness.models.metering import Meter
from harness.types import Criterion, JudgedItem, Score

if TYPE_CHECKING:
    from harness.judging.deepeval.model import Bridge
    from harness.judging.deepeval.remote import BridgedEndpoint
    from harness.judging.spec import JudgeSpec
    from harness.models.endpoint.calls import ChatCall
    from harness.models.protocol import LanguageModel, OnProgress

REVISION = 1  # raise when a change of this package changes scores; part of the judge's id
STEPPED = ("GEval", "ConversationalGEval")  # metrics that take a criterion and its steps
_PLAIN = str.maketrans({"{": "(", "}": ")", "[": "(", "]": ")"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepevalJudge:
    """Scores with one metric of deepeval per criterion."""

    id: str
    family: str
    criteria: tuple[Criterion, ...]
    metrics: Mapping[str, Any]  # by criterion: a BaseMetric or BaseConversationalMetric on `model`
    model: Bridge
    mode: str  # weighted | raw
    max_bytes: int

    compares: ClassVar[bool] = False

    def score(self, items: Sequence[JudgedItem], *, on_progress: OnProgress | None = None) -> list[Score]:
        """See `Judge.score`."""
        from harness.judging.deepeval.remote import BridgedEndpoint

        fitted = self._fitted(items)
        if isinstance(self.model, BridgedEndpoint):
            self.model.fetch(self._first_calls(fitted, self.model), on_progress)
        meter = Meter(sum(len(item.criteria) for item in fitted), "scores", on_progress)
        scores = []
        for item in fitted:
            for criterion in item.criteria:
                scores.append(self._score(item, criterion))
                meter.advance(1, 1)
        return scores

    def calls(self, items: Sequence[JudgedItem]) -> list[ChatCall]:
        """What an endpoint is asked first for each score; a metric in `STEPPED` asks nothing else."""
        from harness.judging.deepeval.remote import BridgedEndpoint

        return self._first_calls(self._fitted(items), self.model) if isinstance(self.model, BridgedEndpoint) else []

    def _fitted(self, items: Sequence[JudgedItem]) -> list[FittedItem]:
        return [_plain(fit(item, criteria=self.criteria, max_bytes=self.max_bytes)) for item in items]

    def _first_calls(self, fitted: Sequence[FittedItem], model: BridgedEndpoint) -> list[ChatCall]:
        with model.noting() as calls:
            for item in fitted:
                for criterion in item.criteria if item.status == "ok" else ():
                    metric = self.metrics[criterion.name]
                    with contextlib.suppress(InputError):
                        metric.measure(_case(metric, item), _show_indicator=False)
        return calls

    def _score(self, item: FittedItem, criterion: Criterion) -> Score:
        if item.status != "ok":
            return score_of(self, item, criterion, None, item.status, item.reason)
        metric = self.metrics[criterion.name]
        self.model.forget()
        try:
            metric.measure(_case(metric, item), _show_indicator=False)
        except InputError as err:
            is_refused = self.model.last is not None and self.model.last.is_refused
            return score_of(self, item, criterion, None, "refused" if is_refused else "failed", str(err))
        except (ValueError, KeyError, TypeError) as err:  # what deepeval raises on an answer that it cannot read
            is_cut = self.model.last is not None and self.model.last.is_cut
            reason = f"the model's answer {'was cut off' if is_cut else 'is not what the metric reads'}: {err}"
            return score_of(self, item, criterion, None, "truncated" if is_cut else "unparsable", reason)
        return self._read(metric.score, metric.reason, item, criterion)

    def _read(self, value: Any, reason: Any, item: FittedItem, criterion: Criterion) -> Score:
        if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
            return score_of(
                self, item, criterion, None, "unparsable", f"the metric's score is {value!r}, not from 0 to 1"
            )
        last = self.model.last
        if self.mode == "weighted" and (last is None or not last.has_weights):
            said = f"the metric fell back to its unweighted score {value:g}, which is another measure"
            return score_of(self, item, criterion, None, "unparsable", said)
        digits = last.digits if last is not None else None
        evidence = (
            {"probabilities": digits.probabilities, "mass": digits.mass, "entropy": digits.entropy} if digits else {}
        )
        said = "; ".join(part for part in (item.reason, str(reason or "")) if part)
        return score_of(self, item, criterion, float(value), "ok", said, **evidence)


def make_judge(spec: JudgeSpec, name: str, source: LanguageModel | RequestQueue) -> DeepevalJudge:
    """The judge of this id on one kind of metric, with a model in this process or behind an endpoint.

    Raises:
        ConfigError: deepeval has no such metric, or it does not take these settings.
        UnavailableError: deepeval is not installed.
    """
    if spec.deepeval is None:
        raise JudgeError(f"`deepeval` must be given for {spec.name}, got none")
    metric, options = spec.deepeval.metric, dict(spec.deepeval.settings)
    kind = metric_class(metric)
    bridged = _bridge(spec, source, max_new_tokens=_max_new_tokens(options))
    if metric not in STEPPED and len(spec.criteria) != 1:
        raise ConfigError(f"`criteria` of {metric} must be one, which names what it scores, got {len(spec.criteria)}")
    return DeepevalJudge(
        id=name,
        family=spec.family,
        criteria=spec.criteria,
        metrics={c.name: _make(kind, c, options, bridged) for c in spec.criteria},
        model=bridged,
        mode="weighted" if metric in STEPPED and bridged.gives_probabilities else "raw",
        max_bytes=spec.max_bytes,
    )


def _bridge(spec: JudgeSpec, source: LanguageModel | RequestQueue, *, max_new_tokens: int) -> Bridge:
    from harness.judging.deepeval.model import BridgedModel
    from harness.judging.deepeval.remote import BridgedEndpoint

    if not isinstance(source, RequestQueue):
        return BridgedModel(source, name=spec.family, max_new_tokens=max_new_tokens)
    return BridgedEndpoint(
        source,
        model=spec.source,
        max_new_tokens=max_new_tokens,
        gives_probabilities=spec.mode == "logprobs",
        most_logprobs=spec.top_logprobs,
    )


def metric_class(name: str) -> Any:
    """A metric's class by its name in `deepeval.metrics`; ConfigError where it is none."""
    metrics: Any = import_deepeval("deepeval.metrics")
    found = getattr(metrics, name, None)
    kinds = (metrics.BaseMetric, metrics.BaseConversationalMetric)
    if not inspect.isclass(found) or not issubclass(found, kinds) or found in kinds:
        raise ConfigError(f"`metric` must be a class of deepeval.metrics such as GEval, got {name!r}")
    return found


def version() -> str:
    """deepeval's version, which decides its prompts; part of the judge's id."""
    return str(import_deepeval().__version__)


def _case(metric: Any, item: FittedItem) -> Any:
    """An item as the metric takes it: one turn with its input, or the whole conversation with the reply last."""
    metrics: Any = import_deepeval("deepeval.metrics")
    cases: Any = import_deepeval("deepeval.test_case")
    if isinstance(metric, metrics.BaseConversationalMetric):
        turns = [cases.Turn(role=m.role, content=m.content) for m in item.messages]
        return cases.ConversationalTestCase(turns=[*turns, cases.Turn(role="assistant", content=item.reply)])
    said = "\n".join(f"{'A' if m.role == 'user' else 'B'}: {m.content}" for m in item.messages)
    return cases.LLMTestCase(input=said, actual_output=item.reply)


def _make(kind: Any, criterion: Criterion, settings: Mapping[str, Any], model: Bridge) -> Any:
    given = dict(settings)
    if kind.__name__ in STEPPED:
        given = {**_stepped(kind, criterion), **given, "rubric": _rubric(given.get("rubric"))}
    try:
        return kind(model=model, async_mode=False, **given)
    except (TypeError, ValueError, InputError) as err:
        raise ConfigError(f"`deepeval.settings` must be what {kind.__name__} takes: {err}") from err


def _stepped(kind: Any, criterion: Criterion) -> dict[str, Any]:
    cases: Any = import_deepeval("deepeval.test_case")
    wanted = (
        [cases.SingleTurnParams.INPUT, cases.SingleTurnParams.ACTUAL_OUTPUT]
        if kind.__name__ == "GEval"
        else [cases.MultiTurnParams.ROLE, cases.MultiTurnParams.CONTENT]
    )
    if not criterion.steps:
        raise JudgeError(f"`{criterion.name}` must have evaluation steps; write them with `screentest judge steps`")
    return {"name": criterion.name, "evaluation_steps": list(criterion.steps), "evaluation_params": wanted}


def _rubric(given: Any) -> Any:
    """A rubric from its YAML: a list of `score_range` and `expected_outcome`."""
    if not given:
        return None
    utils: Any = import_deepeval("deepeval.metrics.g_eval")
    return [utils.Rubric(score_range=tuple(r["score_range"]), expected_outcome=r["expected_outcome"]) for r in given]


def _max_new_tokens(options: dict[str, Any]) -> int:
    """The bridge's own setting, taken out of the metric's."""
    n = options.pop("max_new_tokens", 256)
    if not isinstance(n, int) or n < 8:
        raise ConfigError(f"`deepeval.settings.max_new_tokens` must be a whole number of at least 8, got {n!r}")
    return n


def _plain(item: FittedItem) -> FittedItem:
    messages = tuple(replace(m, content=m.content.translate(_PLAIN)) for m in item.messages)
    return replace(item, messages=messages, reply=item.reply.translate(_PLAIN))
