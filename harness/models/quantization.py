"""4-bit bases: NormalFloat blocks whose scales are quantised once more (QLoRA, arXiv 2305.14314, section 3)."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def nf4_config(dtype: torch.dtype) -> Any:
    """What transformers needs to load linear layers as NF4 with double quantisation, computed with in `dtype`.

    Embeddings, norms and the head are not quantised.
    """
    import_bitsandbytes()
    from transformers import BitsAndBytesConfig

    config: Any = BitsAndBytesConfig
    return config(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def never_repacked(model: Any) -> Any:
    """Keep 4-bit layers as they were loaded: for gradients, for DoRA, which reads them, and for whoever compares them.

    On CPUs with AVX512-BF16, bitsandbytes 0.50 repacks a 4-bit layer for inference at its first pass in evaluation
    mode: scales are rounded to bfloat16 for good, and no gradient passes the layer until its state is next saved. A
    training validates before its first step.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def import_bitsandbytes() -> None:
    """Import it without its download and its compiler.

    On processors with AVX512-BF16 it fetches compiled code from a hub at import. Nothing that can execute is loaded
    here, so the package it would fetch with is hidden for the moment; its own kernel serves instead, and its warning
    about that says nothing a user could act on. It also has torch compile what serves devices that it has no kernels
    for: the compiler's import alone takes 1.5 s of every start, so that this code runs as it is written.
    """
    if "bitsandbytes" in sys.modules:
        return
    import torch

    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level, fetcher = logger.level, sys.modules.get("kernels")
    logger.setLevel(logging.ERROR)
    sys.modules["kernels"] = None  # type: ignore[assignment]
    compiler = torch.compile
    torch.compile = _as_written  # type: ignore[assignment]
    try:
        import bitsandbytes  # noqa: F401
    finally:
        torch.compile = compiler
        logger.setLevel(level)
        if fetcher is None:
            del sys.modules["kernels"]
        else:
            sys.modules["kernels"] = fetcher


def _as_written(function: Any = None, **_: Any) -> Any:
    """`torch.compile` without compiling, as a decorator with and without options."""
    return function if function is not None else _as_written
