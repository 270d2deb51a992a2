"""Every test runs on its own state: no test can reach the developer's runs, caches or keys."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SCREENTEST_TRACES", "1")  # a trace takes as long as several scores of a tiny model

# A commit of SQLite waits for the disk: 15 ms on a slow one, some thousands in a run. In memory it takes 0.06.
MEMORY = Path("/dev/shm")
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ["TMPDIR"] = str(MEMORY)
    tempfile.tempdir = None

# Times on a shared machine say nothing about correctness; the same examples everywhere make a failure repeatable.
settings.register_profile("screentest", deadline=None, derandomize=True)
settings.load_profile("screentest")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="module")
def settled() -> None:
    """What earlier modules have left is looked through once, and by no collection that a training asks for."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def isolated_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point all state at a temporary folder; the converted embedded model stays shared, it is read-only."""
    monkeypatch.setenv("SCREENTEST_HOME", str(tmp_path / "mlruns"))
    for name in (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_RUN_ID",
        "MLFLOW_EXPERIMENT_ID",
        "MLFLOW_EXPERIMENT_NAME",
        "SCREENTEST_DATABASE_URL",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "SCREENTEST_ENDPOINTS",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def excerpt() -> Path:
    """Real Cornell text, never committed: `SCREENTEST_TEST_CORPUS` or the folder beside the checkout."""
    named = os.environ.get("SCREENTEST_TEST_CORPUS")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data" / "cornell-excerpt"
    if not folder.is_dir():
        pytest.skip("needs real corpus text: set SCREENTEST_TEST_CORPUS to a folder in Cornell's format")
    return folder
