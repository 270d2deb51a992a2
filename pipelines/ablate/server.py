"""One MLflow server in front of a SQLite store while several processes log to it; it lives as long as its driver."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

from harness.errors import UnavailableError
from harness.settings import Settings

START_SECONDS = 120.0
_OWN = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def served(settings: Settings) -> Iterator[Settings]:
    """The same store behind a server on a free port of this machine; artifacts stay in the home's folder.

    Raises:
        UnavailableError: the server does not answer; its last words are in the log.
    """
    port = _free_port()
    log = settings.work / "mlflow-server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "pipelines.ablate.server",
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", settings.tracking_uri,
        "--default-artifact-root", settings.artifacts.as_uri(), "--no-serve-artifacts",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    with log.open("w") as words:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=words, stderr=words, env={**os.environ, **_OWN}
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _await(address, process, str(log))
        yield replace(settings, tracking_uri=address)
    finally:
        if process.stdin is not None:
            process.stdin.close()  # the guard sees it and ends the server
        process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(address: str, process: subprocess.Popen[bytes], log: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise UnavailableError(f"`mlflow server` must answer at {address}, but does not: see `{log}`")


def guard(command: list[str]) -> int:
    """Run a command until stdin ends, however the process at its other end died; then end all that it started."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's; the store must outlive its last words
    sys.stdin.buffer.read()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    try:
        return child.wait(timeout=10)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        return child.wait()


if __name__ == "__main__":
    guard(sys.argv[1:])
