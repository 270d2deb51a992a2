"""Evaluation files that people already have: replies and scores of another tool become an experiment like any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.config import parse
from harness.doors.peers.formats import peer, read_peer
from harness.doors.peers.peer import Asked, PeerRow, PeerRun
from harness.doors.text import is_absent, repair_text
from harness.errors import InputError
from harness.experiment.compare import judge_measures
from harness.experiment.design import EvaluationDesign, directed
from harness.experiment.engine import Finished
from harness.experiment.evaluate import run as evaluate
from harness.experiment.imported_scores import import_stage
from harness.experiment.matching import By, Matched, match
from harness.experiment.session import Session
from harness.experiment.sources import data_file
from harness.experiment.task_choice import choose_task, with_task
from harness.reporting.safe_text import slug
from harness.settings import Settings
from harness.types import Direction

MIN_CLUSTERS = 10  # tasks, from which on they are the clusters
MADE_BEFORE = "The files were made elsewhere, before this comparison was declared."


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Runs of another tool, matched, with what is to be said of them."""

    tool: str
    runs: Mapping[str, PeerRun]  # by the name of their arm; the control first
    matched: Matched
    measures: tuple[str, ...]  # that every run has
    better: Mapping[str, Direction]  # of those whose direction is known: only these are claimed on
    cluster: str | None  # what the clusters are; None: each question is one
    notes: tuple[str, ...]


def read_files(
    tool: str,
    files: Sequence[tuple[str | None, Path]],
    *,
    control: str | None = None,
    measures: Sequence[str] = (),
    lower: Sequence[str] = (),
    by: By = "auto",
    cluster: str | None = None,
    is_shared_only: bool = False,
) -> Imported:
    """Files of one tool, read whole and matched before anything is stored.

    Args:
        files: with the names that their runs are given, if any.
        control: the run that the others are compared with; without it the first.
        measures: to claim something on, more being better; without them all that every run has.
        cluster: a key of the rows' own data whose values are resampled as one.
        is_shared_only: leave out what is not in all runs.

    Raises:
        InputError: fewer than two runs, nothing in common, or a name that is not there.
    """
    found = peer(tool)
    runs = _named(found.joins([run for name, file in files for run in _called(read_peer(tool, file), name)]))
    if len(runs) < 2:
        got = ", ".join(runs) or "none"
        raise InputError(f"an import compares at least two runs, got {got}: name another file of {found.tool}")
    if control is not None and control not in runs:
        raise InputError(f"`--control` must be one of {', '.join(runs)}, got {control!r}")
    runs = {name: runs[name] for name in sorted(runs, key=lambda name: name != control)} if control else runs
    matched = match(runs, by=by)
    wanted, notes = _measures(runs, [*measures, *lower] if measures else (), lower=lower)
    better = {measure: _direction(runs, measure, measures, lower) for measure in wanted}
    if unclear := [measure for measure, direction in better.items() if direction is None]:
        listed = ", ".join(f"`{measure}`" for measure in unclear)
        notes.append(
            f"Shown and not claimed on, for no file says which way is better: {listed} (`--lower`, `--measure`)."
        )
    noun, said = _cluster(matched, cluster)
    return Imported(
        tool=found.tool,
        runs=runs,
        matched=matched.shared() if is_shared_only else matched,
        measures=wanted,
        better={measure: direction for measure, direction in better.items() if direction},
        cluster=noun,
        notes=(*_notes(runs), *matched.notes, *notes, *said),
    )


def compare_imported(
    session: Session,
    imported: Imported,
    *,
    judges: Sequence[Path],
    min_effect: float,
    seed: int,
    task: str | None = None,
) -> Finished:
    """Store what was read as test data, replies and scores, and run the experiment that compares them.

    Where no run has scores, replies are compared with the references in the files, as the task asks.
    """
    settings = Settings.from_environment()
    rows = imported.matched.rows
    file = data_file([_prompt(key, by_run, imported.cluster) for key, by_run in rows.items()], settings)
    variants = {name: _variant(name, imported, settings) for name in imported.runs}
    declared = {name: _measure(session, name, imported, settings, min_effect) for name in imported.measures}
    judged, shown = judge_measures(judges), _of_replies(imported.runs)
    chosen = choose_task(str(file), named=task)
    if not declared and shown and chosen.has_references:  # no scores, but right answers to compare replies with
        declared = {name: {} for name in chosen.kind.measures}
    described: dict[str, Any] = {name: {} for name in shown if name not in declared | judged}
    control, *others = imported.runs
    design = with_task(
        {
            "schema": 1,
            "name": slug(f"{' and '.join(others)} against {control}")[:80].strip("-"),
            "question": f"Is {' or '.join(others)} better than {control}?",
            "variants": variants,
            "control": control,
            "data": {"file": str(file), "prompts": None, "max_tokens": 10**9},
            "measures": declared | judged | described,
            "contrasts": [{"name": f"{name}-{control}"[:80], "arms": [name, control]} for name in others],
            "family": {"measures": directed(declared | judged)},
            "decision": "Prefer a run when it is better on a declared measure and worse on none.",
            "caveat": " ".join([MADE_BEFORE, *imported.matched.notes]),
            "seed": seed,
        },
        chosen,
    )
    return evaluate(session, parse(design, EvaluationDesign, where="import"), folder=Path.cwd())


