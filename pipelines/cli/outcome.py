"""How a verb shows a finished evaluation: what was not tested first, then verdicts, then where the report lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.terminal import warning
from pipelines.cli.auditing import show_audit
from pipelines.cli.console import emit, say, stdout, table

if TYPE_CHECKING:
    from harness.experiment.engine import Finished
    from harness.experiment.session import Session
    from harness.reporting.record import ReportRecord


def show(session: Session, evaluated: Finished, *, json: bool) -> None:
    """Verdicts as a table and the report's path; with `json`, one object instead."""
    if json:
        emit(outcome(session, evaluated))
        return
    from harness.reporting.findings import index

    show_absences(evaluated.record)
    indexed = index(evaluated.record)
    rows = []
    for named in indexed.of_contrasts():
        finding, written = named.finding, indexed.write(named.finding)
        verdict = finding.verdict.label if finding.verdict else ""
        measure = indexed.measures[finding.name].label
        rows.append((measure, finding.contrast or "", written.effect, written.rows, verdict))
    table("", ("Measure", "Contrast", "Difference, 95 % interval", "n", "Verdict"), rows)
    show_audit(evaluated.record.audit)
    if evaluated.record.caveat:
        say(warning(evaluated.record.caveat))
    stdout().print(f"report: {evaluated.files.html}", soft_wrap=True)


def show_absences(record: ReportRecord) -> None:
    """What was declared or given and is in no number, a line each."""
    from rich.text import Text

    for absence in record.absences:
        stdout().print(
            Text("not tested: ", style="bold red").append(Text(absence.said, style="default")), soft_wrap=True
        )


def outcome(session: Session, evaluated: Finished) -> dict[str, Any]:
    """The result as others script against it."""
    from harness.reporting.findings import absences_json, findings_json

    return {
        "absences": absences_json(evaluated.record),
        "report": str(evaluated.files.html),
        "run_id": session.parent,
        "experiment_id": session.tracking.run(session.parent).experiment_id if session.parent else None,
        "elapsed_seconds": round(evaluated.seconds, 2),
        "stages": [
            {
                "name": stage.name,
                "run_id": stage.run_id,
                "reused": stage.reused,
                "reused_from": stage.source_run_id if stage.reused else None,
                "seconds": round(stage.seconds, 3),
                "fingerprint": stage.fingerprint,
            }
            for stage in session.done
        ],
        "variants": [
            {"name": v.name, "description": v.description, "base": v.base, "adapter": v.adapter, "digest": v.digest}
            for v in evaluated.record.variants
        ],
        "estimates": findings_json(evaluated.record),
    }
