"""The whole story in one call: prepare, fine-tune, register, generate, judge, report."""

from __future__ import annotations

from pathlib import Path

from harness.ablation.design import EvaluationDesign, VariantDesign
from harness.config import load_yaml
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
    session: Session, *, corpus: str, recipe: Path | None = None, seed: int = 7, limit: int | None = None
) -> Evaluated:
    """Train on a corpus and compare with the base on films that were held out."""
    folder = experiments_folder()
    design = load_yaml(folder / DESIGN_FILE, EvaluationDesign)
    chosen = load_yaml(recipe or folder / RECIPE_FILE, SftRecipe).model_copy(update={"seed": seed})

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
    if chosen.base.source != "embedded":
        other = {"model": chosen.base.source, "revision": chosen.base.revision}
        variants = {n: v.model_copy(update=other) if v.model is not None else v for n, v in variants.items()}
    data = design.data.model_copy(update={"corpus": corpus, "seed": seed})
    design = design.model_copy(update={"variants": variants, "seed": seed, "data": data})
    return evaluate_prepared(session, design, prepared=prepared, folder=folder, training=trained)
