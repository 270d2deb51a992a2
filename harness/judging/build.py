"""From a judge's folder and a model to a judge with its id."""

from __future__ import annotations

import dataclasses
from typing import Any

from harness.artifacts import digest_json
from harness.errors import ConfigError, JudgeError
from harness.judging import geval, likelihood
from harness.judging.protocol import Judge
from harness.judging.spec import JudgeSpec
from harness.models.chat import DIALOGUE_SYSTEM
from harness.models.protocol import LanguageModel, require
from harness.types import BaseModel

ID_DIGITS = 8


def build_judge(spec: JudgeSpec, *, model: LanguageModel | None) -> Judge:
    """The judge that `spec` describes, on a loaded model (the bare base: adapters do not judge).

    Raises ConfigError when the model is of another family than the spec says, UnavailableError when it lacks a
    capability, and JudgeError when it is missing, of unknown weights, or does not write the scores as single tokens.
    """
    if model is None:
        raise JudgeError(f"`{spec.name}` judges with a model, got none; load `{spec.model.source}` and hand it over")
    base = model.base
    if base is None:
        raise JudgeError(
            f"`{spec.name}` needs a model whose weights are known, since they are part of its id, got none"
        )
    if base.family != spec.family:
        raise ConfigError(f"`family` of {spec.name} must be that of its model, {base.family}, got {spec.family}")
    name = judge_id(spec, base=base)
    if spec.method == "likelihood":
        require(model, "continuation_logprobs", who=spec.name)
        return likelihood.LikelihoodJudge(
            id=name, family=spec.family, criteria=spec.criteria, model=model, max_bytes=spec.max_bytes
        )
    require(model, "option_probabilities", who=spec.name)
    geval.check_score_tokens(model, spec.criteria)
    return geval.GEvalJudge(
        id=name,
        family=spec.family,
        criteria=spec.criteria,
        model=model,
        template=geval.read_template(spec.prompt or ""),
        min_mass=spec.min_mass or 0.0,
        max_bytes=spec.max_bytes,
    )


def judge_id(spec: JudgeSpec, *, base: BaseModel) -> str:
    """`name@8 hex digits` of the sha256 over everything that decides a score, and nothing else."""
    decides: dict[str, Any] = {
        "method": spec.method,
        "mode": spec.mode,
        "weights": base.digest,
        "revision": base.revision,
        "dtype": spec.model.dtype,
        "max_bytes": spec.max_bytes,
    }
    if spec.method == "likelihood":
        decides |= {
            "code": likelihood.REVISION,
            "system": DIALOGUE_SYSTEM,
            "criteria": [c.name for c in spec.criteria],  # their definitions are not shown to the model
        }
    else:
        decides |= {
            "code": geval.REVISION,
            "system": geval.SYSTEM,
            "prefix": geval.PREFIX,
            "prompt": spec.prompt,
            "criteria": [dataclasses.asdict(c) for c in spec.criteria],
            "min_mass": spec.min_mass,
        }
    return f"{spec.name}@{digest_json(decides)[:ID_DIGITS]}"
