"""Ends what a killed driver leaves of its own Ray cluster, whose agents would look for it for another minute.

A program in a session of its own: `[[pid, when it began], …]` comes as a line on stdin, and the end of stdin tells that
the driver is gone.
"""

from __future__ import annotations

import contextlib
import json
import sys

import psutil


def main() -> None:
    """Wait for the driver to end, then kill what is left."""
    processes = json.loads(sys.stdin.readline() or "[]")
    sys.stdin.read()
    for pid, began in processes:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.create_time() == began:
                process.kill()


if __name__ == "__main__":
    main()
