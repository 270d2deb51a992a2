"""How `screentest judge validate` shows a judge beside people."""

from __future__ import annotations

from harness.reporting.numbers import write_estimate
from harness.stats.annotators import MIN_ITEMS
from harness.studies.corrected import ValidatedContrast
from harness.studies.judge_marks import MarkValidation
from harness.studies.validation import Validation
from harness.terminal import dim
from harness.types import Estimate, Grain
from pipelines.cli.console import say, stdout, table

COLUMNS = ("Figure", "Value, 95 % interval", "n")


def show(validation: Validation) -> None:
    """A table a criterion, then what could not be computed."""
    for found in validation.criteria:
        rows = [] if found.marks is None else _mark_rows(found.marks)
        for contrast in found.contrasts:
            rows += _contrast_rows(contrast, unit="share" if found.marks is None else "points")
        table(f"{found.criterion}: {found.judge_id}", COLUMNS, rows)
        if found.marks is not None and found.marks.annotators is not None:
            test = found.marks.annotators
            n_replaced = sum(one.is_beaten for one in test.tests)
            near = write_estimate(test.advantage_probability, unit="share", grain=Grain.RATING)
            verdict = "may stand in for a rater" if test.is_passed else "may not stand in for a rater"
            stdout().print(
                f"  The judge {verdict}: it holds against {n_replaced} of {len(test.tests)} "
                f"(ω = {test.winning_share:.2f}, ε = {test.epsilon:g}) and is at least as close as they are on "
                f"{near.effect} of their marks (ρ).",
                soft_wrap=True,
            )
            if test.left_out:
                names = ", ".join(str(name) for name in test.left_out)
                stdout().print(f"  Left out for sharing under {MIN_ITEMS} items with others: {names}.", soft_wrap=True)
        for reason in found.marks.why_not if found.marks else ():
            stdout().print(f"  {reason}", style="dim", soft_wrap=True)
    say(dim(f"run {validation.run_id}"))


def _mark_rows(marks: MarkValidation) -> list[tuple[str, ...]]:
    rows = [
        _row("Judge with people (Spearman)", marks.correlation, grain=Grain.REPLY),
        _row("Judge with people (quadratic kappa)", marks.kappa, grain=Grain.REPLY),
        _row("People among themselves (Krippendorff)", marks.among_people, grain=Grain.REPLY),
    ]
    if marks.bias is not None:
        rows.append(_row("Judge − people", marks.bias.bias, unit="points", is_difference=True, grain=Grain.REPLY))
    return [row for row in rows if row]


def _contrast_rows(contrast: ValidatedContrast, *, unit: str) -> list[tuple[str, ...]]:
    name = f"{contrast.variant} against {contrast.opponent}"
    is_difference = unit == "points"
    if contrast.powered is None:
        return [(name, contrast.why_not, "")]
    powered = contrast.powered
    rows = [
        _row(
            f"{name}, people with the judge's help, these raters",
            powered.test.estimate,
            unit=unit,
            is_difference=is_difference,
        ),
        _row(f"{name}, people alone, these raters", powered.human_only, unit=unit, is_difference=is_difference),
        _row(f"{name}, judge alone (biased)", powered.judge_only, unit=unit, is_difference=is_difference)
        if unit == "share"
        else (),
        _row(f"{name}, judge prefers what people prefer", contrast.concordance, unit="share"),
    ]
    return [row for row in rows if row]


def _row(
    label: str,
    estimate: Estimate | None,
    *,
    unit: str = "",
    is_difference: bool = False,
    grain: Grain = Grain.PROMPT,
) -> tuple[str, ...]:
    if estimate is None:
        return ()
    written = write_estimate(estimate, unit=unit, is_difference=is_difference, grain=grain)
    return (label, written.effect, written.rows)
