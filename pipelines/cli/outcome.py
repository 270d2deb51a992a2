"""What an experiment found: what was not tested first, then the verdicts, then where the report lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.terminal import bold, green, red, warning
from pipelines.cli.presenter import LEVEL, Result, Table, counts

if TYPE_CHECKING:
    from harness.experiment.engine import Finished
    from harness.experiment.session import Session
    from harness.reporting.record import AuditRow, ReportRecord
    from harness.reporting.render import ReportFiles
    from harness.store.tracking import StageResult
    from harness.types import Adapter

WORSE_EXIT = 3
UNTESTED_EXIT = 4
GateOption = Annotated[
    bool,
    typer.Option(
        "--gate", help="For use in CI: exit 3 when B is worse on any declared measure, 4 when something was not tested."
    ),
]
_WORDS = {True: green("pass"), False: red("fail"), None: "not checked"}


def evaluation(session: Session, evaluated: Finished) -> Result:
    """A finished evaluation, comparison or quickstart."""
    run = session.parent
    keys = ("name", "description", "base", "adapter", "digest")
    variants = [{key: getattr(variant, key) for key in keys} for variant in evaluated.record.variants]
    return experiment(
        evaluated.record,
        evaluated.files,
        run_id=run,
        stages=session.done,
        seconds=evaluated.seconds,
        besides={"experiment_id": session.tracking.run(run).experiment_id if run else None, "variants": variants},
    )


def ablation(finished: Finished, **besides: object) -> Result:
    """A finished ablation, or what is built on one."""
    kinds = [task.kind for task in finished.plan.tasks.values()]
    work = finished.record.ablation.work if finished.record.ablation else None
    return experiment(
        finished.record,
        finished.files,
        run_id=finished.run_id,
        stages=finished.stages,
        seconds=finished.seconds,
        besides={
            "wall_seconds": round(finished.ran.seconds, 2),
            "stage_seconds": round(work.stage_seconds, 2) if work else None,
            "n_workers": work.n_workers if work else None,
            "stage_counts": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
            "missing": finished.lost,
            **besides,
        },
    )


def gated(found: Result, record: ReportRecord, *, control: str, treatment: str) -> Result:
    """The result with the exit code of a gate that is closed."""
    from harness.experiment.compare import worse_measures

    if worse := worse_measures(record):
        closed = f"the gate is closed: {treatment} is worse than {control} on {', '.join(worse)}"
        return replace(found, failure=closed, exit_code=WORSE_EXIT)
    untested = record.absences[0].said if record.absences else "" if record.primary else "no measure was declared"
    if untested:
        closed = f"the gate is closed, for not everything was tested: {untested}"
        return replace(found, failure=closed, exit_code=UNTESTED_EXIT)
    return found


def experiment(
    record: ReportRecord,
    files: ReportFiles,
    *,
    run_id: str | None,
    stages: Sequence[StageResult],
    seconds: float,
    besides: dict[str, Any],
) -> Result:
    """Any finished experiment; the keys are an interface that others script against."""
    from harness.reporting.finding_index import absences_json, findings_json

    return Result(
        data={
            "absences": absences_json(record),
            "report": str(files.html),
            "run_id": run_id,
            "elapsed_seconds": round(seconds, 2),
            **besides,
            "stages": [
                {
                    **{key: getattr(stage, key) for key in ("name", "run_id", "reused")},
                    "reused_from": stage.source_run_id if stage.reused else None,
                    "seconds": round(stage.seconds, 3),
                    "fingerprint": stage.fingerprint,
                }
                for stage in stages
            ],
            "estimates": findings_json(record),
        },
        shown=(
            *(f"{bold(red('not tested: '))}{absence.said}" for absence in record.absences),
            verdicts(record),
            audit_table(record.audit),
            f"report: {files.html}",
        ),
        notes=(warning(record.caveat),) if record.caveat else (),
    )


def verdicts(record: ReportRecord) -> Table:
    """The declared contrasts."""
    columns = ("Measure", "Contrast", f"Difference, {LEVEL} interval", "df", "n", "Verdict")
    return Table(columns=columns, rows=list(_verdicts(record)))


def _verdicts(record: ReportRecord) -> Iterator[tuple[object, ...]]:
    from harness.reporting.finding_index import index

    indexed = index(record)
    for named in indexed.of_contrasts():
        finding, written = named.finding, indexed.write(named.finding)
        yield (
            indexed.measures[finding.name].label,
            finding.contrast,
            written,
            None if finding.estimate.df is None else f"{finding.estimate.df:.3g}",
            counts(written),
            finding.verdict.label if finding.verdict else None,
        )


def training(
    trained: StageResult, adapter: Adapter, record: Mapping[str, Any], audit: Sequence[AuditRow], **besides: object
) -> Result:
    """A training with its audit, one line a check."""
    return Result(
        data={
            "run_id": trained.run_id,
            "reused": trained.reused,
            "adapter": f"{adapter.name}/{adapter.version}",
            "digest": adapter.digest,
            **besides,
            "training": {key: value for key, value in record.items() if key != "curves"},
            "audit": [{"check": r.label, "passed": r.is_passed, "detail": r.detail} for r in audit],
        },
        shown=(audit_table(audit),),
    )


def audit_table(rows: Sequence[AuditRow]) -> Table:
    """The training audit: one line a check."""
    columns = ("Check", "Result", "Detail")
    return Table(title="Training audit", columns=columns, rows=[(r.label, _WORDS[r.is_passed], r.detail) for r in rows])
