"""Prepared data as a stage: a corpus's splits, prompts and windows as an MLflow run that is found again."""

from __future__ import annotations

from rich.markup import escape

from harness.experiment.session import OnProgress, Session
from harness.models.bases import adaptation_of, asked_digest, resolve_base
from harness.store.tracking import Stage, StageResult
from pipelines.corpus.prepare import PrepareConfig


def prepare_stage(session: Session, config: PrepareConfig, *, adopt: bool = False) -> StageResult:
    """Corpus → splits, prompts and windows. Decided by the corpus's content, not by where it lies."""
    from pipelines.corpus import prepare
    from pipelines.corpus.reading import read_corpus

    corpus = read_corpus(config.corpus, lenient=config.lenient)
    base = resolve_base(config.base, revision=config.base_revision)
    settings = config.model_dump(mode="json", exclude={"corpus", "base", "base_revision"})
    if config.system is None and prepare.system_of(config, corpus) is None:
        settings["system"] = ""  # earlier versions gave such rows a system prompt under the same settings
    for note in adaptation_of(base).notes:
        session.say(f"  {escape(note)}")

    def work(stage: Stage, on_progress: OnProgress) -> None:
        summary = prepare.run(config, folder=stage.folder, on_progress=on_progress, corpus=corpus)
        stage.set_tag("corpus", summary.corpus)
        for name, counts in {"repaired": summary.repaired, "skipped": summary.skipped, "seen": summary.seen}.items():
            stage.log_params({f"{name}.{key}": value for key, value in counts.items()})
        for split, held in summary.splits.items():
            stage.log_metric(f"{split}_windows", held.windows.n_prompts)
            stage.log_metric(f"{split}_clusters", held.n_clusters)

    return session.stage(
        "prepare",
        label="Prepare",
        revision=prepare.REVISION,
        config=settings,
        inputs={"corpus": corpus.digest, "tokenizer": asked_digest(base)},
        work=work,
        adopt=adopt,
    )
