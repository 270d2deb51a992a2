"""The declared tail: of margins where a measure has them, said in a sentence, a state where it cannot be taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ablations import PLAIN, Values, design_of, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from report_example import example_record

from harness.experiment.analysis.contrasts import MeasureRule
from harness.experiment.analysis.seeded import SeededArm
from harness.experiment.analysis.trends_and_tails import quantile_rows, tail_rows
from harness.reporting.ablation_record import TailRow
from harness.reporting.finding_index import index
from harness.reporting.wording import TAIL_OR_PEAK, _tail_sentence
from harness.stats import tail_asymmetry
from harness.types import Estimate

TAIL = {"measure": "detectability", "contrast": "a5-none"}
RULES = {name: MeasureRule(name=name, unit="share", better="lower") for name in ("detectability", "heldout_loss")}


def declared(**changes: Any) -> Any:
    measures: Any = PLAIN["measures"]
    return design_of(measures={**measures, "detectability": {}}, **{"tail": TAIL, **changes})


def arm(name: str, values: Values) -> SeededArm:
    return seeded(name, {1: values}, measure="detectability", per_film=4)


def read(tuned: Values, control: Values, **changes: Any) -> tuple[TailRow, ...]:
    whole = [arm("a5", [0.5] * len(tuned)), arm("none", [0.5] * len(control))]
    return tail_rows(declared(**changes), whole, margins=[arm("a5", tuned), arm("none", control)], rules=RULES)


def test_one_tail_is_declared_alone_or_in_a_list_and_means_the_same() -> None:
    one, listed = declared(), declared(tail=[TAIL])
    assert one.tail == listed.tail
    assert one.declaration_digest() == listed.declaration_digest() != declared(tail=[TAIL, TAIL]).declaration_digest()
    assert declared(tail=None).tail == ()


def test_quantiles_and_tail_are_of_the_margins() -> None:
    rng = np.random.default_rng(0)
    control = rng.random(80)
    tuned = np.where(control < 0.4, 0.4 + control / 4, control)  # the low tail alone is cut
    (tail,) = read(tuned, control)
    assert "not tested" in tail.note  # no reply of a5 is left in the tail, whose log-odds are not defined
    tuned[:4] = 0.0  # so that both sides have a reply
    (tail,) = read(tuned, control)
    expected = tail_asymmetry(tuned, control, clusters=np.repeat(range(20), 4), low=tail.low, high=tail.high)
    assert tail.asymmetry.value == pytest.approx(expected.test.estimate.value)
    assert tail.asymmetry.value > 0
    assert tail.low_change.value < 0
    assert tail.label == "Margin of detectability"
    margins = [arm("a5", tuned), arm("none", control)]
    (found,) = quantile_rows(declared(), [arm("a5", [0.5] * 80)], margins=margins, rules=RULES)
    moved = [estimate.value for estimate in found.simultaneous]
    assert moved[1] > 0.1
    assert moved[-1] == pytest.approx(0, abs=0.05)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=8, max_size=8), st.booleans())
def test_any_margins_give_a_row_with_a_number_or_a_reason(values: list[float], is_flat: bool) -> None:
    (tail,) = read(values, [0.5] * 8 if is_flat else [*values[4:], *values[:4]])
    assert ("not tested" in tail.note) == bool(np.isnan(tail.asymmetry.value))


@pytest.mark.parametrize(
    ("asymmetry", "low", "high", "said"),
    [
        (0.5, -0.1, 0.02, TAIL_OR_PEAK[True, True]),
        (0.5, 0.01, -0.1, TAIL_OR_PEAK[True, False]),
        (-0.5, -0.02, 0.1, TAIL_OR_PEAK[False, True]),
        (-0.5, 0.1, -0.02, TAIL_OR_PEAK[False, False]),
        (0.05, -0.1, 0.02, "is not shown to cut the low tail"),
        (float("nan"), -0.1, 0.02, "could not be tested"),
    ],
)
def test_the_sentence_says_which_end_moved_and_claims_nothing_over_zero(
    asymmetry: float, low: float, high: float, said: str
) -> None:
    found = index(example_record())
    measure, contrast = next(iter(found.measures)), next(iter(found.contrasts))

    def estimate(value: float) -> Estimate:
        ends = (None, None) if np.isnan(value) else (value - 0.2, value + 0.2)
        return Estimate(value=value, low=ends[0], high=ends[1], level=0.95, n=40, n_clusters=10, n_missing=0, method="")

    tail = TailRow(
        measure=measure, contrast=contrast, low=1.0, high=2.0, asymmetry=estimate(asymmetry), p_value=None,
        sensitivity=estimate(asymmetry), low_change=estimate(low), high_change=estimate(high), note="",
    )  # fmt: skip
    assert said in _tail_sentence(found, tail)
