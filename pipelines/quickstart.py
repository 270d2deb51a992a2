"""The whole story in one call: prepare, fine-tune, register, generate, judge, report."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from harness.ablation.design import EvaluationDesign, VariantDesign
from harness.config import load_yaml
from harness.errors import ConfigError
from harness.models.embedded import EMBEDDED
from pipelines.evaluate import Evaluated, evaluate_prepared
from pipelines.experiments import experiments_folder
from pipelines.prepare import PrepareConfig
from pipelines.session import Session
from pipelines.stages import prepare_stage, published_adapter, sft_stage
from pipelines.training.recipe import SftRecipe

DESIGN_FILE = "quickstart.yaml"
RECIPE_FILE = Path("recipes") / "sft" / "embedded.yaml"
TRAINED = "sft"  # the variant of the design that is trained here


def run(
    session: Session,
    *,
    corpus: str,
    recipe: Path | None = None,
    experiment: Path | None = None,
    seed: int = 7,
    limit: int | None = None,
) -> Evaluated:
    """Train on a corpus and compare with the base on films that were held out.

    Raises:
        ConfigError: recipe or experiment breaks a rule, or the experiment has no variant `sft` to put the adapter in.
    """
    began = time.perf_counter()
    file = experiment or experiments_folder() / DESIGN_FILE
    design = load_yaml(file, EvaluationDesign)
    if TRAINED not in design.variants:
        names = ", ".join(design.variants)
        raise ConfigError(f"`{file}`: `variants` must have `{TRAINED}`, the adapter that is trained here; got {names}")
    chosen = load_yaml(recipe or experiments_folder() / RECIPE_FILE, SftRecipe).model_copy(update={"seed": seed})

    # data
    config = PrepareConfig(
        corpus=corpus,
        base=chosen.base.source,
        base_revision=chosen.base.revision,
        max_tokens=design.data.max_tokens,
        seed=seed,
        limit=limit,
    )
    prepared = prepare_stage(session, config)

    # training
    trained = sft_stage(session, chosen, prepared)
    adapter = published_adapter(session, trained)

    # evaluation
    variants = dict(design.variants) | {TRAINED: VariantDesign(adapter=f"{adapter.name}/{adapter.version}")}
    if chosen.base.source != EMBEDDED:
        other = {"model": chosen.base.source, "revision": chosen.base.revision}
        variants = {n: v.model_copy(update=other) if v.model == EMBEDDED else v for n, v in variants.items()}
    data = design.data.model_copy(update={"corpus": corpus, "file": None, "seed": seed})
    design = design.model_copy(update={"variants": variants, "seed": seed, "data": data})
    evaluated = evaluate_prepared(session, design, prepared=prepared, folder=file.resolve().parent, training=trained)
    return replace(evaluated, seconds=time.perf_counter() - began)
