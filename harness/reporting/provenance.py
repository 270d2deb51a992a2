"""Tables about where numbers come from: data, training audit, what was missing, lineage, versions, cost."""

from __future__ import annotations

from collections.abc import Mapping

from harness.reporting.findings import Index
from harness.reporting.numbers import write_bytes, write_count, write_seconds
from harness.reporting.record import Cost, DataCard, ReportRecord
from harness.reporting.tables import Cell, Group, Row, Table

SHORT_RUN = 8  # characters of a run id in the list of sources; the list of stages holds all
SHORT_DIGEST = 12  # characters of a digest on the page; the JSON holds all


def missing_table(record: ReportRecord) -> Table:
    """What should be there and is not, with the reason."""
    rows = tuple(
        Row(cells=(Cell(text=m.what), Cell(text=f"{m.n:,} of {m.of:,}", is_number=True), Cell(text=m.why)))
        for m in record.missing
    )
    return Table(
        caption="Missing rows are left out and counted; none was set to a value.",
        head=("What", "Missing", "Why"),
        groups=(Group(rows=rows),),
    )


def splits_table(data: DataCard) -> Table:
    """How much each split holds."""
    plural = write_count(0, data.cluster_noun).removeprefix("0 ")
    rows = tuple(
        Row(
            cells=(
                Cell(text=s.split),
                Cell(text=f"{s.n_films:,}", is_number=True),
                Cell(text=f"{s.n_conversations:,}", is_number=True),
                Cell(text=f"{s.n_prompts:,}", is_number=True),
            )
        )
        for s in data.splits
    )
    return Table(
        caption=f"Split by {data.cluster_noun}: no {data.cluster_noun} is in two splits.",
        head=("Split", plural.capitalize(), "Conversations", "Prompts"),
        groups=(Group(rows=rows),),
    )


def audit_table(record: ReportRecord) -> Table:
    """Checks of the training data and the adapters."""
    words = {True: "Passed", False: "Failed", None: "Not checked"}
    rows = tuple(
        Row(cells=(Cell(text=a.label), Cell(text=words[a.is_passed]), Cell(text=a.detail))) for a in record.audit
    )
    return Table(caption="Training audit.", head=("Check", "Result", "Detail"), groups=(Group(rows=rows),))


def stages_table(record: ReportRecord) -> Table:
    """Every stage run under this report."""
    rows = tuple(
        Row(
            id=f"run-{s.run_id}",
            cells=(
                Cell(text=s.name, detail="reused" if s.is_reused else "ran"),
                Cell(text=s.run_id, is_code=True),
                Cell(text=write_seconds(s.seconds), is_number=True),
                _digest_cell(s.fingerprint),
                Cell(text=_named_digests(s.inputs), is_code=True),
                Cell(text=_named_digests(s.artifacts), is_code=True),
            ),
        )
        for s in record.stages
    )
    return Table(
        caption="A stage with the same fingerprint is reused, not run again.",
        head=("Stage", "Run", "Took", "Fingerprint", "Inputs", "Artifacts"),
        groups=(Group(rows=rows),),
        is_dense=True,
    )


def sources_table(index: Index) -> Table:
    """Where each number comes from: run, file, row filter, digest, and the command that walks there."""
    runs = {s.run_id for s in index.record.stages}
    rows = []
    for named in index.named:
        sources = named.finding.sources
        where = "\n".join(
            f"{s.artifact} " + ", ".join(f"{column} = {value}" for column, value in s.where.items()) for s in sources
        )
        first = sources[0] if sources else None
        rows.append(
            Row(
                id=named.anchor,
                cells=(
                    Cell(text=named.key, detail=index.write(named.finding).effect),
                    Cell(
                        text="\n".join(dict.fromkeys(s.run_id[:SHORT_RUN] for s in sources)) or "not recorded",
                        title=" ".join(dict.fromkeys(s.run_id for s in sources)),
                        href=f"run-{first.run_id}" if first and first.run_id in runs else "",
                        is_code=bool(sources),
                    ),
                    Cell(text=where or "not recorded", is_code=bool(sources)),
                    Cell(
                        text="\n".join(s.digest[:SHORT_DIGEST] for s in sources),
                        title=" ".join(s.digest for s in sources),
                        is_code=True,
                    ),
                    Cell(text=index.trace(named), is_code=True),
                ),
            )
        )
    return Table(
        caption="The path from each number to its rows.",
        head=("Number", "Run", "File and rows", "Digest", "Walk there"),
        groups=(Group(rows=tuple(rows)),),
        is_dense=True,
    )


def versions_table(record: ReportRecord) -> Table:
    """Package versions."""
    rows = tuple(
        Row(cells=(Cell(text=name), Cell(text=version, is_code=True)))
        for name, version in sorted(record.versions.items())
    )
    return Table(caption="Versions.", head=("Package", "Version"), groups=(Group(rows=rows),))


def cost_line(cost: Cost) -> str:
    """What it took, in one line."""
    parts = [f"{write_seconds(cost.seconds)} on {cost.device}"]
    if cost.peak_bytes is not None:
        parts.append(f"{write_bytes(cost.peak_bytes)} resident at most in one process")
    if cost.n_train_tokens is not None:
        parts.append(write_count(cost.n_train_tokens, "training token"))
    if cost.note:
        parts.append(cost.note)
    return ", ".join(parts)


def data_line(data: DataCard) -> str:
    """Corpus, digest and what was taken out, in one line."""
    parts = [data.corpus]
    if data.digest:
        parts.append(f"digest {data.digest[:SHORT_DIGEST]}")
    parts.append(f"{write_count(data.n_duplicates_removed, 'near-duplicate')} across splits removed from training")
    if data.n_skipped:
        parts.append(f"{write_count(data.n_skipped, 'bad row')} skipped")
    return "; ".join(parts)


def _digest_cell(digest: str) -> Cell:
    return Cell(text=digest[:SHORT_DIGEST], title=digest, is_code=True)


def _named_digests(digests: Mapping[str, str]) -> str:
    return "\n".join(f"{name} {digest[:SHORT_DIGEST]}" for name, digest in digests.items()) or "none"