def _called(runs: list[PeerRun], name: str | None) -> list[PeerRun]:
    if name is None:
        return runs
    return [replace(run, name=name if len(runs) == 1 else f"{name} {run.name}") for run in runs]


def _named(runs: Sequence[PeerRun]) -> dict[str, PeerRun]:
    """Runs under names of their own; those that others were judged against stand only where there is nobody else."""
    if sum(not run.is_reference for run in runs) > 1:
        runs = [run for run in runs if not run.is_reference]
    names = [slug(run.name) or slug(run.file.stem) or "run" for run in runs]
    twice = {name for name, n in Counter(names).items() if n > 1}
    stems = [slug(run.file.stem) for run in runs]
    is_told = len({(name, stem) for name, stem in zip(names, stems, strict=True)}) == len(runs)
    found: dict[str, PeerRun] = {}
    for place, (name, stem, run) in enumerate(zip(names, stems, runs, strict=True)):
        own = name if name not in twice else f"{name[:38]}-{stem[-38:]}" if is_told else f"{name}-{place + 1}"
        found[own[:78] if own[:78] not in found else f"{own[:74]}-{place + 1}"] = run
    return found


def _direction(
    runs: Mapping[str, PeerRun], measure: str, wanted: Sequence[str], lower: Sequence[str]
) -> Direction | None:
    """Which way is better: as said, as the tool has it, and of shares up; else not known."""
    if measure in lower or (measure not in wanted and any(measure in run.lower for run in runs.values())):
        return "lower"
    return "higher" if measure in wanted or all(0 <= value <= 1 for value in _values(runs, measure)) else None


def _values(runs: Mapping[str, PeerRun], measure: str) -> list[float]:
    found = (row.scores.get(measure) for run in runs.values() for row in run.rows)
    return [value for value in found if value is not None]


def _measures(
    runs: Mapping[str, PeerRun], wanted: Sequence[str], *, lower: Sequence[str]
) -> tuple[tuple[str, ...], list[str]]:
    by_run = {name: set(run.measures) for name, run in runs.items()}
    all_of_them = list(dict.fromkeys(measure for run in runs.values() for measure in run.measures))
    shared = [measure for measure in all_of_them if all(measure in own for own in by_run.values())]
    if strangers := [measure for measure in (*wanted, *lower) if measure not in shared]:
        raise InputError(f"a measure must be one of {', '.join(shared) or 'none'}, got {strangers[0]!r}")
    lonely = [measure for measure in all_of_them if measure not in shared]
    notes = [f"Not in every run, and left out: {', '.join(f'`{m}`' for m in lonely)}."] if lonely else []
    alike = {
        measure: first
        for place, measure in enumerate(shared)
        if (first := next((other for other in shared[:place] if _is_same(runs, measure, other)), None)) is not None
    }
    if alike and not wanted:
        listed = ", ".join(f"`{measure}` (`{first}`)" for measure, first in alike.items())
        notes.append(f"The same as another measure in every row, and claimed on once: {listed}.")
        shared = [measure for measure in shared if measure not in alike]
    if not shared:
        notes.append("No score is in every run: only references in the files, or a judge (`--judge`), support a claim.")
    return tuple(wanted or shared), notes


def _is_same(runs: Mapping[str, PeerRun], measure: str, other: str) -> bool:
    return all(row.scores.get(measure) == row.scores.get(other) for run in runs.values() for row in run.rows)


