"""From a judge's folder and a model to a judge with its id."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError, JudgeError
from harness.judging import geval, likelihood, pairwise, remote_reading
from harness.judging.own import build_own
from harness.judging.pairwise import Comparer
from harness.judging.protocol import Judge
from harness.judging.reading import ExactReader, OptionReader
from harness.judging.remote_reading import Form, LogprobsReader, SampledReader
from harness.judging.spec import ASKING_METHODS, DeepevalChoice, EndpointChoice, FunctionChoice, JudgeSpec
from harness.models.bases import asked_digest
from harness.models.chat import DIALOGUE_SYSTEM
from harness.models.endpoint import base_url
from harness.models.endpoint.capabilities import MOST_LOGPROBS, Abilities
from harness.models.endpoint.queue import RequestQueue
from harness.models.protocol import LanguageModel, require
from harness.store.artifacts import digest_json
from harness.types import BaseModel

if TYPE_CHECKING:
    from harness.judging.deepeval.judge import EndpointWriter

ID_DIGITS = 8
RemoteReader = LogprobsReader | SampledReader


def resolve_mode(spec: JudgeSpec, *, server: Callable[[], Abilities] | None = None) -> JudgeSpec:
    """The same judge with all decided that its server decides; what is decided becomes part of its id.

    Mode `auto` is exact on a local model; of an endpoint, logprobs where it gives them. `server` is called for a judge
    behind an endpoint, and asked only what counts for it.
    """
    if not spec.is_remote or server is None:
        return spec if spec.mode != "auto" else spec.model_copy(update={"mode": "exact"})
    abilities = server()
    if spec.mode == "auto":
        lesser = "deepeval" if spec.method == "deepeval" else "sampled"
        spec = spec.model_copy(update={"mode": "logprobs" if abilities.n_logprobs() else lesser})
    return fit_to_server(spec, abilities)


def fit_to_server(spec: JudgeSpec, abilities: Abilities) -> JudgeSpec:
    """A judge of a mode that is not `auto`, asked as its server can be asked."""
    changes: dict[str, Any] = {}
    if spec.mode == "logprobs" and (n := abilities.n_logprobs()):
        changes["top_logprobs"] = min(n, spec.top_logprobs)
    if spec.method in ASKING_METHODS:
        sent = ("seed", "temperature") if spec.mode == "sampled" else ("temperature",)
        refused = abilities.without(greedy=spec.mode == "logprobs")
        changes["without"] = tuple(sorted({*spec.without, *(set(sent) & refused.keys())}))
        if spec.prefill == "auto":
            changes["prefill"] = abilities.prefill() or "none"
    return spec.model_copy(update=changes)


def build_judge(spec: JudgeSpec, *, model: LanguageModel | None = None, queue: RequestQueue | None = None) -> Judge:
    """The judge that `spec` describes: on a loaded model (the bare base: adapters do not judge), or a queue.

    Args:
        spec: what the judge's folder says.
        model: of a local judge.
        queue: of a judge behind an endpoint, whose mode is resolved.

    Raises:
        ConfigError: the model is of another family than the spec says, or the judge compares instead of scoring.
        UnavailableError: the model lacks a capability.
        JudgeError: model or queue is missing, the weights are unknown, or a score is not a single token.
    """
    if spec.method == "pairwise":
        raise ConfigError(f"`{spec.name}` compares two replies and scores none; give it two files, or a control")
    if isinstance(spec.model, FunctionChoice):
        return build_own(spec, spec.model, id=judge_id(spec))
    if isinstance(spec.model, EndpointChoice):
        if spec.deepeval is not None:
            return _deepeval(spec, spec.deepeval, judge_id(spec), _writer_at(spec, queue))
        return _geval(spec, judge_id(spec), _reader_at(spec, queue))
    spec, known = resolve_mode(spec), _known(spec, model)
    return _local(spec, known, judge_id(spec, base=known.base))


def build_comparer(
    spec: JudgeSpec, *, model: LanguageModel | None = None, queue: RequestQueue | None = None
) -> Comparer:
    """The pairwise judge that `spec` describes; arguments and errors as of `build_judge`."""
    if spec.method != "pairwise":
        raise ConfigError(f"`method` of {spec.name} must be pairwise to compare replies, got {spec.method}")
    if isinstance(spec.model, EndpointChoice):
        return _pairwise(spec, judge_id(spec), _reader_at(spec, queue))
    spec, known = resolve_mode(spec), _known(spec, model)
    require(known, "option_probabilities", who=spec.name)
    pairwise.check_verdict_tokens(known)
    return _pairwise(spec, judge_id(spec, base=known.base), ExactReader(model=known))


def _known(spec: JudgeSpec, model: LanguageModel | None) -> LanguageModel:
    """The model, once it is sure to be the one that the spec means."""
    if model is None:
        raise JudgeError(f"`{spec.name}` judges with a model, got none; load `{spec.source}` and hand it over")
    base = model.base
    if base is None:
        raise JudgeError(
            f"`{spec.name}` needs a model whose weights are known, since they are part of its id, got none"
        )
    if base.family != spec.family:
        raise ConfigError(f"`family` of {spec.name} must be that of its model, {base.family}, got {spec.family}")
    return model


def _local(spec: JudgeSpec, model: LanguageModel, name: str) -> Judge:
    if spec.method == "likelihood":
        require(model, "continuation_logprobs", who=spec.name)
        return likelihood.LikelihoodJudge(
            id=name, family=spec.family, criteria=spec.criteria, model=model, max_bytes=spec.max_bytes
        )
    if spec.deepeval is not None:
        return _deepeval(spec, spec.deepeval, name, model)
    require(model, "option_probabilities", who=spec.name)
    geval.check_score_tokens(model, spec.criteria)
    return _geval(spec, name, ExactReader(model=model))


def _deepeval(spec: JudgeSpec, choice: DeepevalChoice, name: str, model: LanguageModel | EndpointWriter) -> Judge:
    from harness.judging.deepeval.judge import make_judge

    return make_judge(
        id=name,
        family=spec.family,
        criteria=spec.criteria,
        metric=choice.metric,
        settings=choice.settings,
        model=model,
        max_bytes=spec.max_bytes,
    )


def _pairwise(spec: JudgeSpec, name: str, reader: OptionReader) -> pairwise.PairwiseJudge:
    return pairwise.PairwiseJudge(
        id=name,
        family=spec.family,
        criteria=spec.criteria,
        reader=reader,
        template=pairwise.read_template(spec.prompt or ""),
        min_mass=spec.min_mass or 0.0,
        max_bytes=spec.max_bytes,
    )


def _reader_at(spec: JudgeSpec, queue: RequestQueue | None) -> RemoteReader:
    return remote_reader(spec, spec.source, _given(spec, queue))


def _writer_at(spec: JudgeSpec, queue: RequestQueue | None) -> EndpointWriter:
    from harness.judging.deepeval.judge import EndpointWriter

    return EndpointWriter(
        queue=_given(spec, queue),
        name=spec.source,
        gives_probabilities=spec.mode == "logprobs",
        top_logprobs=spec.top_logprobs,
    )


def _given(spec: JudgeSpec, queue: RequestQueue | None) -> RequestQueue:
    if queue is None:
        raise JudgeError(
            f"`{spec.name}` judges through an endpoint, got no request queue; make one for `{spec.source}`"
        )
    return queue


def remote_reader(spec: JudgeSpec, model: str, queue: RequestQueue) -> RemoteReader:
    """How a judge behind an endpoint reads its answers; JudgeError while its mode is `auto`."""
    form = Form(prefill=spec.forced_by, without=spec.without)
    if spec.mode == "logprobs":
        return LogprobsReader(queue=queue, model=model, top_logprobs=spec.top_logprobs, form=form)
    if spec.mode == "sampled":
        n = spec.n_draws
        return SampledReader(queue=queue, model=model, n_draws=n, temperature=spec.temperature, form=form)
    raise JudgeError(f"`mode` of {spec.name} must be resolved before it judges, got {spec.mode}")


def _geval(spec: JudgeSpec, name: str, reader: OptionReader) -> geval.GEvalJudge:
    return geval.GEvalJudge(
        id=name,
        family=spec.family,
        criteria=spec.criteria,
        reader=reader,
        template=geval.read_template(spec.prompt or ""),
        min_mass=spec.min_mass or 0.0,
        max_bytes=spec.max_bytes,
    )


def judge_id(spec: JudgeSpec, *, base: BaseModel | None = None) -> str:
    """`name@8 hex digits` of the sha256 over everything that decides a score, and nothing else.

    Args:
        spec: with its mode resolved.
        base: the weights of a local model; None for an endpoint, of which address and model name are all one knows.

    Raises:
        JudgeError: the mode is still `auto`, or a local judge comes without its base.
    """
    if spec.mode == "auto":
        raise JudgeError(f"`mode` of {spec.name} must be resolved before the id is hashed, got auto")
    decides: dict[str, Any] = {
        "method": spec.method,
        "mode": spec.mode,
        **_weights(spec, base),
        "max_bytes": spec.max_bytes,
        "criteria": [dataclasses.asdict(c) for c in spec.criteria],
    }
    if spec.method == "likelihood":
        decides |= {
            "code": likelihood.REVISION,
            "system": DIALOGUE_SYSTEM,
            "criteria": [c.name for c in spec.criteria],  # their definitions are not shown to the model
        }
    if spec.method == "geval":
        decides |= {"code": geval.REVISION, "system": geval.SYSTEM, "prefix": geval.PREFIX}
    if spec.method == "pairwise":
        decides |= {"code": pairwise.REVISION, "system": pairwise.SYSTEM, "prefix": pairwise.PREFIX}
    if spec.method in ASKING_METHODS:
        decides |= {"prompt": spec.prompt, "min_mass": spec.min_mass, **_asking(spec)}
    if spec.deepeval is not None:
        from harness.judging.deepeval import judge as deepeval_judge

        decides |= {
            "code": deepeval_judge.REVISION,
            "deepeval": spec.deepeval.model_dump(mode="json"),
            "version": deepeval_judge.version(),  # its prompts change with it
        }
        if spec.mode == "logprobs" and spec.top_logprobs < MOST_LOGPROBS:
            decides["top_logprobs"] = spec.top_logprobs
    return f"{spec.name}@{digest_json(decides)[:ID_DIGITS]}"


def _weights(spec: JudgeSpec, base: BaseModel | None) -> dict[str, Any]:
    if isinstance(spec.model, EndpointChoice):
        return {"endpoint": base_url(spec.model.endpoint), "model": spec.model.name}
    if isinstance(spec.model, FunctionChoice):
        return {"function": spec.model.code}
    if base is None:
        raise JudgeError(f"`{spec.name}` judges with local weights, which are part of its id, got none")
    return {"weights": asked_digest(base), "revision": base.revision, "dtype": spec.model.dtype}


def _asking(spec: JudgeSpec) -> dict[str, Any]:
    """What a mode adds to what decides a score."""
    if spec.mode == "exact":
        return {}
    decides: dict[str, Any] = {"reading": remote_reading.REVISION, "max_tokens": remote_reading.MAX_TOKENS}
    decides |= {"prefill": spec.forced_by} if spec.forced_by else {}
    decides |= {"without": sorted(spec.without)} if spec.without else {}
    if spec.mode == "sampled":
        return decides | {"n_draws": spec.n_draws, "temperature": spec.temperature}
    return decides | {"top_logprobs": spec.top_logprobs}
