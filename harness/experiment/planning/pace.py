"""What replies and trainings in this process take: memory by a model's weights, time by a few tokens measured here.

A training that nobody has timed is taken for readings of its tokens, which are measured: forward, backward through
frozen weights, and forward again where activations are not kept; a preference training reads once more for its
reference. What was trained here before tells better, and takes their place.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.experiment.planning.preflight_table import Preflight
from harness.generation import reply_request
from harness.models.protocol import ReplyRequest
from harness.types import Decoding, Prompt, Variant

if TYPE_CHECKING:
    from harness.experiment.session import Session

PROBE_REPLIES, PROBE_TOKENS = 8, 8  # generated to measure the speed
MINUTE, HOUR, GIGABYTE = 60.0, 3600.0, 1e9
READINGS, READINGS_WITH_REFERENCE = 3, 4  # that a training takes of each token


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What a stage that makes an adapter asks of a device, at most."""

    n_trained: int = 0  # tokens
    readings: int = READINGS
    n_replies: int = 0
    n_generated: int = 0  # tokens


def measure_speed(
    found: Preflight, session: Session, variant: Variant, prompts: Sequence[Prompt], *, decoding: Decoding, n: int
) -> Pace | None:
    """Memory and time for `n` replies of a model in this process, from a few tokens; its pace."""
    pace = measure_pace(found, session, variant, prompts, decoding=decoding)
    if pace is not None:
        seconds = n * (pace.prompt_s + decoding.max_new_tokens * pace.token_s)
        most = f"at most {_duration(seconds)} for {n:,} replies of up to {decoding.max_new_tokens} tokens"
        found.say("time", f"{most}; training and judging come on top")
    return pace


def measure_pace(
    found: Preflight, session: Session, variant: Variant, prompts: Sequence[Prompt], *, decoding: Decoding
) -> Pace | None:
    """Memory and speed of a model in this process; None where something lacks already."""
    found.ask("memory", lambda: _memory(variant), words=str)
    if found.lacking:
        return None
    return found.ask("speed", lambda: _pace(session, variant, prompts, decoding), words=lambda p: p.words)


def say_effort(found: Preflight, pace: Pace | None, label: str, effort: Effort, *, per_second: float | None) -> float:
    """A line on what a stage takes of a device; its seconds. `per_second`: tokens that such a training did here."""
    trained = f"{effort.n_trained:,} tokens trained" if effort.n_trained else ""
    replies = f"{effort.n_replies:,} replies of {effort.n_generated:,} tokens in all" if effort.n_replies else ""
    what = f"{label}: at most {trained or replies}"
    if pace is None and (per_second is None or effort.n_replies):
        found.say("time", f"{what}; how long is not known before the speed of its base is")
        return 0.0
    seconds = 0.0 if pace is None else effort.n_replies * pace.prompt_s + effort.n_generated * pace.token_s
    how = "at the speed measured here"
    if effort.n_trained and per_second is not None:
        seconds, how = effort.n_trained / per_second, f"at {per_second:,.0f} tokens/s, as one of its base trained here"
    elif effort.n_trained and pace is not None:
        seconds = effort.n_trained * effort.readings * pace.read_s
        how = (
            f"assumed: {effort.readings} readings a token, {1 / pace.read_s:,.0f} tokens/s read here; no training timed"
        )
    found.say("time", f"{what}, {_duration(seconds)} ({how})")
    return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds for a prompt, and a token of it, to be read and for a token to be generated, among others at once."""

    prompt_s: float
    read_s: float
    token_s: float

    @property
    def words(self) -> str:
        """For the table."""
        return f"{1 / self.token_s:,.0f} tokens/s, and {1 / self.prompt_s:,.1f} prompts/s read, measured here"


def _duration(seconds: float) -> str:
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"


def _memory(variant: Variant) -> str:
    import psutil
    import torch

    from harness.models.bases import base_folder

    if variant.base is None:
        return "none of its own"
    size = sum(file.stat().st_size for file in base_folder(variant.base).glob("*.safetensors"))
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available
    if size > free:
        raise InputError(
            f"`{variant.base.source}` must fit in memory: its weights take {size / GIGABYTE:.1f} GB, and "
            f"{free / GIGABYTE:.1f} GB are free; take a smaller base, or a server"
        )
    return f"{size / GIGABYTE:.1f} GB of weights, {free / GIGABYTE:.1f} GB free"


def _pace(session: Session, variant: Variant, prompts: Sequence[Prompt], decoding: Decoding) -> Pace:
    model = session.replier(variant)
    asked = [reply_request(variant, prompt, draw=0) for prompt in prompts[:PROBE_REPLIES]]

    def seconds(requests: Sequence[ReplyRequest], n_tokens: int) -> float:
        began = time.perf_counter()
        model.generate(requests, decoding=replace(decoding, max_new_tokens=n_tokens))
        return max(time.perf_counter() - began, 1e-9)

    seconds(asked[:1], 1)  # what a first call does besides
    before = session.usage
    short = seconds(asked, 1)
    n_read = session.usage.n_input - before.n_input
    longer = seconds(asked, 1 + PROBE_TOKENS)
    # Replies that end early take less: the longer call counts as one of whole length, which errs towards a short time.
    return Pace(
        prompt_s=short / len(asked),
        read_s=short / max(n_read, 1),
        token_s=max(longer - short, longer / 100) / (len(asked) * PROBE_TOKENS),
    )
