"""The results as a page: what the targets say, then every case; what was not measured is said, never guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from benchmarks.gpu import preferences, supervised
from benchmarks.gpu.inference import TARGET_ROWS, case_of
from benchmarks.gpu.measuring import GIB, Found

BUDGET = 8.0  # GB of the card that the recipes are written for


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an H100 must show: a rate over another, or memory under the budget."""

    what: str
    case: str
    figure: str
    over: str | None = None  # the case whose rate is the unit; None asks for memory
    least: float = 0.0
    shape: str = "3B"
    needs_4_bit: bool = True


TARGETS = (
    Target(what="SFT beside TRL with packing", case=supervised.PRODUCT, over=supervised.TRL, figure="tokens_per_s",
           least=1.0),
    Target(what="SFT beside a bare loop", case=supervised.PRODUCT, over=supervised.BARE, figure="tokens_per_s",
           least=0.9),
    Target(what="SFT in 8 GB", case=supervised.CAPPED, figure="peak_gib"),
    Target(what="DPO beside TRL, the reference included", case=preferences.PRODUCT, over=preferences.TRL,
           figure="whole_tokens_per_s", least=2.0),
    Target(what="DPO in 8 GB", case=preferences.CAPPED, figure="peak_gib"),
    Target(what=f"{TARGET_ROWS} replies beside transformers' `generate`", case=case_of(TARGET_ROWS, is_ours=True),
           over=case_of(TARGET_ROWS, is_ours=False), figure="new_tokens_per_s", least=0.7, needs_4_bit=False),
)  # fmt: skip


def verdict(target: Target, results: Sequence[Found]) -> tuple[str, str]:
    """Measured, and whether that meets the target; without a card or 4-bit bases nothing is judged."""
    cases = {(found.shape, found.case): found for found in results}
    if not any(found.case == "device" and found.figures for found in results):
        return "", "not measured: no GPU"
    found = [cases.get((target.shape, case)) for case in (target.case, target.over) if case is not None]
    why = next((f"not measured: {f.missing if f else 'time ran out'}" for f in found if f is None or f.missing), None)
    if why is not None:
        ran_out = target.over is None and found[0] is not None and found[0].missing == "out of memory"
        return ("out of memory", "missed") if ran_out else ("", why)
    ours, *others = (f.figures for f in found if f is not None)
    if target.needs_4_bit and ours.get("quantization") != "nf4":
        return "", "not judged: bitsandbytes is not there, so this is LoRA on a base of 16 bits, no QLoRA"
    value = float(ours[target.figure])
    if not others:
        gb = value * GIB / 1e9
        return f"{gb:.2f} GB", "met" if gb < BUDGET else "missed"
    ratio = value / float(others[0][target.figure])
    return f"{ratio:.2f}", "met" if ratio >= target.least else "missed"


def verdicts(results: Sequence[Found]) -> str:
    """The targets as a table."""
    rows = ["| target, 3B | asked | measured | verdict |", "|---|---|---|---|"]
    for target in TARGETS:
        asked = f"under {BUDGET:g} GB" if target.over is None else f"at least {target.least:g} ×"
        rows.append(f"| {target.what} | {asked} | {' | '.join(verdict(target, results))} |")
    return "\n".join(rows)


def table(results: Sequence[Found]) -> str:
    """Every case."""
    rows = [
        f"| {f.shape} | {f.case} | {f'missing: {f.missing}' if f.missing else _written(f.figures)} |" for f in results
    ]
    return "\n".join(["| shape | case | figures |", "|---|---|---|", *rows])


def _written(figures: Mapping[str, Any]) -> str:
    return "; ".join(f"{key.replace('_', ' ')} {_number(value)}" for key, value in figures.items())


def _number(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def page(results: Sequence[Found]) -> str:
    """The whole page."""
    device = next((f.figures for f in results if f.case == "device" and f.figures), None)
    card = "a CPU, which tests the check and says nothing of a GPU" if device is None else (
        f"{device['name']}, {device['gib']} GiB"
    )  # fmt: skip
    left_out: Any = next((f.figures["left_out"] for f in results if f.case == "versions"), [])
    return f"""# On a GPU

Measured by `make gpu-check` on {date.today().isoformat()} on {card}. Not installed there: {_number(left_out)}.

{verdicts(results)}

The targets are for an H100. Random weights in the shapes of Qwen 2.5: speed and memory are real, replies and losses
mean nothing. Windows and pairs are the sample corpus's; recipes are the shipped ones, cut to a few steps of 8 rows.
Screentest's own trainers run beside TRL's and beside a bare loop (rows packed alike, logits of every position, no
trainer) on the same windows. `tokens per s` leaves the first step out, `whole` does not, and holds the reference's
answers of DPO. `8 GB` means that torch was refused more than 7.5 GiB. Exactness is the largest difference between a
window in company and alone.

{table(results)}
"""
