"""`prepare`: a corpus becomes splits, prompts and training windows in one folder.

| file | what |
|---|---|
| `prompts-{train,validation,test}.parquet` | `Prompt`s: the history that fits and the human reply |
| `examples-{train,validation,test}.parquet` | `Example`s: the same windows as token ids |
| `clusters.json` | every film with its title, split and counts |
| `duplicates.json` | near-duplicates across splits; those of TRAIN were taken out |
| `summary.json` | what was read, repaired, left out and written |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pydantic
from pydantic import Field
from rich.markup import escape

from harness.doors.templates import chat_format
from harness.errors import InputError
from harness.experiment.session import OnProgress, Session
from harness.models.bases import adaptation_of, asked_digest, load_tokenizer, resolve_base
from harness.models.chat_templates import DIALOGUE_SYSTEM
from harness.store.artifacts import write_json
from harness.store.prepared import PrepareSummary, SplitSummary, Written
from harness.store.tracking import Stage, StageResult
from harness.types import SPLITS, Progress, Split
from pipelines.corpus.blocks import Fitted, fit_windows
from pipelines.corpus.corpus import Corpus, ReplyRule
from pipelines.corpus.cut_scenes import with_scenes_joined
from pipelines.corpus.duplicates import Duplicate, describe, find_duplicates
from pipelines.corpus.reading import read_corpus
from pipelines.corpus.splits import Splits, split_corpus, whole_corpus, with_clusters_to_resample
from pipelines.corpus.turns import NO_REPLY, Turns, Windows, limited, turns_of, windows_of
from pipelines.corpus.windows import WindowWriter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REVISION = 1  # raise when the same config would give other files

# Rows that bring no system prompt get none: an adapter trained on them elsewhere was given none either.
_SYSTEM: Mapping[ReplyRule, str | None] = {"every_turn": DIALOGUE_SYSTEM, "assistant_turns": None}


class PrepareConfig(pydantic.BaseModel):
    """Every setting of `prepare`."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    corpus: str = "sample"  # sample, cornell, convokit, a folder, a zip or a JSONL file
    base: str = "embedded"  # whose tokenizer and chat template: embedded, a hub id or a folder
    base_revision: str | None = None  # of a hub id
    system: str | None = None  # system prompt; None: the corpus's own, else the one of its kind; "": its own or none
    max_tokens: Annotated[int, Field(ge=32)] = 512  # of a window: system prompt, history, reply and end token
    seed: int = 0  # of the splits and of `limit`
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2  # of the films
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    min_test_films: Annotated[int, Field(ge=1)] = 10  # TEST is filled up to this where the corpus allows
    whole_split: Split | None = None  # the whole corpus is this split, e.g. a test file of the user's own
    join_scenes: bool = False  # whether conversations that continue one another become one
    limit: Annotated[int, Field(ge=1)] | None = None  # windows per split, drawn by the seed
    lenient: bool = False  # skip and count what cannot be read


