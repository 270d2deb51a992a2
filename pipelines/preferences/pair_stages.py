"""Preference pairs as stages: made from TRAIN prompts, or imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.experiment.judges.judge_uses import JudgeUse, judge_of, judge_use
from harness.experiment.judges.teaching import taught_on
from harness.experiment.lineage import OTHER, REFERENCE, refuse_seen
from harness.experiment.preparing import prompts_of
from harness.experiment.session import OnProgress, Session
from harness.experiment.variants import adapter_of, parse_variant
from harness.judging.spec import load_judge_spec
from harness.store.artifacts import digest_file, from_json, read_json
from harness.store.tracking import Stage, StageResult
from harness.types import Adapter, Variant
from pipelines.corpus.prepare import PrepareConfig, prepare_stage
from pipelines.preferences.pair_builder import PairsConfig
from pipelines.preferences.ranking import HumanRanker, JudgeRanker, Ranker

if TYPE_CHECKING:
    from pipelines.preferences.audit import PairAudit


_BY_METHOD = {"reference": REFERENCE, "other": OTHER}


def parent_of(session: Session, named: str) -> Adapter:
    """The adapter that a text names: of the registry, or a PEFT folder.

    Raises:
        InputError: it names something else.
    """
    declared = parse_variant(named)
    if declared.adapter is None:
        raise InputError(f"`parent` must be an SFT adapter (name@alias, name/version or a PEFT folder), got {named!r}")
    return adapter_of(declared, session.tracking)


def prepared_for(session: Session, parent: Adapter, *, corpus: str, seed: int, limit: int | None) -> StageResult:
    """The prepared corpus of a parent: the one that it was trained on where that is known, else prepared here.

    Raises:
        SplitError: `corpus` is what the parent was trained on, split otherwise.
    """
    config = PrepareConfig(
        corpus=corpus, base=parent.base.source, base_revision=parent.base.revision, seed=seed, limit=limit
    )
    prepared = prepare_stage(session, config)
    variant = Variant(name=parent.name, kind="model", base=parent.base, adapter=parent)
    refuse_seen(session.tracking, [variant], prepared=prepared, test=prompts_of(prepared, "test"))
    return prepared


def named_pairs(
    session: Session, named: str | None, *, prepared: StageResult, parent: Adapter, default: PairsConfig
) -> StageResult:
    """Pairs by run id, from a JSONL file, or made as `default` says."""
    if named is None:
        return pairs_stage(session, default, prepared=prepared, parent=parent)
    if named.endswith(".jsonl"):
        return import_stage(session, Path(named), prepared=prepared)
    return _stage_of(session, named)


def audit_of(session: Session, named: str) -> PairAudit:
    """The audit of a run's pairs, or of a JSONL file that was not imported."""
    from pipelines.preferences.audit import PairAudit, audit_pairs
    from pipelines.preferences.pair_files import import_file

    if named.endswith(".jsonl"):
        return audit_pairs(import_file(Path(named)).pairs, seed=0)
    return from_json(PairAudit, read_json(_stage_of(session, named).folder / "audit.json"))


def _stage_of(session: Session, run_id: str) -> StageResult:
    """A finished pairs stage by the id of its run."""
    info = session.tracking.source_of(session.tracking.run(run_id))
    if info.stage != "pairs" or "output_digest" not in info.tags:
        raise InputError(
            f"`{run_id}` must be a finished run of `screentest pairs`, got one of {info.stage or 'nothing'}"
        )
    return session.tracking.result(info)


def pairs_stage(
    session: Session, config: PairsConfig, *, prepared: StageResult, parent: Adapter, adopt: bool = False
) -> StageResult:
    """TRAIN prompts + the SFT adapter (+ a judge) → preference pairs with their audit."""
    from pipelines.preferences import pair_builder as build

    use = _judge_of_pairs(session, config, prepared)

    def work(stage: Stage, on_progress: OnProgress) -> None:
        summary = build.run(
            config,
            prepared=prepared.folder,
            parent=parent,
            model=session.pool.of(build.candidates_of(parent, system=None), spending=session.spending),
            ranker=_ranker(session, config, use, prepared),
            folder=stage.folder,
            on_progress=on_progress,
        )
        for name in build.COUNTS:
            stage.log_metric(name.removeprefix("n_"), getattr(summary, name))

    return session.stage(
        "pairs",
        label="Preference pairs",
        revision=build.REVISION,
        config=config.model_dump(mode="json", exclude={"judge"})
        | {"ranker": _BY_METHOD[config.method] if use is None else f"{use.judge_id}/{use.criterion}"},
        inputs={"prepared": prepared.digest, "parent": parent.digest},
        work=work,
        adopt=adopt,
    )


def _ranker(session: Session, config: PairsConfig, use: JudgeUse | None, prepared: StageResult) -> Ranker:
    if use is not None:
        return JudgeRanker(judge=judge_of(session, use), criterion=use.criterion)
    others = tuple(prompts_of(prepared, "train")) if config.method == "other" else None
    return HumanRanker(others=others, seed=config.seed)


def _judge_of_pairs(session: Session, config: PairsConfig, prepared: StageResult) -> JudgeUse | None:
    """Who prefers, its mode resolved; None where it is the human reply that is preferred."""
    if config.method != "judge":
        return None
    judge = Path(config.judge or "")
    spec = taught_on(session, load_judge_spec(judge), prepared=prepared, judge=judge, seed=config.seed)
    return judge_use(session, spec, criterion=config.criterion)


def import_stage(session: Session, file: Path, *, prepared: StageResult, adopt: bool = False) -> StageResult:
    """Preferences made elsewhere → pairs with their audit; refused when one is near a held-out row."""
    from pipelines.preferences import pair_builder as build

    if not file.is_file():
        raise InputError(f"`{file}` must be an existing JSONL file of preferences; there is none")

    def work(stage: Stage, on_progress: OnProgress) -> None:
        build.import_pairs(file, prepared=prepared.folder, folder=stage.folder)

    return session.stage(
        "pairs",
        label="Import preferences",
        revision=build.REVISION,
        config={"method": "import", "clusters": "prompt"},  # rows of one prompt are one cluster since this stands here
        inputs={"prepared": prepared.digest, "file": digest_file(file)},
        work=work,
        adopt=adopt,
    )
