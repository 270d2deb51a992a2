"""Silence for libraries that print: a stage reports through its callbacks alone, a library draws nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from harness.models.quantization import import_bitsandbytes


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no log lines below errors from transformers and datasets; put back afterwards."""
    with suppress(ImportError):
        import_bitsandbytes()  # TRL and PEFT import it where it is, and it would fetch code
    import datasets
    import transformers

    logging: Any = transformers.utils.logging  # untyped
    verbosity, had_dataset_bars = logging.get_verbosity(), not datasets.are_progress_bars_disabled()
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        with without_bars():
            yield
    finally:
        logging.set_verbosity(verbosity)
        if had_dataset_bars:
            datasets.enable_progress_bars()


@contextmanager
def without_bars() -> Iterator[None]:
    """No progress bars from transformers."""
    from transformers.utils import logging

    bars: Any = logging  # untyped
    were_on = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            bars.enable_progress_bar()
