"""`screentest rate`: the rating page for raters, or the owner's pages in a process of their own."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer

from harness.child_processes import SAFE_PATH
from harness.errors import ConfigError
from harness.experiment.shipped import shipped
from harness.terminal import bold, say
from pipelines.cli.session import open_store

RATER_PORT, OWNER_PORT = 8501, 8502
# What a browser gets to see of the server, and how pages look; everything else is Streamlit's default.
OPTIONS = {
    "server.headless": True,
    "server.enableXsrfProtection": True,
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "logger.level": "warning",
    "logger.hideWelcomeMessage": True,
    "runner.magicEnabled": False,
    "runner.postScriptGC": False,  # a collection of the whole heap after every press, while others wait
    "theme.baseRadius": "medium",
    "theme.light.primaryColor": "#0a6870",
    "theme.light.backgroundColor": "#fcfcfb",
    "theme.light.secondaryBackgroundColor": "#f4f5f5",
    "theme.light.textColor": "#15181b",
    "theme.light.borderColor": "#c9ced3",
    "theme.dark.primaryColor": "#1b7f88",
    "theme.dark.backgroundColor": "#121416",
    "theme.dark.secondaryBackgroundColor": "#1a1d20",
    "theme.dark.textColor": "#e9ebed",
    "theme.dark.borderColor": "#3d444b",
}


def rate(
    owner: Annotated[
        bool, typer.Option("--owner", help="The owner's pages: results, browsing, reports. Needs the owner's secret.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(help=f"Port; {RATER_PORT}, or {OWNER_PORT} for the owner.", min=1, max=65535)
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "localhost",
    url: Annotated[
        str | None,
        typer.Option(help="The address in the raters' links, where it is another: a name, or a proxy, with its path."),
    ] = None,
) -> None:
    """Open the rating page: raters come to it by the links that `screentest study create` printed.

    It shows one item at a time and nothing else. Results and replies of a study are on the owner's pages, which run
    apart: set `SCREENTEST_OWNER_SECRET` and run `screentest rate --owner`.
    """
    from harness.studies.links import is_owner

    if owner:
        is_owner("")  # refuses to go on without a secret worth the name
    open_store().dispose()
    chosen = port or (OWNER_PORT if owner else RATER_PORT)
    settings: dict[str, object] = {**OPTIONS, "server.address": host, "server.port": chosen}
    if url is not None:
        settings["browser.serverAddress"] = host_name(url)  # pages of any other origin get no connection
        settings["server.baseUrlPath"] = urlsplit(url).path.strip("/")
    address = bold(url or f"http://{host}:{chosen}")
    say(f"{'owner' if owner else 'rating'} pages: {address}   (Ctrl-C stops)")
    environment = {**os.environ, **SAFE_PATH, "SCREENTEST_PAGES": "owner" if owner else "rate"}
    if not owner:
        environment.pop("SCREENTEST_OWNER_SECRET", None)  # what raters reach need not know it
    # -P: no package in the current folder is taken for ours.
    given = {
        "options": settings,
        "app": str(shipped("app.py").resolve()),
        "is_secure": (url or "").startswith("https:"),
    }
    command = [sys.executable, "-P", "-m", "harness.ui.serve", json.dumps(given)]
    os.execve(sys.executable, command, environment)


def host_name(url: str) -> str:
    """The host that a browser will name. Raises ConfigError: the address has none."""

    found = urlsplit(url)
    if found.scheme not in ("http", "https") or not found.hostname:
        raise ConfigError(f"`--url` must be an address such as https://rate.example.org, got {url}")
    return found.hostname
