"""What is concluded from ratings: by hand on small panels, and only from ratings that count."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from certain import ends, holds, sure
from panels import Rule, a_study, cast_for, favouring, saying, seats, sides
from sqlalchemy import Engine

from harness.reporting.numbers import write_basis
from harness.seeding import stream
from harness.stats import krippendorff_alpha
from harness.store.artifacts import to_json
from harness.studies.rating_rows import RatedSlot, read_rows
from harness.studies.results import REHEARSAL_NOTE, TRAIN_NOTE, StudyResults, study_results
from harness.studies.studies import Created, add_rehearsal, revoke_link


def results(engine: Engine, created: Created) -> StudyResults:
    return study_results(engine, created.study)


ALWAYS_LEFT = saying(lambda row: "left")


def by_chance(rng: np.random.Generator, *, p_left: float = 0.0) -> Rule:
    """Votes for either reply alike, or for the left side with a probability."""

    def said(row: Any) -> str:
        reply = row.replies[int(rng.random() >= 0.5)]["variant"]
        return "left" if p_left and rng.random() < p_left else reply

    return saying(said)


def test_a_panel_of_one_mind_by_hand(engine: Engine) -> None:
    created = a_study(engine, n_prompts=12)
    for rater in seats(engine, created):
        rater.rate(favouring("sft"))
    found = results(engine, created)
    (pair,) = found.pairs
    assert (pair.variant, pair.opponent, pair.n_prompts, pair.n_waiting) == ("base", "sft", 12, 0)
    assert (pair.look.estimate.value, pair.look.estimate.n) == (0.0, 12)
    assert pair.look.advice.action == "stop"
    decisive = sure(pair.win).decisive
    assert (decisive.value, decisive.n) == (0.0, 36)
    assert (found.n_rated, found.n_waiting, found.n_rehearsal) == (36, 0, 0)
    # Sides are balanced, so who prefers a variant has no side: 18 of 36.
    assert sure(found.left_share).value == pytest.approx(0.5, abs=1 / 12)
    assert "never lost" in sure(found.strengths).why_not
    (agreement,) = found.agreement
    assert "at least two categories" in agreement.why_not
    assert (agreement.krippendorff, agreement.fleiss) == (None, None)


def test_a_prompt_counts_once_its_panel_is_complete(engine: Engine) -> None:
    created = a_study(engine, n_prompts=6, block=1)
    one, two, three = seats(engine, created)
    for rater in (one, two):
        rater.rate(favouring("sft"))
    assert results(engine, created).pairs[0].look.estimate.n == 0
    three.rate(favouring("base"), limit=2)
    (pair,) = results(engine, created).pairs
    assert (pair.look.estimate.n, pair.n_waiting) == (2, 4)
    assert pair.look.estimate.value == pytest.approx(1 / 3)
    revoke_link(engine, created.study, "rater-3")
    (pair,) = results(engine, created).pairs
    assert (pair.look.estimate.n, pair.n_waiting) == (6, 0)
    assert pair.look.estimate.value == pytest.approx((2 * (1 / 3)) / 6)


def test_ties_are_half_and_both_bad_is_told_apart(engine: Engine) -> None:
    created = a_study(engine, panel={"raters": 1})
    verdicts = iter(["tie", "both_bad", "both_bad", "left"])
    seats(engine, created)[0].rate(saying(lambda row: next(verdicts)))
    found = results(engine, created)
    assert sure(found.both_bad).value == 0.5
    assert found.pairs[0].look.estimate.value in ((0.5 * 3) / 4, (0.5 * 3 + 1) / 4)


def test_an_undone_vote_and_a_skip_enter_nothing_and_a_change_counts_as_changed(engine: Engine) -> None:
    created = a_study(engine, n_prompts=3, panel={"raters": 1})
    (rater,) = seats(engine, created)
    first = rater.vote(verdict="tie").slot
    rater.cast("change", first, verdict="both_bad")
    rater.cast("skip", rater.due().slot, reason="unreadable")
    rater.vote()
    rater.cast("undo")
    found = results(engine, created)
    assert (found.n_rated, found.n_skipped, found.n_waiting) == (1, 1, 1)
    both_bad = sure(found.both_bad)
    assert (both_bad.value, both_bad.n) == (1.0, 1)


def test_rehearsal_never_enters_a_result(engine: Engine) -> None:
    created = a_study(engine, n_prompts=6)
    for rater in seats(engine, created):
        rater.rate(favouring("sft"))
    before = results(engine, created)
    (trial,) = seats(engine, created, add_rehearsal(engine, created.study, "me-trying"))
    assert trial.rate(favouring("base")) == 6
    after = results(engine, created)
    assert after.n_rehearsal == 6
    assert after.notes == (REHEARSAL_NOTE,)
    assert (after.pairs, after.n_rated, after.both_bad) == (before.pairs, before.n_rated, before.both_bad)


def test_a_planted_position_bias_is_found_and_none_is_found_where_there_is_none(sqlite: Engine) -> None:
    found = []
    for p_left in (0.5, 0.0):
        created = a_study(sqlite, name=f"left-{p_left}", n_prompts=60, films=20)
        for number, rater in enumerate(seats(sqlite, created)):
            rater.rate(by_chance(stream(1, "raters", str(p_left or None), number), p_left=p_left))
        found.append(results(sqlite, created))
    biased, fair = found
    # Half the votes are for the left side whatever stands there: 75 % left.
    low, high = ends(biased.left_share)
    assert 0.5 < low < 0.75 < high
    assert ends(sure(biased.strengths).position)[0] > 0
    assert holds(fair.left_share, 0.5)


def test_a_careless_rater_is_left_out_by_the_declared_rule(engine: Engine) -> None:
    rules = {"min_attention": 0.75, "min_seconds": None}
    created = a_study(engine, n_prompts=8, attention=4, repeats=0.25, exclusion=rules)
    for rater, rule in zip(seats(engine, created), (favouring("sft"), favouring("sft"), ALWAYS_LEFT), strict=True):
        rater.rate(rule)
    found = results(engine, created)
    good, _, bad = found.raters
    attention, consistency = sure(good.attention), sure(good.consistency)
    assert (attention.value, attention.n, good.is_excluded) == (1.0, 4, False)
    bases = [write_basis(e) for e in (attention, consistency, sure(good.left_share))]
    assert bases == [f"n = {n}, 0 missing" for n in ("4 checks", "2 ratings, 2 prompts", "8 votes, 8 prompts")]
    assert (consistency.value, consistency.n) == (1.0, 2)
    # Sides of the checks alternate, so who always votes left passes half; repeats are swapped, so never the same.
    assert sure(bad.attention).value == 0.5
    assert sure(bad.consistency).value == 0.0
    assert bad.excluded_for == ("attention checks passed: 50% of 4, the rule is at least 75%",)
    assert found.n_rated == 16
    assert found.pairs[0].look.estimate.value == 0.0


def test_a_skipped_check_is_failed_and_so_is_one_with_marks_all_alike(engine: Engine) -> None:
    votes = a_study(engine, name="votes", attention=2, panel={"raters": 1})
    marks = a_study(engine, name="marks", kind="likert", variants=("sft",), attention=2)

    def marking(low: int, usual: int) -> Rule:
        return lambda task, row: cast_for(
            task, marks={c.name: low if row.kind == "attention" else usual for c in task.criteria}
        )

    seats(engine, votes)[0].rate(
        lambda task, row: (
            cast_for(task, action="skip", reason="?") if row.kind == "attention" else favouring("sft")(task, row)
        )
    )
    for rater, given in zip(seats(engine, marks), ((1, 1), (1, 4), (5, 5)), strict=True):
        rater.rate(marking(*given))
    passed = [q.attention.value for study in (votes, marks) for q in results(engine, study).raters if q.attention]
    assert passed == [0.0, 0.0, 1.0, 0.0]


def test_speed_and_side_rules(engine: Engine) -> None:
    rules = {"min_attention": None, "min_seconds": 5, "max_one_side": 0.9, "min_ratings": 4}
    created = a_study(engine, n_prompts=6, exclusion=rules)
    seats(engine, created)[0].rate(ALWAYS_LEFT)
    broken = results(engine, created).raters[0].excluded_for
    assert [text.partition(":")[0] for text in broken] == ["median time to rate", "decisive votes on one side"]


def test_three_variants_are_ranked_and_agree_with_each_pair(sqlite: Engine) -> None:
    created = a_study(sqlite, n_prompts=30, films=15, variants=("a", "b", "c"))
    skill = {"a": 0.0, "b": 0.7, "c": 1.4}

    def skilled(rng: np.random.Generator) -> Rule:
        def said(row: Any) -> str:
            left, right = sides(row)
            wins = rng.random() < 1 / (1 + np.exp(skill[right] - skill[left]))
            return "tie" if rng.random() < 0.2 else "left" if wins else "right"

        return saying(said)

    for number, rater in enumerate(seats(sqlite, created)):
        rater.rate(skilled(stream(0, "skilled", number)))
    found = results(sqlite, created)
    assert [(p.variant, p.opponent) for p in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    values = [e.value for e in sure(found.strengths).strengths]
    assert values == sorted(values)
    assert sure(found.strengths).tie is not None
    assert sure(found.agreement[0].fleiss).n == 90
    codings = {
        "variant": lambda r: ("a", "b", "c", "tie").index(r.winner),
        "place": lambda r: {1.0: 0, 0.0: 1}.get(r.first_wins, 2),
        "side": lambda r: ("left", "right", "tie").index(r.rating.verdict),
    }
    alpha = {name: _alpha(read_rows(sqlite, created.study), code) for name, code in codings.items()}
    assert sure(found.agreement[0].krippendorff).value == pytest.approx(alpha["variant"])
    assert max(alpha["side"], alpha["place"]) < alpha["variant"] - 0.1  # neither has a winner as one category


def _alpha(rows: list[RatedSlot], code: Callable[[RatedSlot], float]) -> float:
    """Agreement of a complete panel whose votes are coded so."""
    items, raters = sorted({r.item_id for r in rows}), sorted({r.rater for r in rows})
    table = np.array(
        [[next(code(r) for r in rows if (r.item_id, r.rater) == (i, who)) for who in raters] for i in items]
    )
    return krippendorff_alpha(table, scale="nominal", clusters=items, rng=np.random.default_rng(0)).value


def test_marks_give_means_contrasts_and_agreement(engine: Engine) -> None:
    created = a_study(engine, kind="likert", n_prompts=6)

    def marking(number: int) -> Rule:
        def rule(task: Any, row: Any) -> Any:
            better, even = row.replies[0]["variant"] == "sft", int(row.prompt_id[1:]) % 2
            return cast_for(task, marks={"fluent": 2 + 2 * better, "relevant": 1 + even + (number == 0)})

        return rule

    for number, rater in enumerate(seats(engine, created)):
        rater.rate(marking(number))
    found = results(engine, created)
    fluent, relevant = found.marks
    assert dict(fluent.means)["base"].panel.estimate.value == 2
    ((variant, opponent, claims),) = fluent.contrasts
    contrast = claims.panel
    assert claims.people.estimate.value == -2
    assert (variant, opponent, contrast.estimate.value, contrast.estimate.n) == ("base", "sft", -2, 18)
    assert dict(relevant.means)["sft"].panel.estimate.value == pytest.approx(1.5 + 1 / 3)
    fluency, relevance = found.agreement
    assert sure(fluency.krippendorff).value == 1.0
    assert sure(relevance.krippendorff).value < 1.0


def test_votes_on_train_prompts_compare_nobody(engine: Engine) -> None:
    created = a_study(engine, split="train")
    seats(engine, created)[0].rate(favouring("sft"))
    found = results(engine, created)
    assert (found.pairs, found.strengths) == ((), None)
    assert found.notes == (TRAIN_NOTE,)
    assert found.n_rated == 4


def test_a_study_without_votes_has_results_that_say_so(engine: Engine) -> None:
    created = a_study(engine, attention=1, practice=True)
    found = results(engine, created)
    assert found.pairs[0].why_not == "nobody has voted yet"
    assert found.pairs[0].look.estimate.n == 0
    assert (found.left_share, found.both_bad, found.agreement, found.marks) == (None, None, (), ())
    assert to_json(found.raters)


def test_a_later_look_only_adds_prompts_and_never_widens(sqlite: Engine) -> None:
    """Completed prompts enter in the order completed: what was seen at an earlier look is never reordered."""
    created = a_study(sqlite, n_prompts=12, block=4)
    panel = [(rater, by_chance(stream(3, "look", i))) for i, rater in enumerate(seats(sqlite, created))]
    widths, seen = [], []
    for _ in range(12):
        for rater, rule in panel:
            rater.rate(rule, limit=1)
        look = results(sqlite, created).pairs[0].look.estimate
        widths.append((look.high or 0) - (look.low or 0))
        seen.append(look.n)
    assert seen[-1] == 12
    assert seen == sorted(seen)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(widths))
