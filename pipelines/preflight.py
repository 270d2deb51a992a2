"""What making an adapter would take, before any work: its base, its data, and tokens that a device goes through."""

from __future__ import annotations

from functools import partial
from typing import Any

from harness.errors import ScreentestError
from harness.experiment.design import DecodingDesign
from harness.experiment.kinds import stage_kind
from harness.experiment.planning.checks import Preflight
from harness.experiment.planning.pace import measure_pace, say_effort
from harness.experiment.preflight import trained_before
from harness.experiment.preparing import prompts_of
from harness.experiment.session import NotStanding, Session
from harness.models.bases import resolve_base
from harness.store.prepared import read_summary
from harness.store.tracking import StageResult
from harness.types import Adapter, Variant
from pipelines.preferences.build import PairsConfig
from pipelines.preferences.stages import named_pairs
from pipelines.training.stages import training_stage


def look_at_training(
    session: Session,
    name: str,
    recipe: Any,
    *,
    prepared: StageResult,
    parent: Adapter | None = None,
    pairs: str | None = None,
    default: PairsConfig | None = None,
) -> Preflight:
    """The table; nothing is trained or generated. A training on pairs names them, or how they are made."""
    found, dry = Preflight(), session.dry()
    summary, needs, rows = read_summary(prepared.folder), dict[str, dict[str, Any]](), None
    train = summary.splits["train"]
    find_base = partial(resolve_base, recipe.base.source, revision=recipe.base.revision)
    base = found.ask("base", find_base, words=lambda base: base.source)
    told = f"{train.windows.n_examples:,} of TRAIN, {train.windows.n_tokens:,} tokens"
    found.say("windows", f"{told}, from {train.n_clusters:,} {summary.cluster_unit}s")
    try:
        if parent is not None and default is not None:
            found.say("parent", f"{parent.name}, on {parent.base.source}")
            needs["pairs"] = default.model_dump() if pairs is None else {}
            rows = named_pairs(dry, pairs, prepared=prepared, parent=parent, default=default)
            found.say("pairs", "stand")
        training_stage(dry, name, recipe, prepared=prepared, parent=parent, pairs=rows)
        found.say("stages", "the adapter stands: nothing would be done")
    except NotStanding as err:
        found.say("stages", str(err))
        kind = stage_kind(name)
        if kind.effort is not None and base is not None:
            variant = Variant(name="base", kind="model", base=base)
            train_prompts, decoding = prompts_of(prepared, "train"), DecodingDesign().noun(seed=0)
            pace = measure_pace(found, session, variant, train_prompts, decoding=decoding)
            effort = kind.effort(recipe.model_dump(mode="json"), needs, train)
            per_second = trained_before(session, kind, base=recipe.base.source)
            say_effort(found, pace, kind.words, effort, per_second=per_second)
    except ScreentestError as err:
        found.lack("stages", err)
    return found
