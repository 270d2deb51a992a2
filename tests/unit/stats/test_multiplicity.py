from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

from harness.errors import InputError
from harness.stats import adjust

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.03, 0.04 times 3, 2, 1 = 0.03, 0.06, 0.04 → running maximum 0.03, 0.06, 0.06
    assert adjust([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])


@settings(max_examples=6)  # statsmodels takes 50 ms a call
@given(p=P_VALUES)
def test_against_statsmodels_and_scipy(p: list[float]) -> None:
    assert adjust(p) == pytest.approx(list(multipletests(p, method="holm")[1]))
    assert adjust(p, method="bh") == pytest.approx(list(false_discovery_control(p)))
    assert adjust(p, method="by") == pytest.approx(list(false_discovery_control(p, method="by")))


@given(p=P_VALUES, seed=st.integers(0, 999))
def test_order_does_not_matter_and_nothing_shrinks(p: list[float], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(p))
    adjusted = adjust(p)
    assert adjust([p[i] for i in order]) == pytest.approx([adjusted[i] for i in order])
    assert all(after >= before for before, after in zip(p, adjusted, strict=True))


def test_an_empty_family_and_a_family_of_one() -> None:
    assert adjust([]) == []
    assert adjust([0.2]) == [0.2]


@pytest.mark.parametrize("p", [[1.2], [-0.1], [float("nan")]])
def test_values_outside_the_unit_interval_are_refused(p: list[float]) -> None:
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        adjust(p)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match="holm, bh or by"):
        adjust([0.1], method="bonferroni")  # type: ignore[arg-type]
