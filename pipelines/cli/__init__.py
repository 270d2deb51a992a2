"""The `screentest` command: one file per noun, everything heavy imported by the verb that needs it."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence

INTERRUPTED = 130
FULL_OR_CLOSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit code 0 done, 1 failed, 2 wrong usage or input, 3 a gate that did not pass."""
    # Before anything imports a library that reads them.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if "TORCHELASTIC_RUN_ID" in os.environ:  # a process of `accelerate launch`, in a session of its own
        from harness.child_processes import end_with_parent

        end_with_parent()
    from harness.errors import ScreentestError
    from harness.terminal import fail
    from pipelines.cli.application import app

    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name that is no UTF-8 must not end a finished command
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(args=arguments)
    except ScreentestError as err:
        fail(str(err))
        sys.exit(err.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        # Typer turns an interrupt into this code without a word.
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        fail("stopped; what is done is kept, and the same command goes on from there")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `screentest … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as err:
        if err.errno not in FULL_OR_CLOSED:
            raise
        from harness.store.sentences import unavailable

        fail(str(unavailable(str(err.filename or "the disk"), err, rule="a place that can be used")))
        sys.exit(1)
    finally:
        if "WORLD_SIZE" in os.environ:
            from pipelines.training.followers import dismiss

            dismiss()
