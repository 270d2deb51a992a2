"""The paper's pipeline (arXiv 2502.16274) as one experiment: trainings and scores, then the studies that people do.

The file is an ablation with `studies` besides, whose replies and pairs are those of the run, and perhaps a `stand_in`:
a local server that this command starts in place of a paid one.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.child_processes import answers, child_command, free_port
from harness.config import parse
from harness.errors import InputError, UnavailableError
from harness.experiment.arms import AblationDesign
from harness.experiment.design import Name
from harness.experiment.engine import Finished
from harness.experiment.evaluate import load_design
from harness.experiment.judges.spending import Spending
from harness.experiment.plan import plan_ablation
from harness.experiment.planning.preflight_table import Preflight
from harness.experiment.preflight import look, require_affordable
from harness.experiment.preparing import prompts_of
from harness.experiment.session import Session
from harness.experiment.shipped import experiments_folder
from harness.experiment.workers.here import run_here
from harness.models.endpoint.prices import Budget
from harness.store.tracking import Tracking
from harness.studies.create import draw_declared
from harness.studies.studies import Created, create_study, list_studies
from harness.studies.study_design import StudyDesign
from pipelines.preferences.pair_builder import PairsConfig
from pipelines.preferences.pair_files import PAIRS
from pipelines.preferences.preflight import pair_calls

DESIGN_FILE = "paper.yaml"
SERVER_VARIABLE = "OPENAI_BASE_URL"
PORT = 8411
SECONDS_A_VOTE, SECONDS_A_MARK = 20, 10
_PATIENCE = 300.0  # seconds for a local server to load its model


class PaperDesign(AblationDesign):
    """An ablation and the studies that follow it."""

    studies: dict[Name, dict[str, Any]] = Field(default_factory=dict)  # study files without their `source`
    stand_in: str | None = None  # base that a local server serves as `base`, in place of the judges' own


@dataclass(frozen=True, slots=True, kw_only=True)
class Studies:
    """The studies of a finished run."""

    made: tuple[Created, ...]
    standing: tuple[str, ...]  # names of those that were made before
    lacking: Mapping[str, str]  # names of those that cannot be made yet, with why


def load_paper(*, profile: str, corpus: str | None) -> tuple[Path, PaperDesign]:
    """The shipped file with a profile's settings, and where it lies.

    Raises ConfigError: there is no such profile, or a study breaks a rule: before anything is trained.
    """
    file = experiments_folder() / DESIGN_FILE
    design = load_design(file, PaperDesign, profile=profile, corpus=corpus)
    for study in design.studies:
        study_design(design, study, run="latest", pairs=PAIRS)
    return file, design


def study_design(design: PaperDesign, study: str, *, run: str, pairs: str) -> StudyDesign:
    """A declared study on the replies of a run, an audit on its pairs."""
    declared = design.studies[study]
    source = {"pairs": pairs, "split": "train"} if declared.get("kind") == "audit" else {"run": run}
    return parse({**declared, "source": source}, StudyDesign, where=f"{DESIGN_FILE}: studies.{study}")


def look_at_paper(
    tracking: Tracking, design: PaperDesign, *, file: Path, limit: int | None, is_forced: bool, budget_usd: float | None
) -> Preflight:
    """What the whole would take: trainings, replies, the judges' calls, those for the pairs, and people's minutes.

    Raises InputError: the data cannot be read, without which nothing else can be looked at.
    """
    budget = None if budget_usd is None else Budget(budget_usd)
    session = Session(tracking=tracking, is_forced=is_forced, spending=Spending(budget=budget))
    plan = plan_ablation(design, folder=file.parent, limit=limit)
    found = look(session, design, plan, folder=file.parent)
    prepare = next(plan.tasks[cell.prepared] for cell in plan.cells)
    pairs = next(task for task in plan.tasks.values() if task.kind == "pairs")
    (prepared,) = run_here(session, {prepare.key: prepare}).values()
    found.planned += pair_calls(session.dry(), PairsConfig.model_validate(dict(pairs.settings)),
                                prompts_of(prepared, "train"))  # fmt: skip
    found.checks = [check for check in found.checks if check.what != "money"]  # without the pairs
    found.say_money(session)
    if budget_usd is not None:
        require_affordable(found, budget_usd)
    for study in design.studies:
        declared = study_design(design, study, run="latest", pairs=PAIRS)
        found.say("people", f"{declared.name}: {_people(declared)}")
    return found


def _people(study: StudyDesign) -> str:
    """How long raters sit, at an assumed pace: nobody has been timed yet."""
    per_prompt = len(study.variants) if study.kind == "likert" else 1
    seconds = SECONDS_A_MARK * len(study.criteria) if study.kind == "likert" else SECONDS_A_VOTE
    n = math.ceil((study.target.prompts or 0) * per_prompt * (1 + study.repeats)) + study.attention
    minutes = math.ceil(n * seconds / 60)
    return f"{study.panel.raters} raters × {n} items, about {minutes} minutes each at {seconds} s an item (assumed)"


def make_studies(tracking: Tracking, design: PaperDesign, finished: Finished) -> Studies:
    """Make the studies that do not stand yet, for raters to begin."""
    from harness.store.database import open_database

    engine = open_database(tracking.settings.database_url)
    known = {study.name for study in list_studies(engine)}
    session = Session(tracking=tracking)
    folder = _pairs_folder(tracking, finished)
    made, standing, lacking = [], [], dict[str, str]()
    for study in design.studies:
        declared = study_design(design, study, run=finished.run_id, pairs=str(folder / PAIRS) if folder else PAIRS)
        if declared.name in known:
            standing.append(declared.name)
            continue
        try:
            made.append(create_study(engine, draw_declared(session, declared, folder=folder or Path())))
        except InputError as err:  # the scores stand all the same
            lacking[declared.name] = str(err)
    return Studies(made=tuple(made), standing=tuple(standing), lacking=lacking)


def _pairs_folder(tracking: Tracking, finished: Finished) -> Path | None:
    keys = [key for key, task in finished.plan.tasks.items() if task.kind == "pairs" and key in finished.ran.runs]
    return tracking.folder(finished.ran.runs[keys[0]]) if keys else None


@contextlib.contextmanager
def stand_in(base: str | None) -> Iterator[str | None]:
    """A local server for judges that name no endpoint, unless `OPENAI_BASE_URL` names one; gives its address.

    Raises UnavailableError: it does not answer.
    """
    if base is None or os.environ.get(SERVER_VARIABLE):
        yield None
        return
    port = free_port(PORT)  # the same each time, where it is free: what a judge's scores are known by holds the address
    url = f"http://127.0.0.1:{port}/v1"
    command = child_command("pipelines.cli", "serve", "base", "--base", base, "--port", str(port))
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet) as server:
        os.environ[SERVER_VARIABLE] = url
        try:
            if not answers(f"{url}/models", server, within=_PATIENCE):
                raise UnavailableError(f"`{url}` must answer within {_PATIENCE:.0f} s, the local server did not")
            yield url
        finally:
            del os.environ[SERVER_VARIABLE]
            server.terminate()
