"""Reports of finished analyses: finding the record of a run, and writing its pages where a person looks for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.reporting.render import ReportFiles, read_record, write_report
from harness.reporting.safe_text import slug

if TYPE_CHECKING:
    from harness.reporting.record import ReportRecord
    from harness.store.tracking import RunInfo, Tracking

ANALYSIS = "analyse"  # the stage whose run holds a record
RECORD = "report.json"


def record_of(tracking: Tracking, run_id: str) -> ReportRecord:
    """The report record of a run: of an analysis, or of the command above it.

    Raises InputError: the run is unknown, or nothing under it was analysed.
    """
    info = analysis_of(tracking, tracking.run(run_id))
    return read_record(tracking.folder(info.run_id) / RECORD)


def analysis_of(tracking: Tracking, info: RunInfo) -> RunInfo:
    """The run that did the analysis: this one, the one it was reused from, or the newest among its children."""
    if info.stage == ANALYSIS:
        return tracking.source_of(info)
    below = [child for child in tracking.children(info.run_id) if child.stage == ANALYSIS]
    if not below:
        raise InputError(
            f"`{info.run_id}` is a run of `{info.stage or 'unknown'}` without an analysis; "
            "give the run of an evaluation, comparison or quickstart, or `latest`"
        )
    return tracking.source_of(below[-1])


def analyses(tracking: Tracking, *, limit: int = 100) -> list[RunInfo]:
    """Finished analyses, newest first; runs that only point at an earlier one are left out."""
    return tracking.originals(stage=ANALYSIS, limit=limit)


def export_report(tracking: Tracking, record: ReportRecord, *, folder: Path | None = None) -> ReportFiles:
    """Write HTML, Markdown and JSON into a folder, by default `<home>/reports/<title>-<run>`."""
    target = folder or tracking.settings.home / "reports" / f"{slug(record.title)}-{record.run_id[:8]}"
    target.mkdir(parents=True, exist_ok=True)
    return write_report(record, target)
