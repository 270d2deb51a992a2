"""`python -m harness.ui.serve SETTINGS`: the Streamlit app behind its gate. `screentest rate` starts it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Serve until stopped; SETTINGS is JSON: Streamlit's options, the app's file, whether the address is https."""
    import streamlit as st
    from starlette.middleware import Middleware

    from harness.ui.arrivals import arrive
    from harness.ui.gate import Gate

    given = json.loads(sys.argv[1])
    app = Path(given["app"])
    gate = Middleware(
        Gate,
        base=f"/{given['options'].get('server.baseUrlPath', '')}",
        folder=app.parent,
        is_secure=given["is_secure"],
        arrive=None if os.environ.get("SCREENTEST_PAGES") == "owner" else arrive,
    )
    st.App(app, middleware=[gate]).run(config=given["options"])


if __name__ == "__main__":
    main()
