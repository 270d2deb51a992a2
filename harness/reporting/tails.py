"""Does the low tail fall more than the peak rises? What a declared tail test says, as a sentence and as a table."""

from __future__ import annotations

import math

from harness.reporting.ablation_record import TailRow
from harness.reporting.finding_index import Index
from harness.reporting.numbers import write_estimate
from harness.reporting.safe_text import in_sentence

MORE = {  # by whether the asymmetry is above 0, and the low tail falls or the peak rises at all
    (True, True): "cuts the low tail more than it lifts the peak",
    (True, False): "loses at the peak more than in the low tail",
    (False, True): "lifts the peak more than it cuts the low tail",
    (False, False): "fills the low tail more than it loses at the peak",
}


def tail_sentences(found: Index) -> tuple[str, ...]:
    """One for each declared tail: what is shown, or that nothing is."""
    record = found.record.ablation
    return () if record is None else tuple(_sentence(found, tail) for tail in record.tail)


def tail_label(found: Index, tail: TailRow) -> str:
    """What a tail is of."""
    return tail.label or (found.measures[tail.measure].label if tail.measure in found.measures else tail.measure)


def _sentence(found: Index, tail: TailRow) -> str:
    treatment, reference = found.contrasts[tail.contrast].arms
    what, test = in_sentence(tail_label(found, tail)), tail.asymmetry
    if math.isnan(test.value):
        return f"Whether {treatment} cuts the low tail of {what} more than it lifts the peak could not be tested."
    low, high = (
        write_estimate(change, unit="share", is_difference=True).amount
        for change in (tail.low_change, tail.high_change)
    )
    shares = f"{low} of replies in the low tail, {high} at the peak"
    number = f"asymmetry {write_estimate(test, unit='log-odds', is_difference=True).effect}"
    if test.low is None or test.high is None or test.low <= 0 <= test.high:
        return (
            f"Against {reference}, {treatment} is not shown to cut the low tail of {what} more than it lifts the peak, "
            f"nor the other way round ({shares}; {number})."
        )
    is_cut = test.value > 0
    moved = tail.low_change.value < 0 if is_cut else tail.high_change.value > 0
    return f"Against {reference}, {treatment} {MORE[is_cut, moved]} on {what} ({shares}; {number})."
