"""Prompts and replies with all filled in that a test does not care about."""

from __future__ import annotations

from pathlib import Path

from harness.experiment.measured_arms import Replies
from harness.store.tracking import StageResult
from harness.types import FinishReason, Generation, Message, Prompt, Split

STAGE = StageResult(
    name="generate", run_id="r", source_run_id="r", reused=False, folder=Path(), digest="d", fingerprint="f",
    seconds=0.0, inputs={},
)  # fmt: skip


def prompt(
    key: str, asked: str = "Well?", *, split: Split = "test", cluster: str | None = None, reference: str | None = None
) -> Prompt:
    """A prompt of a single line, a cluster of its own."""
    messages = (Message(role="user", content=asked),)
    return Prompt(id=key, messages=messages, split=split, cluster=cluster or key, reference=reference)


def reply(
    key: str,
    text: str,
    finish: FinishReason = "stop",
    *,
    variant: str = "b",
    draw: int = 0,
    n_tokens: int | None = None,
) -> Generation:
    """A reply to the prompt of that name."""
    return Generation(
        prompt_id=key, variant=variant, draw=draw, text=text, seed=0, n_tokens=n_tokens, finish_reason=finish,
        cluster=key,
    )  # fmt: skip


def replies(*generations: Generation) -> Replies:
    """Replies of one variant, of a stage that is nowhere."""
    return Replies(variant=generations[0].variant, generations=generations, stage=STAGE)
