"""What this machine runs models on: device and attention, chosen once and said plainly when they are not there."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any, Literal, get_args

from harness.errors import InputError, UnavailableError

Device = Literal["auto", "cpu", "cuda"]
Attention = Literal["auto", "flash_attention_2", "sdpa", "eager"]
ADDS_MASKS = ("sdpa", "eager")  # implementations that add a four-dimensional mask to the scores


def resolve_device(device: Device) -> str:
    """`cuda` or `cpu`; `auto` takes CUDA when there is one.

    Raises:
        UnavailableError: CUDA was asked for and is not there.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise UnavailableError("`device` cuda must be there to be used, this machine has none; use `auto` or `cpu`")
    if device == "auto":
        return "cuda" if has_cuda else "cpu"
    return device


def resolve_attention(attention: Attention, device: str) -> str:
    """The attention implementation; `auto` takes FlashAttention on CUDA when it is installed, else SDPA.

    Raises:
        InputError: packed rows are not tested under it. UnavailableError: FlashAttention, where it cannot run.
    """
    if attention not in get_args(Attention):
        raise InputError(f"`attention` must be one of {', '.join(get_args(Attention))}, got {attention!r}")
    has_flash = device == "cuda" and importlib.util.find_spec("flash_attn") is not None
    if attention == "flash_attention_2" and not has_flash:
        raise UnavailableError(
            "`attention` flash_attention_2 needs CUDA and the package `flash-attn`; "
            "install the extra `screentest[gpu]`, or use `auto`"
        )
    if attention == "auto":
        return "flash_attention_2" if has_flash else "sdpa"
    return attention


@contextlib.contextmanager
def free_mask(config: Any, *, is_needed: bool) -> Iterator[None]:
    """Run with SDPA where a free mask is needed and the attention adds none: FlashAttention knows causal ones only."""
    implementation = config._attn_implementation
    if not is_needed or implementation in ADDS_MASKS:
        yield
        return
    config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        config._attn_implementation = implementation


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Load without transformers' own progress bars: a library draws nothing."""
    from transformers.utils import logging

    bars: Any = logging
    were_on = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            bars.enable_progress_bar()
