"""A real rating server and a real browser: `Site.start(url)`, `browser()`."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECRET = "an-owner-secret-for-tests"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Site:
    """`screentest rate` in a process of its own."""

    database_url: str
    log: Path
    port: int
    owner: bool = False
    public: str | None = None  # the address that raters see, where a proxy stands in front
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.public or f"http://localhost:{self.port}"

    def start(self) -> None:
        environment = {**os.environ, "SCREENTEST_DATABASE_URL": self.database_url, "SCREENTEST_OWNER_SECRET": SECRET}
        words = ["rate", "--port", str(self.port), *(["--owner"] if self.owner else [])]
        words += ["--url", self.public] if self.public else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("screentest")), *words],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._await_answer()

    def kill(self) -> None:
        """As a power cut would: SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _await_answer(self, seconds: float = 900) -> None:
        assert self.process is not None
        health = f"http://localhost:{self.port}{urlsplit(self.url).path}/_stcore/health"
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(health, timeout=5).read()
                return
            time.sleep(0.1)
        raise AssertionError(f"no answer after {seconds} s: {self.log.read_text()}")


@contextlib.contextmanager
def serving(database_url: str, folder: Path, *, owner: bool = False, public: str | None = None) -> Iterator[Site]:
    log, port = folder / f"server-{owner}.log", free_port()
    site = Site(database_url=database_url, log=log, port=port, owner=owner, public=public)
    site.start()
    try:
        yield site
    finally:
        site.kill()


@contextlib.contextmanager
def browsing(*arguments: str) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])
        yield opened
        opened.close()
