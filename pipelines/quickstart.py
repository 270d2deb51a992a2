"""The whole story in one call: prepare, fine-tune, prefer, register, generate, judge, report."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.config import load_yaml
from harness.errors import ConfigError
from harness.experiment.design import EvaluationDesign, VariantDesign
from harness.experiment.engine import Finished
from harness.experiment.evaluate import evaluate_prepared
from harness.experiment.planning.pace import measure_speed
from harness.experiment.planning.preflight_table import Preflight
from harness.experiment.preflight import say_data
from harness.experiment.preparing import draw_prompts, prompts_of
from harness.experiment.published import published_adapter
from harness.experiment.session import NotStanding, Session
from harness.experiment.shipped import experiments_folder
from harness.models.bases import resolve_base
from harness.models.embedded import EMBEDDED
from harness.store.prepared import read_summary
from harness.store.tracking import StageResult
from harness.types import Variant
from pipelines.corpus.prepare import PrepareConfig, prepare_stage
from pipelines.preferences.pair_builder import PairsConfig
from pipelines.preferences.pair_stages import pairs_stage
from pipelines.training.recipe import DpoRecipe, SftRecipe
from pipelines.training.training_stage import training_stage

DESIGN_FILE = "quickstart.yaml"
RECIPE_FILE = Path("recipes") / "sft" / "embedded.yaml"
PREFERENCE_FILE = Path("recipes") / "dpo" / "embedded.yaml"
TRAINED = "sft"  # the variant of the design that is trained here
PREFERRED = "dpo"  # the one that is trained on preferences on top of it, where the design has it
ALL_PAIRS = 10_000  # where a recipe takes all there are: as many as the paper made
ALL_PROMPTS = 10**9
SPARE_PAIRS = 4  # held-out pairs come film by film, so a film may bring more than were asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What is read before any training; nothing but the corpus has been prepared."""

    since: float  # of `time.perf_counter`
    corpus: str
    file: Path
    design: EvaluationDesign
    recipe: SftRecipe
    dpo_recipe: DpoRecipe
    prepared: StageResult


def begin(
    session: Session,
    *,
    corpus: str,
    recipe: Path | None,
    dpo_recipe: Path | None,
    experiment: Path | None,
    seed: int,
    limit: int | None,
) -> Begun:
    """Read recipes and experiment, those that ship where none is named, and prepare the corpus.

    Raises ConfigError: recipe or experiment breaks a rule, or the experiment has no variant `sft` to put the
    adapter in.
    """
    since, file = time.perf_counter(), experiment or experiments_folder() / DESIGN_FILE
    design = load_yaml(file, EvaluationDesign)
    if TRAINED not in design.variants:
        names = ", ".join(design.variants)
        raise ConfigError(f"`{file}`: `variants` must have `{TRAINED}`, the adapter that is trained here; got {names}")
    chosen = load_yaml(recipe or experiments_folder() / RECIPE_FILE, SftRecipe).model_copy(update={"seed": seed})
    config = PrepareConfig(
        corpus=corpus,
        base=chosen.base.source,
        base_revision=chosen.base.revision,
        max_tokens=design.data.max_tokens,
        seed=seed,
        limit=limit,
    )
    return Begun(
        since=since,
        corpus=corpus,
        file=file,
        design=design,
        recipe=chosen,
        dpo_recipe=_preference_recipe(dpo_recipe, chosen),
        prepared=prepare_stage(session, config),
    )


def run(session: Session, begun: Begun) -> Finished:
    """Train on a corpus and compare with the base on films that were held out."""
    design, chosen, prepared = begun.design, begun.recipe, begun.prepared
    look(session, begun).begin(session.say)

    # training
    adapter = published_adapter(session, training_stage(session, "sft", chosen, prepared=prepared))
    trained = {TRAINED: adapter}
    if PREFERRED in design.variants:
        pairs = pairs_stage(session, quick_pairs(begun.dpo_recipe), prepared=prepared, parent=adapter)
        preferred = training_stage(session, "dpo", begun.dpo_recipe, prepared=prepared, parent=adapter, pairs=pairs)
        trained[PREFERRED] = published_adapter(session, preferred)

    # evaluation
    made = {name: VariantDesign(adapter=f"{adapter.name}/{adapter.version}") for name, adapter in trained.items()}
    variants = dict(design.variants) | made
    if chosen.base.source != EMBEDDED:
        other = {"model": chosen.base.source, "revision": chosen.base.revision}
        variants = {n: v.model_copy(update=other) if v.model == EMBEDDED else v for n, v in variants.items()}
    data = design.data.model_copy(update={"corpus": begun.corpus, "file": None, "seed": chosen.seed})
    design = design.model_copy(update={"variants": variants, "seed": chosen.seed, "data": data})
    evaluated = evaluate_prepared(session, design, prepared=prepared, folder=begun.file.resolve().parent)
    return replace(evaluated, seconds=time.perf_counter() - begun.since)


def look(session: Session, begun: Begun) -> Preflight:
    """What `run` would need, checked; the time of trainings is not in it."""
    found, design = Preflight(), begun.design
    asked = draw_prompts(prompts_of(begun.prepared, "test"), n=design.data.prompts or ALL_PROMPTS, seed=design.seed)
    say_data(found, design, begun.prepared, asked)
    try:
        training_stage(session.dry(), "sft", begun.recipe, prepared=begun.prepared)
        found.say("stages", "the fine-tuning stands; what follows is found again where it stands")
    except NotStanding:
        n = len(design.variants)
        found.say("stages", f"to run: fine-tuning, pairs and their training, {n} × replies, judges with controls")
        base = resolve_base(begun.recipe.base.source, revision=begun.recipe.base.revision)
        variant = Variant(name="base", kind="model", base=base, system=read_summary(begun.prepared.folder).system)
        decoding = design.decoding.as_decoding(seed=design.seed)
        measure_speed(found, session, variant, asked, decoding=decoding, n=n * len(asked) * decoding.n_draws)
    return found


def quick_pairs(recipe: DpoRecipe) -> PairsConfig:
    """The human reply against one sample. The embedded judge is of the generator's family and likes echoes best."""
    few = recipe.data.n_pairs
    wanted = ALL_PAIRS if few is None else few + recipe.validation.n_pairs + SPARE_PAIRS
    return PairsConfig(
        method="reference",
        n_pairs=wanted,
        n_candidates=1,
        max_prompt_tokens=recipe.data.max_tokens // 2,  # the rest is for the replies
        max_new_tokens=64,
        seed=recipe.seed,
    )


def _preference_recipe(file: Path | None, sft: SftRecipe) -> DpoRecipe:
    """The preference recipe, on the base and the seed of the fine-tuning that it continues."""
    recipe = load_yaml(file or experiments_folder() / PREFERENCE_FILE, DpoRecipe)
    shared: dict[str, Any] = {"seed": sft.seed}
    if file is None:
        shared |= {"base": sft.base, "quantization": sft.quantization, "precision": sft.precision}
    return recipe.model_copy(update=shared)
