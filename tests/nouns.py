"""Nouns that hold what a test is about and nothing else: `from nouns import generation, item, prompt`."""

from __future__ import annotations

from typing import Any

from harness.types import FinishReason, Generation, JudgedItem, Message, Prompt, Split


def said(*texts: str, name: str | None = None) -> tuple[Message, ...]:
    """A conversation whose last turn is the other one's, to be answered."""
    last = len(texts) - 1
    return tuple(
        Message(role="assistant" if (last - i) % 2 else "user", content=text, name=name) for i, text in enumerate(texts)
    )


def item(reply: str, *texts: str, id: str = "i", name: str | None = None, **more: Any) -> JudgedItem:
    """A reply to a conversation, for a judge."""
    messages = said(*(texts or ("Where is the boat?",)), name=name)
    return JudgedItem(id=id, messages=messages, reply=reply, cluster="film", **more)


def prompt(
    id: str = "p",
    *texts: str,
    cluster: str = "film",
    reference: str | None = None,
    split: Split = "test",
    name: str | None = None,
) -> Prompt:
    """A prompt of a film."""
    messages = said(*(texts or ("Well?",)), name=name)
    return Prompt(id=id, messages=messages, split=split, cluster=cluster, reference=reference)


def generation(
    text: str,
    to: Prompt | str = "p",
    *,
    cluster: str = "film",
    variant: str = "base",
    draw: int = 0,
    finish: FinishReason = "stop",
    n_tokens: int | None = None,
) -> Generation:
    """A reply to a prompt, or to a prompt of that id in a film."""
    key, cluster = (to, cluster) if isinstance(to, str) else (to.id, to.cluster)
    return Generation(
        prompt_id=key, variant=variant, draw=draw, text=text, seed=0, n_tokens=n_tokens, finish_reason=finish,
        cluster=cluster,
    )  # fmt: skip
