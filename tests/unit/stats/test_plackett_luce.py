"""Plackett–Luce against choix, by hand, and under relabelling."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from certain import holds
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.stats import RankingFit, Unfitted, fit_rankings

# choix 0.4: opt_rankings(4, ORDERS, alpha=0), centred.
ORDERS = ["abcd", "bacd", "acbd", "dabc", "cbad", "abdc", "bdac", "adbc"]
GOLDEN = {"a": 0.89161595, "b": 0.47603425, "c": -0.71463433, "d": -0.65301587}


def ranked(order: str) -> dict[str, int]:
    return {name: rank for rank, name in enumerate(order, start=1)}


def test_strengths_are_those_of_choix() -> None:
    fit = fit_rankings([ranked(o) for o in ORDERS], clusters=range(8))
    assert isinstance(fit, RankingFit)
    found = {str(v): s.value for v, s in zip(fit.variants, fit.strengths, strict=True)}
    assert found == pytest.approx(GOLDEN, abs=2e-5)
    assert all(holds(s) for s in fit.strengths)


def test_two_variants_are_a_share_of_wins() -> None:
    fit = fit_rankings([ranked("ab")] * 3 + [ranked("ba")], clusters=range(4))
    assert isinstance(fit, RankingFit)
    assert fit.strengths[0].value - fit.strengths[1].value == pytest.approx(math.log(3), abs=1e-5)


def test_a_shared_rank_is_all_its_orders() -> None:
    """Best–worst of four says nothing of the middle: where all are best and worst as often, none is stronger."""
    best_worst = [{"a": 1, "b": 2, "c": 2, "d": 4}, {"d": 1, "b": 2, "c": 2, "a": 4}, {"b": 1, "a": 2, "d": 2, "c": 4},
                  {"c": 1, "a": 2, "d": 2, "b": 4}]  # fmt: skip
    fit = fit_rankings(best_worst, clusters=range(4))
    assert isinstance(fit, RankingFit)
    assert [s.value for s in fit.strengths] == pytest.approx([0] * 4, abs=1e-6)


def test_what_cannot_be_fitted_says_so() -> None:
    assert isinstance(fit_rankings([ranked("abc")] * 4, clusters=range(4)), Unfitted)
    with pytest.raises(InputError, match="2 to 6"):
        fit_rankings([ranked("abcdefg")], clusters=[0])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.permutations("abc"), min_size=3, max_size=12))
def test_names_do_not_matter(orders: list[list[str]]) -> None:
    whole = ["".join(o) for o in orders] + ["".join(o) for o in itertools.permutations("abc")]
    fit = fit_rankings([ranked(o) for o in whole], clusters=range(len(whole)))
    renamed = fit_rankings(
        [ranked(o.translate(str.maketrans("abc", "zyx"))) for o in whole], clusters=range(len(whole))
    )
    assert isinstance(fit, RankingFit)
    assert isinstance(renamed, RankingFit)
    np.testing.assert_allclose([s.value for s in fit.strengths], [s.value for s in renamed.strengths][::-1], atol=1e-5)