def run(
    config: PrepareConfig,
    *,
    folder: Path,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    corpus: Corpus | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> PrepareSummary:
    """Write the prepared corpus into `folder`; the same config and corpus give the same bytes.

    Args:
        folder: where the files go; made when it is not there.
        on_progress: told of every batch, first in turns, then in windows.
        corpus, tokenizer: what the config names, where the caller has them already.

    Raises:
        CorpusError: the corpus breaks its format. SplitError: too few clusters. InputError: no window fits.
        UnavailableError: the corpus was not fetched, or the base is not there.
    """
    # corpus and splits
    corpus = with_clusters_to_resample(corpus or read_corpus(config.corpus, lenient=config.lenient))
    corpus = with_scenes_joined(corpus) if config.join_scenes else corpus
    shares = {"test_share": config.test_share, "validation_share": config.validation_share}
    if config.whole_split is not None:
        splits = whole_corpus(corpus, config.whole_split)
    else:
        splits = split_corpus(corpus, seed=config.seed, min_test_clusters=config.min_test_films, **shares)

    # windows
    turns = turns_of(corpus)
    every = windows_of(corpus, turns, splits)
    drawn = every if config.limit is None else limited(every, most=config.limit, seed=config.seed)
    tokenizer = tokenizer or load_tokenizer(resolve_base(config.base, revision=config.base_revision))
    system = system_of(config, corpus)
    fitted = fit_windows(tokenizer, turns, drawn, system=system, max_tokens=config.max_tokens, on_progress=on_progress)
    _require_windows(fitted, config)

    # near-duplicates
    duplicates = _duplicates(turns, fitted.windows)
    kept = _without_learned(fitted.windows, duplicates)

    # files
    folder.mkdir(parents=True, exist_ok=True)
    writer = WindowWriter(
        folder, corpus=corpus, turns=turns, renderer=fitted.renderer, on_progress=on_progress, total=len(kept)
    )
    written = {split: writer.write(split, kept.of(split)) for split in SPLITS}
    write_json(folder / "clusters.json", _cluster_rows(corpus, splits, kept))
    write_json(folder / "duplicates.json", _duplicate_rows(duplicates, fitted.windows))
    summary = PrepareSummary(
        corpus=corpus.name, source=corpus.source, corpus_digest=corpus.digest,
        base=config.base, system=system, max_tokens=config.max_tokens,
        template="; ".join((fitted.renderer.kind, *chat_format(tokenizer).adaptation.notes)),
        cluster_unit=corpus.cluster_unit, n_clusters=len(splits.assigned),
        n_conversations=len(corpus.conversations), n_utterances=corpus.n_utterances,
        splits={split: _split_summary(split, corpus, splits, written[split]) for split in SPLITS},
        verdict_limit=splits.verdict_limit, notes=splits.notes,
        left_out=_left_out(every, drawn, fitted, kept),
        duplicates=describe(duplicates, fitted.windows.splits),
        repaired=corpus.repaired, skipped=corpus.skipped, seen=corpus.seen,
    )  # fmt: skip
    write_json(folder / "summary.json", summary)
    return summary


def system_of(config: PrepareConfig, corpus: Corpus) -> str | None:
    """The system prompt of every window; None leaves it to the model's template."""
    of_kind = _SYSTEM[corpus.reply_rule] if config.system is None else None
    return config.system or corpus.system or of_kind


def _require_windows(fitted: Fitted, config: PrepareConfig) -> None:
    if not len(fitted.windows):
        raise InputError(
            f"`corpus` must give at least one window of {config.max_tokens} tokens, got none "
            f"({fitted.n_too_long} were too long); raise `max_tokens` or check that conversations have replies"
        )


def _duplicates(turns: Turns, windows: Windows) -> list[Duplicate]:
    """Near-duplicates among the windows; one without a reply gives nothing away."""
    return find_duplicates(
        asked=[turns.texts[t] for t in windows.last],
        replies=["" if t == NO_REPLY else turns.texts[t] for t in windows.replies],
        splits=windows.splits,
    )


def _without_learned(windows: Windows, duplicates: Sequence[Duplicate]) -> Windows:
    """The windows without those of TRAIN that stand nearly the same in a held-out split."""
    keep = np.ones(len(windows), dtype=np.bool_)
    keep[[d.window for d in duplicates if windows.splits[d.window] == SPLITS.index("train")]] = False
    return windows.take(np.flatnonzero(keep))


def _left_out(every: Windows, drawn: Windows, fitted: Fitted, kept: Windows) -> dict[str, int]:
    counts = {
        "beyond `limit`": len(every) - len(drawn),
        "last turn and reply longer than `max_tokens`": fitted.n_too_long,
        "in train and nearly the same in a held-out split": len(fitted.windows) - len(kept),
    }
    return {reason: n for reason, n in counts.items() if n}


def _split_summary(split: Split, corpus: Corpus, splits: Splits, written: Written) -> SplitSummary:
    members = set(splits.clusters(split))
    n_conversations = sum(conversation.cluster in members for conversation in corpus.conversations)
    return SplitSummary(n_clusters=len(members), n_conversations=n_conversations, windows=written)


def _cluster_rows(corpus: Corpus, splits: Splits, windows: Windows) -> list[dict[str, object]]:
    """Every film of `clusters.json`, with how many of its windows were written."""
    n_conversations = Counter(conversation.cluster for conversation in corpus.conversations)
    titles = {conversation.cluster: conversation.title for conversation in corpus.conversations}
    n_windows = Counter(corpus.conversations[c].cluster for c in windows.conversations)
    return [
        {
            "id": cluster,
            "title": titles[cluster],
            "year": corpus.films[cluster].year if cluster in corpus.films else None,
            "split": split,
            "n_conversations": n_conversations[cluster],
            "n_windows": n_windows[cluster],
        }
        for cluster, split in splits.assigned.items()
    ]


def _duplicate_rows(duplicates: Sequence[Duplicate], windows: Windows) -> list[dict[str, object]]:
    """Every pair of `duplicates.json`: a window and its nearest like in a split that is held out from it."""
    return [
        {
            "prompt_id": windows.prompt_ids[d.window],
            "split": SPLITS[windows.splits[d.window]],
            "other_prompt_id": windows.prompt_ids[d.other],
            "other_split": SPLITS[windows.splits[d.other]],
            "rule": d.rule,
            "similarity": round(d.similarity, 4),
        }
        for d in duplicates
    ]


def prepare_stage(session: Session, config: PrepareConfig, *, adopt: bool = False) -> StageResult:
    """Corpus → splits, prompts and windows. Decided by the corpus's content, not by where it lies."""
    corpus = read_corpus(config.corpus, lenient=config.lenient)
    base = resolve_base(config.base, revision=config.base_revision)
    settings = config.model_dump(mode="json", exclude={"corpus", "base", "base_revision"})
    if config.system is None and system_of(config, corpus) is None:
        settings["system"] = ""  # earlier versions gave such rows a system prompt under the same settings
    for note in adaptation_of(base).notes:
        session.say(f"  {escape(note)}")

    def work(stage: Stage, on_progress: OnProgress) -> None:
        summary = run(config, folder=stage.folder, on_progress=on_progress, corpus=corpus)
        stage.set_tag("corpus", summary.corpus)
        for name, counts in {"repaired": summary.repaired, "skipped": summary.skipped, "seen": summary.seen}.items():
            stage.log_params({f"{name}.{key}": value for key, value in counts.items()})
        for split, held in summary.splits.items():
            stage.log_metric(f"{split}_windows", held.windows.n_prompts)
            stage.log_metric(f"{split}_clusters", held.n_clusters)

    return session.stage(
        "prepare",
        label="Prepare",
        revision=REVISION,
        config=settings,
        inputs={"corpus": corpus.digest, "tokenizer": asked_digest(base)},
        work=work,
        adopt=adopt,
    )
