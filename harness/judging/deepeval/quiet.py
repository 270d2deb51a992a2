"""Importing deepeval without what it does on import: no `.env` read, no folder made, no telemetry sent."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from types import MappingProxyType, ModuleType

from harness.errors import UnavailableError

# deepeval reads these once, while it is imported.
ENVIRONMENT = MappingProxyType(
    {
        "DEEPEVAL_TELEMETRY_OPT_OUT": "1",
        "DEEPEVAL_DISABLE_DOTENV": "1",
        "DEEPEVAL_DISABLE_LEGACY_KEYFILE": "1",
        "DEEPEVAL_FILE_SYSTEM": "READ_ONLY",
        "DEEPEVAL_UPDATE_WARNING_OPT_IN": "0",
        "CONFIDENT_OPEN_BROWSER": "0",
    }
)


def import_deepeval(module: str = "deepeval") -> ModuleType:
    """Import deepeval, or one of its modules, quietly.

    Raises UnavailableError: it is not installed, or was imported before with telemetry on.
    """
    if "deepeval" not in sys.modules:
        os.environ.update(ENVIRONMENT)
    try:
        # It prints that it will not write to disk, on the stream that holds the JSON of our commands.
        with contextlib.redirect_stdout(io.StringIO()):
            found = importlib.import_module(module)
            from deepeval.config.settings import get_settings
    except ImportError as err:
        raise UnavailableError(
            f"`deepeval` must be installed for this judge ({err}); install the extra screentest[deepeval]"
        ) from err
    if not get_settings().DEEPEVAL_TELEMETRY_OPT_OUT:
        raise UnavailableError(
            "`deepeval` must be imported with its telemetry off, it was imported before with telemetry on; "
            "set DEEPEVAL_TELEMETRY_OPT_OUT=1"
        )
    return found
