"""What this machine runs models on: device and attention, chosen once and said plainly when they are not there."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from harness.errors import InputError, UnavailableError

Device = Literal["auto", "cpu", "cuda"]
Attention = Literal["auto", "flash_attention_2", "sdpa", "eager"]
ADDS_MASKS = ("sdpa", "eager")  # implementations that add a four-dimensional mask to the scores

_CARDS = Path("/proc/driver/nvidia/gpus")  # has an entry per card where NVIDIA's driver is loaded
# How torch says that driver, card and build do not fit each other.
_TROUBLE = re.compile(r"nvidia driver|driver version is insufficient|no kernel image|not compiled with cuda", re.I)


def gpu_trouble() -> str | None:
    """Why torch cannot use a card that is in this machine; None where it can, or where there is none to use."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not (_CARDS.is_dir() and any(_CARDS.iterdir())):
        return None
    import torch

    if torch.version.cuda is None:
        return f"there is an NVIDIA card, and torch {torch.__version__} is built for CPUs alone: install a CUDA build"
    start: Any = torch.cuda.init  # untyped upstream
    try:
        start()
    except (RuntimeError, AssertionError) as err:
        found = re.search(r"found version (\d+)", str(err))
        if found is None:
            return f"torch {torch.__version__} cannot use the NVIDIA card: {str(err).strip().splitlines()[0]}"
        knows = f"{int(found[1]) // 1000}.{int(found[1]) % 1000 // 10}"
        return (
            f"the NVIDIA driver is too old: it knows CUDA {knows}, torch {torch.__version__} is built for CUDA "
            f"{torch.version.cuda}; update the driver, or install a torch built for CUDA {knows}"
        )
    return None


def is_device_trouble(err: BaseException) -> bool:
    """Whether an error says that driver, card and torch do not fit each other."""
    return _TROUBLE.search(str(err)) is not None


def device_name() -> str:
    """The card in use, with its memory, or this machine."""
    import torch

    if not torch.cuda.is_available():
        return "this machine"
    card = torch.cuda.get_device_properties(0)
    return f"{card.name} ({card.total_memory / 2**30:.0f} GiB)"


def resolve_device(device: Device) -> Literal["cpu", "cuda"]:
    """`cuda` or `cpu`; `auto` takes CUDA when there is one.

    Raises UnavailableError: CUDA was asked for and is not there.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        why = gpu_trouble() or "this machine has none"
        raise UnavailableError(f"`device` cuda must be there to be used, {why}; use `auto` or `cpu`")
    chosen: Literal["cpu", "cuda"] = "cuda" if has_cuda and device != "cpu" else "cpu"
    if chosen == "cuda":
        # cuDNN's attention, torch's first choice on a Hopper card, builds a plan for every length that it has not seen:
        # 2 to 3 s in each step of a 3B, which takes 0.8 s without. No two of our rows are equally long.
        torch.backends.cuda.enable_cudnn_sdp(False)
    return chosen


def card_bytes() -> int:
    """Memory of this process's card that torch may take."""
    import torch

    share: float = torch.cuda.get_per_process_memory_fraction()
    return int(share * torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)


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
