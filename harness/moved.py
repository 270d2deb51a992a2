"""Modules that moved: their former names go on working in users' scripts and in models that MLflow stored before.

A package that moved takes its modules along; those that were renamed or went elsewhere stand in the second table.
Nothing in this repository imports a former name.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_PACKAGES = {
    "harness.ablation": "harness.experiment", "harness.metrics": "harness.measures",
    "harness.ratings": "harness.studies",
    "pipelines.ablate": "harness.experiment", "pipelines.judges": "harness.experiment.judges",
    "pipelines.studies": "harness.studies",
}  # fmt: skip
_MODULES = {
    "harness.ablation.absence": "harness.experiment.analysis.absence",
    "harness.ablation.analysis": "harness.experiment.analysis.contrasts",
    "harness.ablation.measures": "harness.measures.catalogue",
    "harness.ablation.rows": "harness.experiment.analysis.values",
    "harness.ablation.seeds": "harness.experiment.analysis.seeds",
    "harness.ablation.settling": "harness.experiment.analysis.seeds", "harness.artifacts": "harness.store.artifacts",
    "harness.controls": "harness.types",
    "harness.database": "harness.store.database", "harness.fetching": "harness.store.fetching",
    "harness.judging.geval": "harness.judging.methods.geval",
    "harness.judging.likelihood": "harness.judging.methods.likelihood",
    "harness.judging.pairwise": "harness.judging.methods.pairwise",
    "harness.judging.pairwise_qualification": "harness.judging.qualification",
    "harness.metrics.length": "harness.measures.text_measures",
    "harness.metrics.repetition": "harness.measures.text_measures",
    "harness.provenance": "harness.store.software_versions",
    "harness.ratings.rows": "harness.studies.rating_rows",
    "harness.tracking": "harness.store.tracking",
    "pipelines.ablate.local": "harness.experiment.workers.local_workers",
    "pipelines.ablate.portrait": "harness.experiment.ablation_parts",
    "pipelines.ablate.ray_workers": "harness.experiment.workers.ray_workers",
    "pipelines.ablate.reaper": "harness.experiment.workers.reaper",
    "pipelines.ablate.results": "harness.experiment.workers.schedule",
    "pipelines.ablate.run": "harness.experiment.ablate",
    "pipelines.ablate.schedule": "harness.experiment.workers.schedule",
    "pipelines.ablate.screen": "harness.experiment.workers.screen",
    "pipelines.ablate.server": "harness.experiment.workers.tracking_server",
    "pipelines.ablate.shapes": "harness.experiment.analysis.trends_and_tails",
    "pipelines.ablate.worker": "harness.experiment.workers.worker", "pipelines.analyse": "harness.experiment.analyse",
    "pipelines.blocks": "pipelines.corpus.blocks", "pipelines.children": "harness.child_processes",
    "pipelines.columns": "harness.experiment.analysis.columns", "pipelines.compare": "harness.experiment.compare",
    "pipelines.config": "harness.config", "pipelines.drawing": "harness.experiment.preparing",
    "pipelines.duplicates": "pipelines.corpus.duplicates", "pipelines.evaluate": "harness.experiment.evaluate",
    "pipelines.experiments": "harness.experiment.shipped", "pipelines.generate": "harness.experiment.generate",
    "pipelines.imported": "harness.experiment.imported_scores",
    "pipelines.corpus.convokit": "pipelines.corpus.formats.convokit",
    "pipelines.corpus.cornell": "pipelines.corpus.formats.cornell",
    "pipelines.corpus.jsonl": "pipelines.corpus.formats.jsonl",
    "pipelines.judges.matrix": "harness.experiment.judges.cross_judging",
    "pipelines.judges.measures": "harness.experiment.judges.judge_uses",
    "pipelines.judges.pairwise": "harness.experiment.judges.pairwise_stages",
    "pipelines.judges.run": "harness.experiment.judges.judge_files",
    "pipelines.judges.steps": "harness.experiment.judges.criterion_steps",
    "harness.models.answers": "harness.models.cache", "harness.models.remembering": "harness.models.cached",
    "harness.models.endpoint.client": "harness.models.endpoint.chat_client",
    "harness.models.endpoint.model": "harness.models.endpoint.endpoint_model",
    "harness.models.endpoint.fleet": "harness.models.endpoint.replicas",
    "pipelines.audit": "pipelines.training.training_audit", "pipelines.lineage": "harness.experiment.lineage",
    "pipelines.measuring": "harness.experiment.model_stages", "pipelines.memory": "harness.models.memory",
    "pipelines.modeling": "pipelines.training.modeling", "pipelines.packing": "pipelines.training.packing",
    "pipelines.prepare": "pipelines.corpus.prepare", "pipelines.recorded": "harness.experiment.recordings",
    "pipelines.recording": "harness.experiment.record_parts", "pipelines.rows": "harness.experiment.measured_arms",
    "pipelines.scoretable": "harness.experiment.record_parts", "pipelines.seen": "harness.experiment.lineage",
    "pipelines.session": "harness.experiment.session", "pipelines.splits": "pipelines.corpus.splits",
    "harness.studies.judge_marks": "harness.studies.validation",
    "pipelines.styles": "harness.terminal",
    "pipelines.doctor": "pipelines.cli.doctor", "pipelines.cli.checks": "pipelines.cli.doctor",
    "pipelines.tracing": "harness.reporting.number_lineage",
    "pipelines.pilot": "harness.experiment.planning.pilot_data",
    "pipelines.workload": "harness.experiment.planning.costs",
    "pipelines.yardstick": "harness.experiment.planning.measured_rates",
    "pipelines.training.quiet": "harness.models.quiet", "pipelines.turns": "pipelines.corpus.turns",
    "pipelines.training.adapter": "pipelines.training.adapter_files",
    "pipelines.training.dpo_recipe": "pipelines.training.recipe",
    "pipelines.training.pretrain_recipe": "pipelines.training.recipe",
    "pipelines.training.preference_summary": "pipelines.training.summary",
    "pipelines.training.crew": "pipelines.training.followers",
    "pipelines.training.lean": "pipelines.training.adapter_trainer",
    "pipelines.training.pairs": "pipelines.training.pair_rows",
    "pipelines.training.trainer": "pipelines.training.sft_trainer",
    "pipelines.variants": "harness.experiment.variants", "pipelines.windows": "pipelines.corpus.windows",
    "harness.experiment.planning.checks": "harness.experiment.planning.preflight_table",
    "harness.models.chat": "harness.models.chat_templates",
    "harness.models.rows": "harness.models.cache_rows",
    "harness.serving.replies": "harness.serving.reply_chunks",
    "harness.serving.text": "harness.models.detokenizing",
    "harness.serving.detokenizing": "harness.models.detokenizing",
    "harness.models.stops": "harness.models.detokenizing",
    "harness.serving.variants": "harness.serving.model_names",
    "harness.serving.engine": "harness.serving.batching",
    "harness.serving.adapters": "harness.serving.batching",
    "harness.serving.adapter_cache": "harness.serving.batching",
    "harness.serving.errors": "harness.serving.error_answers",
    "harness.serving.schema": "harness.serving.api_schema",
    "harness.reporting.text": "harness.reporting.safe_text",
    "harness.reporting.runs": "harness.reporting.finished_reports",
    "harness.reporting.provenance": "harness.reporting.lineage_tables",
    "harness.reporting.findings": "harness.reporting.finding_index",
    "pipelines.corpus.text": "pipelines.corpus.text_repairs",
    "pipelines.corpus.scenes": "pipelines.corpus.cut_scenes",
    "harness.stats.results": "harness.stats.outcomes", "harness.stats.skew": "harness.stats.intervals",
    "harness.stats.davidson": "harness.stats.bradley_terry", "harness.stats.log_odds": "harness.stats.proportions",
    "harness.stats.detection_power": "harness.stats.power", "harness.stats.signflip": "harness.stats.paired",
    "harness.stats.tail": "harness.stats.quantiles", "harness.reporting.tails": "harness.reporting.wording",
    "harness.judging.results": "harness.judging.scored",
    "harness.judging.reading": "harness.judging.choice_reading",
    "harness.judging.build": "harness.judging.judge_builder",
    "harness.judging.protocol": "harness.judging.judge_protocol",
    "harness.judging.reasoned_reading": "harness.judging.remote_reading",
    "harness.judging.deepeval.judge": "harness.judging.deepeval.metric_judge",
    "harness.judging.learned.registry": "harness.judging.learned.head_registry",
    "harness.measures.words": "harness.measures.ngrams",
    "harness.measures.replies": "harness.measures.text_measures",
    "harness.measures.reply_metrics": "harness.measures.text_measures",
    "harness.experiment.measuring": "harness.experiment.model_stages",
    "harness.store.provenance": "harness.store.software_versions",
    "harness.reporting.provenance_tables": "harness.reporting.lineage_tables",
    "harness.ui.words": "harness.ui.translations",
    "harness.ui.tables": "harness.ui.drawing",
    "harness.ui.html_tables": "harness.ui.drawing",
    "harness.studies.leases": "harness.studies.serving",
    "harness.studies.extending": "harness.studies.create",
    "harness.ui.verdicts": "harness.ui.vote_buttons",
    "harness.ui.pairs": "harness.ui.chat_pairs",
    "harness.doors.peers.catalogue": "harness.doors.peers.formats",
    "harness.studies.sources": "harness.studies.reply_sources",
    "harness.studies.design": "harness.studies.study_design",
    "harness.studies.schedule": "harness.studies.item_schedule",
    "harness.studies.schema": "harness.studies.sql_schema",
    "pipelines.preferences.build": "pipelines.preferences.pair_builder",
    "pipelines.preferences.stages": "pipelines.preferences.pair_stages",
    "pipelines.preferences.plan": "pipelines.preferences.training_order",
    "pipelines.preferences.files": "pipelines.preferences.pair_files",
    "pipelines.training.stages": "pipelines.training.training_stage",
    "harness.store.experiments": "harness.store.mlflow_experiments",
    "harness.experiment.workers.local": "harness.experiment.workers.local_workers",
    "harness.doors.adapters.settings": "harness.doors.adapters.allowed_settings",
}  # fmt: skip


def present_name(former: str) -> str:
    """Where a module is now: its own entry, else its package's, until neither has one. A present name is its own."""
    name = former
    while True:
        package = next((old for old in _PACKAGES if name == old or name.startswith(f"{old}.")), None)
        if name in _MODULES:
            name = _MODULES[name]
        elif package is not None:
            name = _PACKAGES[package] + name.removeprefix(package)
        else:
            return name


class _Former:
    """Finds a module under its former name: a `MetaPathFinder` and its `Loader`."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> object:
        """A spec where `name` is a former one."""
        return ModuleSpec(name, self) if present_name(name) != name else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module itself, under the name it has now."""
        module = importlib.import_module(present_name(spec.name))
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is run again; the module keeps the spec of its present name."""
        module.__spec__ = self._spec


def install() -> None:
    """Let former names be found, before a file of that name in a package that moved is read as another module."""
    if not any(isinstance(finder, _Former) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Former())  # type: ignore[arg-type]
