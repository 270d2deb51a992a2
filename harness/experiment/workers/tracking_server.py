"""One MLflow server in front of a SQLite store while several processes log to it; it lives as long as its driver."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import FrameType

import uvicorn

from harness.child_processes import SAFE_PATH, answers, child_command, free_port
from harness.errors import UnavailableError
from harness.settings import Settings

START_SECONDS = 120.0
STOP_SECONDS = 10.0
_OWN = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def served(settings: Settings) -> Iterator[Settings]:
    """The same store behind a server on a free port of this machine; artifacts stay in the home's folder.

    Raises UnavailableError: the server does not answer; its last words are in the log.
    """
    port = free_port()
    log = settings.work / "mlflow-server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = child_command(
        "harness.experiment.workers.tracking_server", settings.tracking_uri, settings.artifacts.as_uri(), str(port)
    )
    with log.open("w") as words:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=words, stderr=words, env={**os.environ, **_OWN, **SAFE_PATH}
        )
    try:
        address = f"http://127.0.0.1:{port}"
        if not answers(f"{address}/health", process, within=START_SECONDS):
            raise UnavailableError(f"`mlflow server` must answer at {address}, but does not: see `{log}`")
        yield replace(settings, tracking_uri=address)
    finally:
        if process.stdin is not None:
            process.stdin.close()  # which ends it
        process.wait(timeout=3 * STOP_SECONDS)


class _UntilStdinEnds(uvicorn.Server):
    """Signals are the driver's, whose group this process is in: the store must outlive its last words."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Go on."""

    def end_with_stdin(self) -> None:
        """Wait for the driver to end, however it does; then stop."""
        sys.stdin.buffer.read()
        self.should_exit = True
        time.sleep(STOP_SECONDS)
        os._exit(1)


def main(store: str, artifacts: str, port: str) -> None:
    """What `mlflow server` does, in this process: of a tree of processes some outlive a driver that is killed."""
    from mlflow.server.constants import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR, REGISTRY_STORE_URI_ENV_VAR

    os.environ |= {
        BACKEND_STORE_URI_ENV_VAR: store,
        REGISTRY_STORE_URI_ENV_VAR: store,
        ARTIFACT_ROOT_ENV_VAR: artifacts,
    }
    config = uvicorn.Config("mlflow.server.fastapi_app:app", host="127.0.0.1", port=int(port), log_level="warning")
    server = _UntilStdinEnds(config)
    threading.Thread(target=server.end_with_stdin, daemon=True).start()
    server.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
