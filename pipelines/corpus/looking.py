"""A look at data before any work: rows, references, clusters, and what of the file was merged or not taken."""

from __future__ import annotations

from collections.abc import Iterator

from harness.experiment.task_choice import DataLook
from harness.types import Conversation
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.reading import read_corpus
from pipelines.corpus.splits import with_clusters_to_resample


def look_at(spec: str) -> DataLook:
    """What data hold, read but not tokenised.

    Raises:
        CorpusError: they break their format. UnavailableError: they were not fetched.
    """
    corpus = read_corpus(spec)
    resampled = with_clusters_to_resample(corpus)
    rows = list(_rows(corpus))
    return DataLook(
        is_dialogue=corpus.reply_rule == "every_turn",
        has_system=corpus.system is not None,
        prompts=tuple(asked for asked, _ in rows),
        references=tuple(reply for _, reply in rows),
        unit=resampled.cluster_unit,
        n_clusters=len(resampled.clusters),
        lines=tuple(f"{n:,} × {what}" for counts in (resampled.repaired, resampled.seen) for what, n in counts.items()),
    )


def _rows(corpus: Corpus) -> Iterator[tuple[str, str]]:
    """Prompt and reference of every row; the reference is empty where the row has none."""
    for conversation in corpus.conversations:
        *asked, last = conversation.utterances
        is_reply = bool(asked) and _is_reply(corpus, conversation)
        yield (
            "\n".join(line.text for line in (asked if is_reply else conversation.utterances)),
            last.text if is_reply else "",
        )


def _is_reply(corpus: Corpus, conversation: Conversation) -> bool:
    last = conversation.utterances[-1]
    return last.id not in corpus.history_only and (corpus.reply_rule == "every_turn" or last.speaker_id == "assistant")
