"""Whether an adapter has seen the films it is asked about: TEST never reaches training, whoever split the corpus."""

from __future__ import annotations

from collections.abc import Iterable

from harness.errors import SplitError
from harness.store.artifacts import read_json
from harness.store.prepared import read_summary
from harness.store.tracking import StageResult, Tracking
from harness.types import Prompt, Variant


def refuse_seen(
    tracking: Tracking, variants: Iterable[Variant], *, prepared: StageResult, test: Iterable[Prompt]
) -> None:
    """Refuse TEST prompts of films that a variant's adapter was trained or validated on.

    Known of adapters that were trained here: their data digest leads to the prepared corpus behind them. Two splits of
    one corpus with different seeds are how it happens.

    Raises:
        SplitError: an adapter has seen a film of `test`.
    """
    asked = {prompt.cluster for prompt in test}
    corpus = read_summary(prepared.folder).corpus_digest
    for variant in variants:
        digest = variant.adapter.data_digest if variant.adapter is not None else None
        if variant.adapter is None or digest is None or digest == prepared.digest:
            continue
        for run in tracking.find(stage="prepare", output_digest=digest, limit=1):
            folder = tracking.folder(run.run_id)
            if read_summary(folder).corpus_digest != corpus:
                continue  # another corpus, whose films only happen to bear the same ids
            seen = {row["id"] for row in read_json(folder / "clusters.json") if row["split"] != "test"} & asked
            if seen:
                raise SplitError(
                    f"`{variant.name}`: adapter {variant.adapter.name}/{variant.adapter.version} was trained on "
                    f"{len(seen)} of the {len(asked)} TEST films; split with the seed it was trained with (`data.seed`)"
                )