def _cluster(matched: Matched, key: str | None) -> tuple[str | None, list[str]]:
    """What is resampled as one: what the user named, the task where there are many, else each question."""
    firsts = [next(iter(by_run.values()))[0] for by_run in matched.rows.values()]
    if key is not None:
        lacking = sum(_cluster_of(row, key) is None for row in firsts)
        if lacking:
            known = ", ".join(dict.fromkeys(k for row in firsts for k in ("task", *row.facts))) or "none"
            raise InputError(
                f"`--cluster {key}` must be in every row, it is not in {lacking:,} of them; known: {known}"
            )
        return key, []
    n_tasks = len({row.task for row in firsts})
    if n_tasks >= MIN_CLUSTERS and all(row.task for row in firsts):
        return "task", [f"The clusters are the {n_tasks:,} tasks: intervals speak of tasks like these."]
    if n_tasks > 1:
        return None, [f"{n_tasks} tasks are too few to be clusters: questions are taken as independent within them."]
    return None, []


def _cluster_of(row: PeerRow, key: str) -> str | None:
    return row.task if key == "task" and "task" not in row.facts else row.facts.get(key)


def _notes(runs: Mapping[str, PeerRun]) -> list[str]:
    said = [note for run in runs.values() for note in run.notes]
    versions = {name: run.version for name, run in runs.items()}
    if len(set(versions.values())) > 1:
        listed = "; ".join(f"{name}: {version or 'not told'}" for name, version in versions.items())
        said.append(f"The runs are of different versions, which may be part of the difference ({listed}).")
    for name, run in runs.items():
        if run.aside:
            kept = ", ".join(f"{what} ({n:,})" for what, n in run.aside.items())
            said.append(f"Set aside of {name}, not read: {kept}.")
    return said


def _prompt(key: str, by_run: Mapping[str, Sequence[PeerRow]], cluster: str | None) -> dict[str, Any]:
    """A question as a row of test data; the first run that tells it is believed."""
    rows = [row for found in by_run.values() for row in found]
    shown = next((row.prompt for row in rows if _is_said(row.prompt)), f"(question {key}, whose text is in no file)")
    references = (row.reference for row in rows)
    return {
        "id": key,
        "prompt": shown if isinstance(shown, str) else [{"role": m.role, "content": m.content} for m in shown],
        "completion": next((text for text in references if not is_absent(text)), None),
        "cluster": None if cluster is None else _cluster_of(rows[0], cluster),
    }


def _of_replies(runs: Mapping[str, PeerRun]) -> tuple[str, ...]:
    """Measures of replies that every run can have, shown beside the scores."""
    if not all(any(row.reply for row in run.rows) for run in runs.values()):
        return ()
    tell_ends = all(any(row.finish in ("stop", "length") for row in run.rows) for run in runs.values())
    return ("cut_off", "no_text", "length") if tell_ends else ("no_text", "length")


def _is_said(prompt: Asked) -> bool:
    if isinstance(prompt, str):
        return not is_absent(prompt)
    is_first = all(message.role != "system" for message in prompt[1:])
    return is_first and any(message.role == "user" and not is_absent(message.content) for message in prompt)


def _variant(name: str, imported: Imported, settings: Settings) -> dict[str, Any]:
    """A run as a file of replies, or, where it holds none, as scores alone."""
    run = imported.runs[name]
    source = f"{run.name or name}, from {run.file.name} of {imported.tool}"
    rows = [(key, row) for key, by_run in imported.matched.rows.items() for row in by_run.get(name, ())]
    if all(row.reply is None for _, row in rows):
        return {"scored": name, "source": source}
    replies = [
        {
            "prompt_id": key,
            "text": None if row.reply is None else repair_text(row.reply).text,
            "draw": row.draw,
            "finish_reason": row.finish,
        }
        for key, row in rows
    ]
    return {"generations": str(data_file(replies, settings)), "source": source}


def _measure(
    session: Session, measure: str, imported: Imported, settings: Settings, min_effect: float
) -> dict[str, Any]:
    """Scores of every run, stored; how they are read follows from their values."""
    rows = [
        {"prompt_id": key, "variant": name, "draw": row.draw, "value": row.scores.get(measure)}
        for key, by_run in imported.matched.rows.items()
        for name, found in by_run.items()
        for row in found
    ]
    stage = import_stage(session, data_file(rows, settings), measure=measure)
    values = _values(imported.runs, measure)
    is_share = all(0 <= value <= 1 for value in values)
    effect = {"value": min_effect, "unit": "share"} if is_share else {"value": 0.2, "unit": "sd_of_control"}
    return {
        "scores": stage.run_id,
        "better": imported.better.get(measure),
        "is_rate": all(value in (0, 1) for value in values),
        "smallest_effect": effect,
    }
