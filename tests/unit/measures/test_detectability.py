"""Whether a classifier tells replies from people's: against refits by hand, under the null, and on hostile replies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from certain import sure
from hypothesis import given, settings
from hypothesis import strategies as st
from nouns import generation, prompt

from harness.measures import detectability
from harness.measures.catalogue import CATALOGUE
from harness.measures.detectability import PENALTY, detect
from harness.measures.measure import Taken
from harness.stats import mean_estimate, paired_contrast
from harness.types import Generation, Prompt


class Letters:
    """An encoder that counts letters."""

    def encode(self, texts: Any, *, on_progress: Any = None) -> Any:
        counted = np.array([[text.lower().count(c) for c in "etaoin shrdlu"] for text in texts], dtype=float)
        return counted.reshape(len(texts), -1) / np.maximum(np.linalg.norm(counted, axis=-1, keepdims=True), 1)


def prompts_of(n_films: int, *, per_film: int = 4, reference: str | None = "Who told you {i}, then?") -> list[Prompt]:
    return [
        prompt(f"p{i}", f"They said {i}.", cluster=f"f{i % n_films}", reference=reference and reference.format(i=i))
        for i in range(n_films * per_film)
    ]


def said(variant: str, prompts: list[Prompt], texts: list[str]) -> list[Generation]:
    return [generation(text, to, variant=variant) for to, text in zip(prompts, texts, strict=True)]


def taken(name: str, generations: list[Generation], prompts: list[Prompt]) -> Taken:
    return sure(CATALOGUE[name].take)(generations, prompts, encoder=Letters())


def drawn(rng: np.random.Generator, *, shift: float = 0.0, n_films: int = 10, per_film: int = 4) -> Any:
    """Features of people's and of a model's replies, which share what their film and prompt give them."""
    films = np.repeat(np.arange(n_films), per_film)
    given_ = rng.normal(size=(n_films, 40))[films] * 0.1 + rng.normal(size=(len(films), 40)) * 0.1
    human, model = (given_ + rng.normal(size=given_.shape) * 0.15 for _ in range(2))
    model[:, :3] += shift
    return human, model, films


def test_scores_are_those_of_fits_that_never_saw_the_film() -> None:
    rng = np.random.default_rng(0)
    human, model, films = drawn(rng, shift=0.2)
    x = np.vstack([human, model])
    weights, films = np.ones(80), np.tile(films, 2)
    labels = np.repeat([-1.0, 1.0], 40)
    found = detectability._Fit(x, weights=weights, films=films)
    centred = detectability._standardised(x, weights)
    for left_out in (films == 0, films == 7, films < 9):  # the last are more rows than dimensions
        seen, rows = ~left_out, np.flatnonzero(left_out)
        coefficients = np.linalg.solve(
            centred[seen].T @ centred[seen] + PENALTY * np.eye(40), centred[seen].T @ labels[seen]
        )
        assert found.fitted(labels, without=rows) == pytest.approx(centred @ coefficients)
        if len(set(films[rows])) == 1:
            assert found.left_out(labels)[rows] == pytest.approx(centred[rows] @ coefficients)


def test_rows_average_to_the_area_under_the_curve_and_draws_count_as_one() -> None:
    rng = np.random.default_rng(1)
    human, model, films = drawn(rng, shift=0.15)
    one = detect(human, model, owners=np.arange(40), films=films, rng=np.random.default_rng(0))
    twice = detect(human, np.vstack([model, model]), owners=np.tile(np.arange(40), 2), films=films, rng=rng)
    assert one.rows.mean() == pytest.approx(one.auc) == pytest.approx(twice.auc)
    assert 0.6 < one.auc <= 1
    assert one.p_value <= 0.03
    assert one.margins.mean() == pytest.approx(1 - one.auc)
    far = detect(human, model + 5, owners=np.arange(40), films=films, rng=rng)
    assert far.auc == 1
    same = detect(human, human.copy(), owners=np.arange(40), films=films, rng=rng)
    assert same.p_value > 0.05


def test_under_the_null_intervals_hold_and_contrasts_do_not_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """150 draws; rejections of 5 % lie within 10 % with probability 0.99. docs/statistics.md has the full figures."""
    monkeypatch.setattr(detectability, "N_SHUFFLES", 19)
    rng = np.random.default_rng(2)
    told, differ = 0, 0
    for _ in range(150):
        human, model, films = drawn(rng)
        other = drawn(rng)[1]
        rows = [detect(human, m, owners=np.arange(40), films=films, rng=rng).rows for m in (model, other)]
        estimate = mean_estimate(rows[0], clusters=films, rng=rng, n_resamples=500)
        told += not (estimate.low or 0) <= 0.5 <= (estimate.high or 1)
        differ += (paired_contrast(*rows, clusters=films).p_value or 1) < 0.05
    assert told <= 15
    assert differ <= 15


def test_each_variant_stands_by_itself_and_remarks_say_what_gives_it_away() -> None:
    prompts = prompts_of(12)
    long = said("long", prompts, [f"well, I would say that number {i} is rather fine" for i in range(48)])
    alike = said("alike", prompts, [f"Who told you {i}, now?" for i in range(48)])
    alone, both = taken("detectability", long, prompts), taken("detectability", [*alike, *long], prompts)
    assert alone.rows == both.rows[48:]
    assert np.mean([row.value for row in alone.rows]) > 0.95
    assert "beyond chance" in alone.remarks["long"][0]
    assert "longer replies" in alone.remarks["long"][1]
    assert "fewer capital letters" in alone.remarks["long"][1]


@pytest.mark.parametrize(
    ("prompts", "text", "why"),
    [
        (prompts_of(1, per_film=8), "Fine.", "replies of 3 films are needed"),
        (prompts_of(5, reference=None), "Fine.", "the prompt has no reference"),
        (prompts_of(5), " ", ""),
    ],
)
def test_what_cannot_be_measured_is_missing_with_its_reason(prompts: list[Prompt], text: str, why: str) -> None:
    found = taken("detectability", said("a", prompts, [text] * len(prompts)), prompts)
    assert all(row.value is None and row.status in ("unsupported", "empty") for row in found.rows)
    assert all(why in row.reason for row in found.rows)
    assert found.remarks == {}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from(["", "Who?", "no no no " * 1600, "Привет!", "👍", "\x00", "x"]), min_size=12, max_size=12)
)
def test_whatever_is_replied_gives_a_finite_number_or_none(texts: list[str]) -> None:
    prompts = prompts_of(4, per_film=3, reference="Who?")
    for name in ("detectability", "context_similarity"):
        found = taken(name, said("a", prompts, texts), prompts)
        assert len(found.rows) == 12
        for row, text in zip(found.rows, texts, strict=True):
            assert (row.value is None) == (row.status != "ok")
            assert row.value is None or math.isfinite(row.value)
            assert text.strip("\x00") or row.value is None


def test_replies_that_are_all_people_s_own_are_not_told() -> None:
    prompts = prompts_of(5, reference="Who?")
    found = taken("detectability", said("a", prompts, ["Who?"] * 20), prompts)
    assert {row.value for row in found.rows} == {0.5}


def test_an_echo_is_nearest_to_the_last_turn() -> None:
    prompts = prompts_of(2)
    echo = taken("context_similarity", said("e", prompts, [p.messages[-1].content for p in prompts]), prompts)
    assert all(row.value == pytest.approx(1) for row in echo.rows)
