"""The paper's pipeline (arXiv 2502.16274) as one experiment: trainings and scores, then the studies that people do.

The file is an ablation with `studies` besides, whose replies and pairs are those of the run, and perhaps a `stand_in`:
a local server that this command starts in place of a paid one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.child_processes import child_command
from harness.config import parse
from harness.errors import InputError, UnavailableError
from harness.experiment.ablate import load_ablation
from harness.experiment.arms import AblationDesign
from harness.experiment.design import Name
from harness.experiment.engine import Finished
from harness.experiment.session import Session
from harness.experiment.shipped import experiments_folder
from harness.store.tracking import Tracking
from harness.studies.create import create_declared
from harness.studies.design import StudyDesign
from harness.studies.studies import Created, list_studies
from pipelines.preferences.files import PAIRS

DESIGN_FILE = "paper.yaml"
SERVER_VARIABLE = "OPENAI_BASE_URL"
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

    Raises:
        ConfigError: there is no such profile, or a study breaks a rule: before anything is trained.
    """
    file = experiments_folder() / DESIGN_FILE
    design = load_ablation(file, profile=profile, corpus=corpus, kind=PaperDesign)
    for study in design.studies:
        study_design(design, study, run="latest", pairs=PAIRS)
    return file, design


def study_design(design: PaperDesign, study: str, *, run: str, pairs: str) -> StudyDesign:
    """A declared study on the replies of a run, an audit on its pairs."""
    declared = design.studies[study]
    source = {"pairs": pairs, "split": "train"} if declared.get("kind") == "audit" else {"run": run}
    return parse({**declared, "source": source}, StudyDesign, where=f"{DESIGN_FILE}: studies.{study}")


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
            made.append(create_declared(session, engine, declared, folder=folder or Path()))
        except InputError as err:  # the scores stand all the same
            lacking[declared.name] = str(err)
    return Studies(made=tuple(made), standing=tuple(standing), lacking=lacking)


def _pairs_folder(tracking: Tracking, finished: Finished) -> Path | None:
    keys = [key for key, task in finished.plan.tasks.items() if task.kind == "pairs" and key in finished.ran.runs]
    return tracking.folder(finished.ran.runs[keys[0]]) if keys else None


@contextlib.contextmanager
def stand_in(base: str | None) -> Iterator[str | None]:
    """A local server for judges that name no endpoint, unless `OPENAI_BASE_URL` names one; gives its address.

    Raises:
        UnavailableError: it does not answer.
    """
    if base is None or os.environ.get(SERVER_VARIABLE):
        yield None
        return
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    command = child_command("pipelines.cli", "serve", "base", "--base", base, "--port", str(port))
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet) as server:
        os.environ[SERVER_VARIABLE] = url
        try:
            _wait_for(url, server)
            yield url
        finally:
            del os.environ[SERVER_VARIABLE]
            server.terminate()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + _PATIENCE
    while time.monotonic() < ends and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{url}/models", timeout=5):
            return
        time.sleep(0.2)
    raise UnavailableError(f"`{url}` must answer within {_PATIENCE:.0f} s, the local server in a judge's place did not")
