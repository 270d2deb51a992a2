"""Which server answers: an address that is given, else the environment's, else OpenAI's own."""

from __future__ import annotations

import os

OPENAI = "https://api.openai.com/v1"


def base_url(endpoint: str | None = None) -> str:
    """The base URL without a slash at its end; `OPENAI_BASE_URL` counts where none is given."""
    return (endpoint or os.environ.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")
