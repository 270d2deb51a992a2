"""Whole commands on a base so small that a story takes seconds: `from stories import screentest, tiny_recipe`.

The commands run through `pipelines.cli.main` in this process, or in a process of their own where they are to be killed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
EXPERIMENTS = REPOSITORY / "experiments"
FOREIGN = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_RUN_ID",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "HF_TOKEN",
    "SCREENTEST_ENDPOINTS",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Stdout as the one JSON object that it must be."""
        assert self.code == 0, self.stderr
        return json.loads(self.stdout)


def screentest(*arguments: object, home: Path, env: Mapping[str, str] | None = None) -> Ran:
    """Run a command in this process."""
    from pipelines.cli import main

    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment(home, env), clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = 0
        try:
            main([str(a) for a in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Ran(code=code, stdout=out.getvalue(), stderr=err.getvalue())


def spawned(*arguments: object, home: Path, env: Mapping[str, str] | None = None) -> Ran:
    """Run a command in a process of its own."""
    done = subprocess.run(command(*arguments), env=environment(home, env), capture_output=True, text=True, check=False)
    return Ran(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def command(*arguments: object) -> list[str]:
    """The command line of a process."""
    return [sys.executable, "-c", "from pipelines.cli import main; main()", *(str(a) for a in arguments)]


def environment(home: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with all state under `home`, wide enough that no line of a message is broken."""
    kept = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    return {**kept, "SCREENTEST_HOME": str(home), "COLUMNS": "200", "PYTHONPATH": str(REPOSITORY), **(env or {})}


def fresh_home(folder: Path) -> Path:
    """A home whose empty store is copied: MLflow takes seconds to make one."""
    folder.mkdir(parents=True)
    shutil.copyfile(_empty_store(), folder / "mlflow.db")
    return folder


@functools.cache
def _empty_store() -> Path:
    from harness.settings import Settings
    from harness.store.tracking import Tracking

    home = Path(tempfile.mkdtemp(prefix="screentest-store-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    _ = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)})).client
    return home / "mlflow.db"


def changed(data: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Settings with leaves replaced, which `changes` name as `section__key`."""
    for name, value in changes.items():
        section, _, key = name.partition("__")
        data = {**data, section: {**data[section], key: value} if key else value}
    return data


def tiny_recipe(file: Path, base: Path, **changes: Any) -> Path:
    """The recipe that ships, on a tiny base and few tokens; `changes` name leaves as `section__key`."""
    data = yaml.safe_load((EXPERIMENTS / "recipes" / "sft" / "embedded.yaml").read_text())
    tiny = {
        "name": "tiny-sft",
        "base__source": str(base),
        "quantization": "none",
        "data__train_tokens": 3000,
        "optimizer__learning_rate": 1e-2,
        "lora__rank": 4,
        "validation__every_steps": 2,
        "validation__max_tokens": 1000,
        "checkpoint_steps": 1,
    }
    file.write_text(yaml.safe_dump(changed(data, **{**tiny, **changes})))
    return file


def tiny_preference_recipe(file: Path, base: Path, **changes: Any) -> Path:
    """The preference recipe that ships, on a tiny base and few pairs; `changes` name leaves as `section__key`."""
    data = yaml.safe_load((EXPERIMENTS / "recipes" / "dpo" / "embedded.yaml").read_text())
    tiny = {
        "name": "tiny-dpo",
        "base__source": str(base),
        "parent": "tiny-sft@candidate",
        "quantization": "none",
        "data__n_pairs": 8,
        "data__max_tokens": 480,
        "data__pairs_per_pack": 2,
        "validation__n_pairs": 2,
        "validation__n_replies": 2,
        "validation__max_new_tokens": 8,
        "checkpoint_steps": 1,
    }
    file.write_text(yaml.safe_dump(changed(data, **{**tiny, **changes})))
    return file


def tiny_experiment(file: Path, *, prefers: bool = False, **changes: Any) -> Path:
    """The quickstart's experiment without judges, and with little to generate; without DPO unless it `prefers`."""
    data = yaml.safe_load((EXPERIMENTS / "quickstart.yaml").read_text())
    if not prefers:
        del data["variants"]["dpo"]
        data["contrasts"] = [contrast for contrast in data["contrasts"] if "dpo" not in contrast["arms"]]
    data["measures"] = {name: m for name, m in data["measures"].items() if "judge" not in m}
    data["variants"]["base-few-shot"]["shots"] = 1
    data["data"] |= {"prompts": 24, "heldout_prompts": 30, "max_tokens": 300}
    data["decoding"]["max_new_tokens"] = 12
    file.write_text(yaml.safe_dump(data | changes))
    return file
