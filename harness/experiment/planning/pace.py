"""What replies of a model in this process take: memory by its weights, time by a few tokens measured here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.experiment.planning.checks import Preflight
from harness.generation import reply_request
from harness.types import Decoding, Prompt, Variant

if TYPE_CHECKING:
    from harness.experiment.session import Session

PROBE_REPLIES, PROBE_TOKENS = 8, 6  # generated to measure the speed
MINUTE, GIGABYTE = 60.0, 1e9


def measure_speed(
    found: Preflight, session: Session, variant: Variant, prompts: Sequence[Prompt], *, decoding: Decoding, n: int
) -> None:
    """Memory and time for `n` replies of a model in this process, from a few tokens."""
    found.ask("memory", lambda: _memory(variant), words=str)
    if found.lacking:
        return
    rate = found.ask("speed", lambda: _speed(session, variant, prompts, decoding), words=lambda r: f"{r:.0f} tokens/s")
    if rate:
        seconds = n * decoding.max_new_tokens / rate
        found.say("time", f"at most {_duration(seconds)} for {n:,} replies of up to {decoding.max_new_tokens} tokens")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 2 * MINUTE else f"{seconds / MINUTE:.0f} min"


def _memory(variant: Variant) -> str:
    import psutil

    from harness.models.bases import base_folder

    if variant.base is None:
        return "none of its own"
    size = sum(file.stat().st_size for file in base_folder(variant.base).glob("*.safetensors"))
    free = _free_bytes() or psutil.virtual_memory().available
    if size > free:
        raise InputError(
            f"`{variant.base.source}` must fit in memory: its weights take {size / GIGABYTE:.1f} GB, and "
            f"{free / GIGABYTE:.1f} GB are free; take a smaller base, or a server"
        )
    return f"{size / GIGABYTE:.1f} GB of weights, {free / GIGABYTE:.1f} GB free"


def _free_bytes() -> int:
    import torch

    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else 0


def _speed(session: Session, variant: Variant, prompts: Sequence[Prompt], decoding: Decoding) -> float:
    """Tokens a second, prompts read included, of a few replies made at once."""
    model = session.replier(variant)
    asked = [reply_request(variant, prompt, draw=0) for prompt in prompts[:PROBE_REPLIES]]
    model.generate(asked[:1], decoding=replace(decoding, max_new_tokens=1))  # what a first call does besides
    began = time.perf_counter()
    replies = model.generate(asked, decoding=replace(decoding, max_new_tokens=PROBE_TOKENS))
    n = sum(reply.n_tokens or 0 for reply in replies)
    return max(n, 1) / max(time.perf_counter() - began, 1e-9)
