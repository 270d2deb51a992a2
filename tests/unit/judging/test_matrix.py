"""Judges beside each other: how far they agree, and who should not be believed."""

from __future__ import annotations

import numpy as np
import pytest
from certain import sure

from harness.errors import InputError
from harness.judging.matrix import JudgedRows, judge_matrix, preference_warnings
from harness.seeding import stream

CLUSTERS = {f"i{i}": f"film{i % 5}" for i in range(20)} | {f"p{i}": f"film{i % 5}" for i in range(20)}


def judged(
    name: str, values: list[float | None], differences: list[float | None] | None = None, *, family: str = "a"
) -> JudgedRows:
    return JudgedRows(
        judge_id=name,
        family=family,
        criterion="coherence",
        scores={f"i{i}": value for i, value in enumerate(values)},
        differences={f"p{i}": value for i, value in enumerate(differences or [])},
        clusters=CLUSTERS,
    )


def rng() -> np.random.Generator:
    return stream(0, "matrix")


def test_the_same_order_on_another_scale_agrees_wholly_and_the_reverse_not_at_all() -> None:
    one = judged("one", [float(i) for i in range(20)], [1.0] * 20)
    other = judged("other", [float(i * i) for i in range(20)], [0.1] * 20, family="b")
    found = judge_matrix([one, other], rng=rng())[0]
    assert (sure(found.rank_correlation).value, sure(found.verdicts).value) == pytest.approx((1.0, 1.0))
    assert (found.over, found.share_family) == ("replies", False)
    reverse = judged("reverse", [-float(i) for i in range(20)], [-1.0] * 20)
    found = judge_matrix([one, reverse], rng=rng())[0]
    assert (sure(found.rank_correlation).value, sure(found.verdicts).value) == pytest.approx((-1.0, 0.0))
    assert found.share_family


def test_verdicts_by_hand_with_ties_and_missing() -> None:
    # Signs: + + 0 − and + 0 0 missing: two of the three pairs with both agree.
    one = judged("one", [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 0.0, -1.0])
    other = judged("other", [1.0, 2.0, None, 4.0], [0.5, 0.0, 0.0, None])
    found = judge_matrix([one, other], rng=rng())[0]
    verdicts, correlation = sure(found.verdicts), sure(found.rank_correlation)
    assert (verdicts.value, verdicts.n, verdicts.n_missing) == pytest.approx((2 / 3, 3, 1))
    assert (correlation.n, correlation.n_missing) == (3, 1)


def test_a_pairwise_judge_is_compared_over_pairs() -> None:
    scores = judged("one", [float(i) for i in range(20)], [float(i - 10) for i in range(20)])
    pairwise = judged("pairs", [], [(i % 3 - 1) / 2 for i in range(20)])
    found = judge_matrix([scores, pairwise], rng=rng())[0]
    assert found.over == "pairs"
    assert sure(found.rank_correlation).n == 20


def test_nothing_to_compare_is_not_zero() -> None:
    flat = judge_matrix([judged("one", [1.0] * 5), judged("other", [1.0, 2.0, 3.0, 4.0, 5.0])], rng=rng())[0]
    assert flat.rank_correlation is flat.verdicts is None
    with pytest.raises(InputError, match="must share a criterion"):
        judge_matrix([judged("one", [1.0])], rng=rng())


def test_the_judge_that_made_the_preferences_is_warned_of_by_family() -> None:
    rows = [judged("one", [1.0], family="gpt-4o"), judged("other", [1.0], family="qwen2.5")]
    warnings = preference_warnings(rows, preferred_by=["GPT-4o"])
    assert len(warnings) == 1
    assert warnings[0].startswith("one is of the family gpt-4o, which made the preferences")
    assert preference_warnings(rows, preferred_by=[]) == []
