"""From a judge's folder and a model to a judge with its id."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from harness.errors import ConfigError, JudgeError
from harness.judging.judge_protocol import Judge
from harness.judging.spec import EndpointChoice, FunctionChoice, JudgeSpec, TaughtHead
from harness.models.bases import asked_digest
from harness.models.encoder import Encoder
from harness.models.endpoint import base_url
from harness.models.endpoint.capabilities import Abilities
from harness.models.endpoint.queue import RequestQueue
from harness.models.protocol import LanguageModel, require
from harness.store.artifacts import digest_json
from harness.types import BaseModel

ID_DIGITS = 8


def resolve_mode(spec: JudgeSpec, *, server: Callable[[], Abilities] | None = None) -> JudgeSpec:
    """The same judge with all decided that its server decides; what is decided becomes part of its id.

    Mode `auto` is exact on a local model; of an endpoint, logprobs where it gives them. `server` is called for a judge
    behind an endpoint, and asked only what counts for it.
    """
    if not spec.is_remote or server is None:
        return spec if spec.mode != "auto" else spec.model_copy(update={"mode": "exact"})
    abilities = server()
    if spec.mode == "auto":
        best, lesser = spec.auto_modes
        spec = spec.model_copy(update={"mode": best if abilities.n_logprobs() else lesser})
    return fit_to_server(spec, abilities)


def fit_to_server(spec: JudgeSpec, abilities: Abilities) -> JudgeSpec:
    """A judge of a mode that is not `auto`, asked as its server can be asked."""
    changes: dict[str, Any] = {}
    if spec.thinks is not None:
        reads = ("logprobs" if abilities.n_logprobs() else "sampled") if spec.reads == "auto" else spec.reads
        spec = spec.model_copy(update={"reads": reads})
    if spec.reading == "logprobs" and (n := abilities.n_logprobs()):
        changes["top_logprobs"] = min(n, spec.top_logprobs)
    if spec.declared.asks:
        sent = ("seed", "temperature") if spec.reading == "sampled" else ("temperature",)
        refused = abilities.without(greedy=spec.reading == "logprobs")
        changes["without"] = tuple(sorted({*spec.without, *(set(sent) & refused.keys())}))
        if spec.prefill == "auto":
            changes["prefill"] = abilities.prefill() or "none"
    if spec.thinks is not None and spec.typed == "auto":
        # A position that is forced needs no field.
        is_forced = changes.get("prefill", spec.prefill) != "none" and spec.reading == "logprobs"
        changes["typed"] = "json_schema" if not is_forced and abilities.json_schema() else "none"
    return spec.model_copy(update=changes)


def build_judge(
    spec: JudgeSpec, *, model: LanguageModel | Encoder | None = None, queue: RequestQueue | None = None
) -> Judge:
    """The judge that `spec` describes: on a loaded model (the bare base: adapters do not judge), or a queue.

    Args:
        model: of a local judge; of a learned one, its encoder.
        queue: of a judge behind an endpoint, whose mode is resolved.

    Raises:
        ConfigError: the model is of another family than the spec says.
        UnavailableError: the model lacks a capability.
        JudgeError: model or queue is missing, the weights are unknown, or an answer is not a single token.
    """
    method = spec.declared
    if isinstance(spec.model, FunctionChoice):
        return method.build(spec, judge_id(spec), None)
    if spec.is_remote:
        if queue is None:
            raise JudgeError(
                f"`{spec.name}` judges through an endpoint, got no request queue; make one for `{spec.source}`"
            )
        return method.build(spec, judge_id(spec), queue)
    if model is None:
        raise JudgeError(f"`{spec.name}` judges with a model, got none; load `{spec.source}` and hand it over")
    if model.base is None:
        raise JudgeError(
            f"`{spec.name}` needs a model whose weights are known, since they are part of its id, got none"
        )
    if model.base.family != spec.family:
        raise ConfigError(f"`family` of {spec.name} must be that of its model, {model.base.family}, got {spec.family}")
    if method.is_taught != isinstance(model, Encoder):
        needed = "sentence encoder" if method.is_taught else "language model"
        raise JudgeError(f"`{spec.name}` judges with a {needed}, got another kind of model")
    if method.capability is not None and not isinstance(model, Encoder):
        require(model, method.capability, who=spec.name)
    spec = resolve_mode(spec)
    return method.build(spec, judge_id(spec, base=model.base), model)


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
        **spec.declared.decides(spec),
    }
    return f"{spec.name}@{digest_json(decides)[:ID_DIGITS]}"


def _weights(spec: JudgeSpec, base: BaseModel | None) -> dict[str, Any]:
    if isinstance(spec.model, EndpointChoice):
        return {"endpoint": base_url(spec.model.endpoint), "model": spec.model.name}
    if isinstance(spec.model, FunctionChoice):
        return {"function": spec.model.code} | ({} if spec.kind.is_dialogue else {"task": spec.task})
    if base is None:
        raise JudgeError(f"`{spec.name}` judges with local weights, which are part of its id, got none")
    if spec.declared.is_taught:
        return {"encoder": base.digest, "head": require_taught(spec).digest}
    return {"weights": asked_digest(base), "revision": base.revision, "dtype": spec.model.dtype}


def require_taught(spec: JudgeSpec) -> TaughtHead:
    """The head of a learned judge. Raises JudgeError: it was not taught yet."""
    if spec.taught is None:
        raise JudgeError(f"`{spec.name}` must be taught before it judges, got no head; teach it on TRAIN replies")
    return spec.taught
