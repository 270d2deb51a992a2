"""`screentest ablate`: a question, arms × seeds, one report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.terminal import warning
from pipelines.cli.console import (
    EndpointsOption,
    ForceOption,
    JsonOption,
    LimitOption,
    emit,
    say,
    stderr,
    stdout,
    table,
    use_endpoints,
)


class ExecutorChoice(StrEnum):
    """Where arms run."""

    LOCAL = "local"
    RAY = "ray"


def ablate(
    file: Annotated[Path, typer.Argument(help="An ablation, e.g. experiments/ablations/neftune.yaml.")],
    profile: Annotated[str | None, typer.Option(help="A profile of the file, e.g. `quick` or `full`.")] = None,
    executor: Annotated[ExecutorChoice, typer.Option(help="Processes here, or a Ray cluster.")] = ExecutorChoice.LOCAL,
    workers: Annotated[int, typer.Option(help="Stages at once.", min=1, max=256)] = 2,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to use, e.g. `auto`; without it, one is started here.")
    ] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs that a stage takes on Ray.", min=0)] = None,
    corpus: Annotated[str | None, typer.Option(help="Instead of the file's corpus.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Instead of the file's seeds; may be given again.")] = None,
    endpoint: EndpointsOption = None,
    limit: LimitOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Train and compare the arms of an ablation over several seeds, and write its report.

    What two arms share is done once. Killed at any moment, the same command goes on from there; an arm that fails twice
    is reported as missing and the rest is analysed.
    """
    from harness.experiment.ablate import Executor, load_ablation, run
    from harness.store.tracking import Tracking

    use_endpoints(endpoint)
    design = load_ablation(file, profile=profile, corpus=corpus, seeds=tuple(seed or ()))
    ablated = run(
        Tracking(),
        design,
        file=file,
        profile=profile,
        executor=Executor(name=executor.value, n_workers=workers, address=address, gpus=gpus),
        console=stderr(),
        say=say,
        limit=limit,
        is_forced=force,
    )
    if json:
        emit(_outcome(ablated))
        return
    _show(ablated)


def _show(ablated: Any) -> None:
    from harness.reporting.findings import index
    from pipelines.cli.outcome import show_absences

    show_absences(ablated.record)
    indexed = index(ablated.record)
    rows = []
    for named in indexed.of_contrasts():
        written = indexed.write(named.finding)
        verdict = named.finding.verdict.label if named.finding.verdict else ""
        freedom = named.finding.estimate.df
        rows.append(
            (
                indexed.measures[named.finding.name].label,
                named.finding.contrast or "",
                written.effect,
                "" if freedom is None else f"{freedom:.3g}",
                written.rows,
                verdict,
            )
        )
    table("", ("Measure", "Contrast", "Difference, 95 % interval", "df", "n", "Verdict"), rows)
    if ablated.record.caveat:
        say(warning(ablated.record.caveat))
    stdout().print(f"report: {ablated.files.html}", soft_wrap=True)


def _outcome(ablated: Any) -> dict[str, Any]:
    """The result as others script against it."""
    from harness.reporting.findings import absences_json, findings_json

    work = ablated.record.ablation.work
    kinds = [task.kind for task in ablated.plan.tasks.values()]
    return {
        "absences": absences_json(ablated.record),
        "report": str(ablated.files.html),
        "run_id": ablated.run_id,
        "elapsed_seconds": round(ablated.seconds, 2),
        "wall_seconds": round(ablated.ran.seconds, 2),
        "stage_seconds": round(work.stage_seconds, 2),
        "n_workers": work.n_workers,
        "stage_counts": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "missing": dict(ablated.lost),
        "stages": [
            {
                "name": stage.name,
                "run_id": stage.run_id,
                "reused": stage.reused,
                "seconds": round(stage.seconds, 3),
                "fingerprint": stage.fingerprint,
            }
            for stage in ablated.stages
        ],
        "estimates": findings_json(ablated.record),
    }
