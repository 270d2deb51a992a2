"""A recipe into a registered adapter, by whichever training method has its keys; or what that would take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.config import parse, read_yaml
from harness.errors import InputError, ScreentestError
from harness.experiment.design import DecodingDesign
from harness.experiment.kinds import stage_kind
from harness.experiment.planning.pace import measure_pace, say_effort
from harness.experiment.planning.preflight_table import Preflight
from harness.experiment.preflight import trained_before
from harness.experiment.preparing import prompts_of
from harness.experiment.published import published_adapter
from harness.experiment.session import NotStanding, Session
from harness.models.bases import resolve_base
from harness.store.prepared import read_summary
from harness.store.tracking import StageResult
from harness.types import Adapter, Variant
from pipelines.corpus.prepare import PrepareConfig, prepare_stage
from pipelines.preferences.pair_stages import named_pairs, parent_of, prepared_for
from pipelines.quickstart import quick_pairs
from pipelines.training.methods import METHODS
from pipelines.training.training_stage import training_stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A training that is asked for, its data prepared."""

    method: str
    recipe: Any
    prepared: StageResult
    parent: Adapter | None = None  # the adapter that a method that reads pairs goes on from
    pairs: str | None = None  # which pairs, as `named_pairs` takes them; None: as `quick_pairs` says

    def rows(self, session: Session) -> StageResult | None:
        """The pairs that it reads, made where they are to be."""
        if self.parent is None:
            return None
        default = quick_pairs(self.recipe)
        return named_pairs(session, self.pairs, prepared=self.prepared, parent=self.parent, default=default)

    def stage(self, session: Session, pairs: StageResult | None) -> StageResult:
        """The training itself."""
        return training_stage(
            session, self.method, self.recipe, prepared=self.prepared, parent=self.parent, pairs=pairs, adopt=True
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A finished training: the adapter is registered as `<recipe>@candidate`."""

    stage: StageResult
    adapter: Adapter
    pairs: StageResult | None


def read_training(
    session: Session,
    file: Path,
    *,
    corpus: str,
    method: str | None = None,
    is_control: bool = False,
    parent: str | None = None,
    pairs: str | None = None,
    seed: int | None = None,
    split_seed: int = 7,
    limit: int | None = None,
) -> Asked:
    """The training of a recipe's file, by a method or by the one that has its keys; its corpus is prepared.

    Raises InputError: the recipe breaks a rule, or parent or pairs are given to one that has no place for them.
    """
    data = read_yaml(file) | ({} if seed is None else {"seed": seed})
    name = method or method_of(data)
    trains = METHODS[name].control if is_control else name
    if trains is None:
        raise InputError(f"`--control` needs a method that has one, got `{name}`: leave it out")
    recipe: Any = parse(data, METHODS[name].runner.RECIPE, where=str(file))
    if METHODS[name].reads == "pairs":
        start = parent_of(session, parent or recipe.parent)
        prepared = prepared_for(session, start, corpus=corpus, seed=split_seed, limit=limit)
        return Asked(method=trains, recipe=recipe, prepared=prepared, parent=start, pairs=pairs)
    if parent is not None or pairs is not None:
        raise InputError(
            f"`parent` and `pairs` go with a method that reads pairs, got them with `{file}`, a {name} recipe"
        )
    config = PrepareConfig(
        corpus=corpus, base=recipe.base.source, base_revision=recipe.base.revision, seed=split_seed, limit=limit,
        max_tokens=recipe.data.pack_tokens,
    )  # fmt: skip
    return Asked(method=trains, recipe=recipe, prepared=prepare_stage(session, config))


def train(session: Session, asked: Asked) -> Trained:
    """Train, on pairs that are made first where a method reads them, and register the adapter."""
    pairs = asked.rows(session)
    stage = asked.stage(session, pairs)
    return Trained(stage=stage, adapter=published_adapter(session, stage), pairs=pairs)


def look_at_training(session: Session, asked: Asked) -> Preflight:
    """What it would take, as a table: base, data, and tokens that a device goes through; nothing is trained."""
    found, dry, recipe = Preflight(), session.dry(), asked.recipe
    summary = read_summary(asked.prepared.folder)
    train, needs = summary.splits["train"], dict[str, dict[str, Any]]()
    find_base = partial(resolve_base, recipe.base.source, revision=recipe.base.revision)
    base = found.ask("base", find_base, words=lambda base: base.source)
    told = f"{train.windows.n_examples:,} of TRAIN, {train.windows.n_tokens:,} tokens"
    found.say("windows", f"{told}, from {train.n_clusters:,} {summary.cluster_unit}s")
    try:
        if asked.parent is not None:
            found.say("parent", f"{asked.parent.name}, on {asked.parent.base.source}")
            needs["pairs"] = quick_pairs(recipe).model_dump() if asked.pairs is None else {}
        rows = asked.rows(dry)
        if rows is not None:
            found.say("pairs", "stand")
        asked.stage(dry, rows)
        found.say("stages", "the adapter stands: nothing would be done")
    except NotStanding as err:
        found.say("stages", str(err))
        kind = stage_kind(asked.method)
        if kind.effort is not None and base is not None:
            variant = Variant(name="base", kind="model", base=base)
            train_prompts, decoding = prompts_of(asked.prepared, "train"), DecodingDesign().as_decoding(seed=0)
            pace = measure_pace(found, session, variant, train_prompts, decoding=decoding)
            effort = kind.effort(recipe.model_dump(mode="json"), needs, train)
            per_second = trained_before(session, kind, base=recipe.base.source)
            say_effort(found, pace, kind.words, effort, per_second=per_second)
    except ScreentestError as err:
        found.lack("stages", err)
    return found


def method_of(data: dict[str, Any]) -> str:
    """The method whose recipe has these keys; the first one, whose rules then say what is wrong, where none has."""
    methods = [name for name, method in METHODS.items() if not method.is_control]
    return next(
        (name for name in methods if data.keys() <= METHODS[name].runner.RECIPE.model_fields.keys()), methods[0]
    )
