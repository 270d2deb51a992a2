"""Tables about where numbers come from: data, training audit, what was missing, lineage, versions, cost."""

from __future__ import annotations

from collections.abc import Mapping

from harness.reporting.finding_index import Index
from harness.reporting.numbers import write_bytes, write_count, write_seconds
from harness.reporting.record import Cost, DataCard, ReportRecord
from harness.reporting.tables import Cell, Table, code, number, row, table

SHORT_RUN = 8  # characters of a run id in the list of sources; the list of stages holds all
SHORT_DIGEST = 12  # characters of a digest on the page; the JSON holds all


def missing_table(record: ReportRecord) -> Table:
    """What should be there and is not, with the reason."""
    caption = "Missing rows are left out and counted; none was set to a value."
    rows = (row(m.what, number(f"{m.n:,} of {m.of:,}"), m.why) for m in record.missing)
    return table(caption, ("What", "Missing", "Why"), rows)


def splits_table(data: DataCard) -> Table:
    """How much each split holds."""
    plural = write_count(0, data.cluster_noun).removeprefix("0 ")
    caption = f"Split by {data.cluster_noun}: no {data.cluster_noun} is in two splits."
    rows = (row(s.split, s.n_films, s.n_conversations, s.n_prompts) for s in data.splits)
    return table(caption, ("Split", plural.capitalize(), "Conversations", "Prompts"), rows)


def audit_table(record: ReportRecord) -> Table:
    """Checks of the training data and the adapters."""
    words = {True: "Passed", False: "Failed", None: "Not checked"}
    rows = (row(a.label, words[a.is_passed], a.detail) for a in record.audit)
    return table("Training audit.", ("Check", "Result", "Detail"), rows)


def stages_table(record: ReportRecord) -> Table:
    """Every stage run under this report."""
    rows = (
        row(
            Cell(text=s.name, detail="reused" if s.is_reused else "ran"),
            code(s.run_id),
            number(write_seconds(s.seconds)),
            code(s.fingerprint[:SHORT_DIGEST], title=s.fingerprint),
            code(_named_digests(s.inputs)),
            code(_named_digests(s.artifacts)),
            id=f"run-{s.run_id}",
        )
        for s in record.stages
    )
    head = ("Stage", "Run", "Took", "Fingerprint", "Inputs", "Artifacts")
    return table("A stage with the same fingerprint is reused, not run again.", head, rows, is_dense=True)


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
            row(
                Cell(text=named.key, detail=index.write(named.finding).effect),
                Cell(
                    text="\n".join(dict.fromkeys(s.run_id[:SHORT_RUN] for s in sources)) or "not recorded",
                    title=" ".join(dict.fromkeys(s.run_id for s in sources)),
                    href=f"run-{first.run_id}" if first and first.run_id in runs else "",
                    is_code=bool(sources),
                ),
                Cell(text=where or "not recorded", is_code=bool(sources)),
                code("\n".join(s.digest[:SHORT_DIGEST] for s in sources), title=" ".join(s.digest for s in sources)),
                code(index.trace(named)),
                id=named.anchor,
            )
        )
    head = ("Number", "Run", "File and rows", "Digest", "Walk there")
    return table("The path from each number to its rows.", head, rows, is_dense=True)


def versions_table(record: ReportRecord) -> Table:
    """Package versions."""
    rows = (row(name, code(version)) for name, version in sorted(record.versions.items()))
    return table("Versions.", ("Package", "Version"), rows)


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


def _named_digests(digests: Mapping[str, str]) -> str:
    return "\n".join(f"{name} {digest[:SHORT_DIGEST]}" for name, digest in digests.items()) or "none"
