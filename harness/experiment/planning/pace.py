"""What replies of a model in this process take: memory by its weights, time by a few tokens measured here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.experiment.planning.checks import Preflight
from harness.generation import reply_request
from harness.models.protocol import ReplyRequest
from harness.types import Decoding, Prompt, Variant

if TYPE_CHECKING:
    from harness.experiment.session import Session

PROBE_REPLIES, PROBE_TOKENS = 8, 8  # generated to measure the speed
MINUTE, GIGABYTE = 60.0, 1e9


def measure_speed(
    found: Preflight, session: Session, variant: Variant, prompts: Sequence[Prompt], *, decoding: Decoding, n: int
) -> None:
    """Memory and time for `n` replies of a model in this process, from a few tokens."""
    found.ask("memory", lambda: _memory(variant), words=str)
    if found.lacking:
        return
    pace = found.ask("speed", lambda: _pace(session, variant, prompts, decoding), words=lambda p: p.words)
    if pace is not None:
        seconds = n * (pace.prompt_s + decoding.max_new_tokens * pace.token_s)
        most = f"at most {_duration(seconds)} for {n:,} replies of up to {decoding.max_new_tokens} tokens"
        found.say("time", f"{most}; training and judging come on top")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pace:
    """Seconds for a prompt to be read and for a token to be generated, among others at once."""

    prompt_s: float
    token_s: float

    @property
    def words(self) -> str:
        return f"{1 / self.token_s:,.0f} tokens/s, and {1 / self.prompt_s:,.1f} prompts/s read, measured here"


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


def _pace(session: Session, variant: Variant, prompts: Sequence[Prompt], decoding: Decoding) -> _Pace:
    model = session.replier(variant)
    asked = [reply_request(variant, prompt, draw=0) for prompt in prompts[:PROBE_REPLIES]]

    def seconds(requests: Sequence[ReplyRequest], n_tokens: int) -> float:
        began = time.perf_counter()
        model.generate(requests, decoding=replace(decoding, max_new_tokens=n_tokens))
        return max(time.perf_counter() - began, 1e-9)

    seconds(asked[:1], 1)  # what a first call does besides
    short = seconds(asked, 1)
    longer = seconds(asked, 1 + PROBE_TOKENS)
    # Replies that end early take less: the longer call counts as one of whole length, which errs towards a short time.
    return _Pace(prompt_s=short / len(asked), token_s=max(longer - short, longer / 100) / (len(asked) * PROBE_TOKENS))
