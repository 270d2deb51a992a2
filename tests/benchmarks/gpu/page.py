"""The result as a page: every case with its spread over steps, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from benchmarks.gpu.machine import Machine
from benchmarks.gpu.measuring import Measured

GIB = 1024**3
BUDGET = 8 * GIB  # of the card that the recipes are written for


def table(results: Sequence[Measured]) -> str:
    """A Markdown table: median rate with the slowest and the fastest step, and the peak."""
    head = "| model | case | rate | slowest – fastest step | steps | peak memory |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(_row(found) for found in results)])


def _row(found: Measured) -> str:
    if found.rate is None:
        return f"| {found.model} | {found.case} | missing: {found.missing} | | | |"
    spread = f"{min(found.rates):,.1f} – {max(found.rates):,.1f}"
    peak = "not measured on a CPU" if found.peak is None else f"{found.peak / GIB:.2f} GiB"
    rate = f"{found.rate:,.1f} {found.unit}/s"
    return f"| {found.model} | {found.case} | {rate} | {spread} | {len(found.rates)} | {peak} |"


def verdict(results: Sequence[Measured]) -> str:
    """Whether the largest model trains within 8 GiB; says nothing where nothing was measured."""
    peaks = [found.peak for found in results if found.model == "3B" and found.unit == "tokens" and _is_training(found)]
    known = [peak for peak in peaks if peak is not None]
    if not known:
        return "Whether the 3B trains within 8 GiB has not been measured."
    highest = max(known)
    fits = "trains" if highest < BUDGET else "does not train"
    return f"The 3B {fits} within 8 GiB: its highest peak is {highest / GIB:.2f} GiB as torch reserves."


def _is_training(found: Measured) -> bool:
    return found.case.startswith(("SFT", "DPO"))


def page(machine: Machine, results: Sequence[Measured]) -> str:
    """The whole page."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    memory = "" if machine.memory is None else f", {machine.memory / GIB:.1f} GiB"
    left_out = "; ".join(f"{name} ({why})" for name, why in machine.left_out.items()) or "nothing"
    return f"""# On a GPU

Measured by `make gpu-check` on {date.today().isoformat()}: {machine.name}{memory}; {versions}. Left out: {left_out}.

Random weights in the shapes of Qwen 2.5: speed and memory are real, losses mean nothing. QLoRA with rank 16 on every
linear layer, activations recomputed, rows of 512 tokens, one row per optimiser step (two for DPO); rates count useful
tokens, padding excluded. Generation is transformers' own `generate`; the exact judge reads five score tokens
after a row.

{verdict(results)}

{table(results)}
"""
