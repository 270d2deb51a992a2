"""Three replies and more: put in order, or the best and the worst, and what follows for each pair."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from certain import sure
from panels import Rule, a_study, cast_for, seats
from sqlalchemy import Engine

from harness.errors import InputError
from harness.studies.casting import Cast
from harness.studies.exports import votes_csv
from harness.studies.items import shown_order
from harness.studies.rankings import is_ranking, ranks_asked, whole_ranking
from harness.studies.rating_rows import read_rows
from harness.studies.results import study_results
from harness.studies.serving import RatingTask
from harness.ui.ballot import Ballot

VARIANTS = ("base", "dpo", "sft")


def ranking(order: tuple[str, ...]) -> Rule:
    def rule(task: RatingTask, row: Any) -> Cast:
        shown = [row.replies[i]["variant"] for i in shown_order(task.slot, len(order), is_flipped=False)]
        return cast_for(task, marks={str(place): order.index(name) + 1 for place, name in enumerate(shown, start=1)})

    return rule


def test_orders_become_pairs_and_strengths(engine: Engine) -> None:
    created = a_study(engine, kind="ranking", variants=VARIANTS, n_prompts=6)
    orders = [("sft", "dpo", "base"), ("sft", "base", "dpo"), ("base", "sft", "dpo")]
    for rater, order in zip(seats(engine, created), orders, strict=True):
        rater.rate(ranking(order))
    found = study_results(engine, created.study)
    means = {(p.variant, p.opponent): p.look.estimate.value for p in found.pairs}
    assert means == pytest.approx({("base", "dpo"): 2 / 3, ("base", "sft"): 1 / 3, ("dpo", "sft"): 0.0})
    assert (found.n_rated, found.pairs[0].n_prompts, found.pairs[0].n_waiting) == (18, 6, 0)
    fit = sure(found.strengths)
    strong = dict(zip(fit.variants, fit.strengths, strict=True))
    assert max(strong, key=lambda name: strong[name].value) == "sft"
    lines = votes_csv(engine, created.study).splitlines()
    assert len(lines) == 1 + 18 * 3
    orders_shown = {tuple(r.variant for r in row.shown) for row in read_rows(engine, created.study)}
    assert len(orders_shown) > 3


@pytest.mark.parametrize("is_best_worst", [False, True])
def test_pressing_places_gives_a_whole_ranking_and_undo_goes_back_one_by_one(
    engine: Engine, is_best_worst: bool
) -> None:
    asked: dict[str, Any] = {"panel": {"raters": 1}, "best_worst": is_best_worst, "variants": ("a", "b", "c", "d")}
    created = a_study(engine, kind="ranking", n_prompts=1, clock=time.time, **asked)
    ballot = Ballot(engine=engine, token=created.links[0].token)
    task = ballot.current()
    assert isinstance(task, RatingTask)
    assert task.is_best_worst == is_best_worst
    ballot.served_at -= 10
    presses = [3, 1] if is_best_worst else [3, 1, 4]
    for place in presses:
        ballot.rank(ballot.nonce, place)
    ballot.current()
    (row,) = read_rows(engine, created.study)
    wanted = {"1": 4, "2": 2, "3": 1, "4": 2} if is_best_worst else {"1": 2, "2": 4, "3": 1, "4": 3}
    assert sure(row.rating).marks == wanted
    ballot.undo(ballot.nonce)
    assert isinstance(ballot.current(), RatingTask)
    assert list(ballot.marks) == [str(place) for place in presses[:-1]]
    ballot.undo(ballot.nonce)
    assert list(ballot.marks) == [str(place) for place in presses[:-2]]


@pytest.mark.parametrize("n", [3, 4, 6])
@pytest.mark.parametrize("is_best_worst", [False, True])
def test_a_ranking_gives_every_place_one_rank(n: int, is_best_worst: bool) -> None:
    asked = ranks_asked(n, is_best_worst=is_best_worst)
    for places in itertools.islice(itertools.permutations(range(1, n + 1), len(asked)), 50):
        given = {str(p): rank for p, rank in zip(places, asked, strict=True)}
        whole = whole_ranking(given, n_replies=n, is_best_worst=is_best_worst)
        assert is_ranking(whole, n_replies=n, is_best_worst=is_best_worst)
        assert (
            not is_ranking({**whole, "1": whole["2"]}, n_replies=n, is_best_worst=is_best_worst)
            or whole["1"] == whole["2"]
        )


def test_a_ranking_is_of_three_replies_and_more(sqlite: Engine) -> None:
    with pytest.raises(InputError, match="3 to 6 replies"):
        a_study(sqlite, kind="ranking", variants=("a", "b"))
