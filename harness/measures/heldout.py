"""Held-out loss: how surprised a model is by what the human wrote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.composing import compose
from harness.measures.measure import Measure
from harness.models.chat_templates import DIALOGUE_SYSTEM, chat_messages
from harness.models.protocol import Continuation, ContinuationRequest, LanguageModel, OnProgress, require
from harness.stats.rows import Floats
from harness.types import Message, Prompt

LOSS, TOTAL = "heldout_loss", "heldout_loss_total"
WEIGHINGS = (LOSS, TOTAL)  # of the same losses: a report that has one has both
MEASURES = (
    Measure(
        name=LOSS,
        label="Held-out loss",
        unit="bits per byte",
        better="lower",
        description=(
            "How surprised the model is by what the human wrote: bits per UTF-8 byte of the human reply, end token "
            "included. It compares across tokenizers and needs no judge. A mean over prompts: every reply counts "
            "alike, so very short ones rule it."
        ),
        phrase=("fits what people wrote better", "fits what people wrote worse"),
        origin="heldout",
    ),
    Measure(
        name=TOTAL,
        label="Held-out loss, byte by byte",
        unit="bits per byte",
        better="lower",
        description=(
            "The same surprise in all: the bits of all human replies over all their bytes. Every byte counts alike, "
            "so long replies rule it. Its interval is that of a ratio, linearised."
        ),
        phrase=("fits what people wrote better byte by byte", "fits what people wrote worse byte by byte"),
        origin="heldout",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldoutLoss:
    """The loss of one human reply. The end token is part of it: knowing when to stop is part of the reply."""

    prompt_id: str
    cluster: str
    bits_per_byte: float | None  # −Σ log2 p / UTF-8 bytes of the reply; None (missing) without a reference
    nats_per_token: float | None  # −Σ ln p / tokens; compares only between models of one tokenizer
    total_bits: float | None
    n_bytes: int  # UTF-8 bytes of the reply, 0 when missing
    n_tokens: int  # end token included, 0 when missing


def heldout_losses(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    system: str | None = DIALOGUE_SYSTEM,
    shots: Sequence[Sequence[Message]] = (),
    adapter: str | None = None,
    on_progress: OnProgress | None = None,
) -> list[HeldoutLoss]:
    """One row per prompt, in their order. An empty or absent reference is missing, not a loss of 0.

    Bits per byte instead of per token let models with different tokenizers be compared (Gao et al., 2101.00027,
    section 3.1).

    Args:
        model: one that `supports` exact continuation log-probabilities.
        system: the variant's system prompt; the same one as in training and generation.
        adapter: as `protocol.adapter_name` names it; None is the bare base.

    Raises:
        UnavailableError: the model gives no exact log-probabilities.
    """
    require(model, "continuation_logprobs", who="heldout_loss")
    asked = [prompt for prompt in prompts if (prompt.reference or "").strip()]
    requests = [
        ContinuationRequest(
            key=prompt.id,
            messages=chat_messages(prompt.messages, system=system, shots=shots),
            reply=_reference(prompt),
            adapter=adapter,
        )
        for prompt in asked
    ]
    found = model.continuation_logprobs(requests, on_progress=on_progress)
    by_id = {prompt.id: continuation for prompt, continuation in zip(asked, found, strict=True)}
    return [_row(prompt, by_id.get(prompt.id)) for prompt in prompts]


def as_mean(totals: Floats, sizes: Floats) -> Floats:
    """Values R + (total − R·size) / mean size: their mean is R = Σ totals / Σ sizes, their scatter that of the ratio.

    The linearisation of a ratio estimate (Cochran 1977, section 6.4): means, paired differences and their clustered
    errors of these are those of the ratio, to first order. NaN stays NaN.
    """
    there = ~np.isnan(totals)
    ratio, size = totals[there].sum() / sizes[there].sum(), sizes[there].mean()
    found: Floats = ratio + (totals - ratio * sizes) / size
    return found


def _reference(prompt: Prompt) -> str:
    return (prompt.reference or "").strip()


def _row(prompt: Prompt, continuation: Continuation | None) -> HeldoutLoss:
    if continuation is None:
        nothing = {"bits_per_byte": None, "nats_per_token": None, "total_bits": None, "n_bytes": 0, "n_tokens": 0}
        return compose(HeldoutLoss, prompt, prompt_id=prompt.id, **nothing)
    nats = -math.fsum((*continuation.logprobs, continuation.end_logprob))
    n_bytes = len(_reference(prompt).encode())
    n_tokens = continuation.n_tokens + 1
    return compose(
        HeldoutLoss,
        prompt,
        prompt_id=prompt.id,
        bits_per_byte=nats / math.log(2) / n_bytes,
        nats_per_token=nats / n_tokens,
        total_bits=nats / math.log(2),
        n_bytes=n_bytes,
        n_tokens=n_tokens,
    )
