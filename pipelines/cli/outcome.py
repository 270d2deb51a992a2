"""What an experiment found: what was not tested first, then the verdicts, then where the report lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from harness.terminal import bold, green, red, warning
from pipelines.cli.presenter import LEVEL, Result, Table, counts

if TYPE_CHECKING:
    from harness.experiment.engine import Finished
    from harness.experiment.session import Session
    from harness.reporting.record import AuditRow, ReportRecord

WORSE_EXIT = 3
UNTESTED_EXIT = 4
GateOption = Annotated[
    bool,
    typer.Option(
        "--gate", help="For use in CI: exit 3 when B is worse on any declared measure, 4 when something was not tested."
    ),
]
VERDICTS = ("Measure", "Contrast", f"Difference, {LEVEL} interval", "df", "n", "Verdict")
_WORDS = {True: green("pass"), False: red("fail"), None: "not checked"}


def evaluation(session: Session, finished: Finished) -> Result:
    """A finished evaluation, comparison or quickstart."""
    keys = ("name", "description", "base", "adapter", "digest")
    variants = [{key: getattr(variant, key) for key in keys} for variant in finished.record.variants]
    experiment_id = session.tracking.run(finished.run_id).experiment_id
    return _experiment(finished, {"experiment_id": experiment_id, "variants": variants})


def ablation(finished: Finished, **besides: object) -> Result:
    """A finished ablation, or what is built on one."""
    kinds = [task.kind for task in finished.plan.tasks.values()]
    work = finished.record.ablation.work if finished.record.ablation else None
    return _experiment(
        finished,
        {
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


def _experiment(finished: Finished, besides: Mapping[str, object]) -> Result:
    """Any finished experiment; the keys are an interface that others script against."""
    from harness.reporting.finding_index import absences_json, findings_json

    record = finished.record
    return Result(
        data={
            "absences": absences_json(record),
            "report": str(finished.files.html),
            "run_id": finished.run_id,
            "elapsed_seconds": round(finished.seconds, 2),
            **besides,
            "stages": [
                {
                    **{key: getattr(stage, key) for key in ("name", "run_id", "reused")},
                    "reused_from": stage.source_run_id if stage.reused else None,
                    "seconds": round(stage.seconds, 3),
                    "fingerprint": stage.fingerprint,
                }
                for stage in finished.stages
            ],
            "estimates": findings_json(record),
        },
        shown=(
            *(f"{bold(red('not tested: '))}{absence.said}" for absence in record.absences),
            Table(columns=VERDICTS, rows=list(_verdicts(record))),
            audit_table(record.audit),
            f"report: {finished.files.html}",
        ),
        notes=(warning(record.caveat),) if record.caveat else (),
    )


def _verdicts(record: ReportRecord) -> Iterator[tuple[object, ...]]:
    """The declared contrasts, a row each."""
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


def audit_table(rows: Sequence[AuditRow]) -> Table:
    """The training audit: one line a check."""
    columns = ("Check", "Result", "Detail")
    return Table(title="Training audit", columns=columns, rows=[(r.label, _WORDS[r.is_passed], r.detail) for r in rows])
