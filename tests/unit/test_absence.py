"""Absence is a finding: who lacks rows gains nothing, and a number is a function of its own rows."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ablations import untrained
from asked import prompt, replies, reply
from certain import sure
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.analysis.absence import absent_replies, fills
from harness.experiment.analysis.contrasts import MeasuredArm, MeasureRule
from harness.experiment.analysis.seeds import Analysis, analyse_seeds
from harness.experiment.analysis.values import Lacking, Row, Rows, lacking_of, pair, per_prompt
from harness.experiment.design import ContrastDesign, FamilyDesign
from harness.experiment.imported_scores import ImportedScore
from harness.experiment.measured_arms import scored_replies
from harness.experiment.recordings import asked_prompts, shared_draws, unpaired_draws, unused_replies, unused_scores
from harness.measures.diversity import film_diversity
from harness.types import Absence, Variant, Verdict

N = 60
RULES = {
    "cut_off": MeasureRule(name="cut_off", unit="share", better="lower", is_rate=True),
    "length": MeasureRule(name="length", unit="words", better=None),
}
B_A = ContrastDesign(name="b-a", arms=("b", "a"))


def arm(variant: str, values: Sequence[float | None], *, measure: str = "cut_off") -> MeasuredArm:
    rows = [Row(prompt_id=f"p{i:02}", cluster=f"f{i % 12:02}", value=value) for i, value in enumerate(values)]
    random.Random(variant).shuffle(rows)
    return MeasuredArm(measure=measure, variant=variant, rows=Rows.of(rows), sources=())


def run(*arms: MeasuredArm, absences: Sequence[Absence] = (), contrasts: Sequence[ContrastDesign] = (B_A,)) -> Analysis:
    return analyse_seeds(
        [untrained(arm) for arm in arms],
        rules={name: rule for name, rule in RULES.items() if name in {a.measure for a in arms} | {"cut_off"}},
        contrasts=contrasts,
        control="a",
        family=FamilyDesign(measures=("cut_off",)),
        min_clusters=10,
        seed=0,
        variants=("a", "b"),
        absences=absences,
    )


def lacking(pairs: list[tuple[Row | None, Row | None]]) -> Lacking:
    values = [[np.nan if row is None or row.value is None else row.value for row in p] for p in pairs]
    lost = [[1.0 if row is None or row.value is None else row.lost for row in p] for p in pairs]
    return lacking_of(np.array(values), np.array(lost))


def verdict(found: Analysis) -> Verdict:
    (told,) = [f.verdict for f in found.findings if f.contrast == "b-a" and f.name == "cut_off"]
    return sure(told)


HALF = [float(i % 2) for i in range(N)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=N, max_size=N), st.sets(st.integers(0, N - 1)), st.booleans())
def test_no_choice_of_missing_rows_makes_one_of_two_equals_better(
    values: list[bool], lost: set[int], is_control_too: bool
) -> None:
    """Both are the same; one loses rows, be it the worst of them. Whatever is left supports no claim for it."""
    whole = [float(value) for value in values]
    holed = [None if i in lost else value for i, value in enumerate(whole)]
    other = [None if is_control_too and i not in lost and i % 7 == 0 else v for i, v in enumerate(whole)]
    assert verdict(run(arm("b", holed), arm("a", other))).label not in ("better", "equivalent")
    assert verdict(run(arm("b", other), arm("a", holed))).label != "worse"


def test_a_claim_stands_where_no_value_of_the_missing_rows_could_turn_it() -> None:
    better = arm("b", [None, *[0.0] * (N - 1)])
    assert verdict(run(better, arm("a", [float(i % 3 > 0) for i in range(N)]))).label == "better"
    there, gone = Row(prompt_id="p", cluster="f", value=0.0), None
    half = replace(there, value=1.0, lost=0.5)
    whole = [(there, replace(there, value=0.5))] * 7
    ends = fills(
        -0.375, lacking([*whole, (half, replace(there, value=0.5)), (there, gone), (gone, gone)]), is_rate=True
    )
    # Of ten pairs 7 are -0.5 each; the half seen one 0 to 0.5; the one alone -1 to 0; the last -1 to 1.
    assert (ends.low, ends.high) == pytest.approx((-0.55, -0.2))


def test_draws_that_are_missing_within_a_prompt_are_no_gain_either() -> None:
    """Of five draws the one that was cut off is gone, in every prompt: each prompt has a value, and no claim."""
    rows = [(f"p{i:02}", f"f{i % 12:02}", d) for i in range(N) for d in range(5)]
    whole = [Row(prompt_id=p, cluster=f, value=float(d == 4), draw=d) for p, f, d in rows]
    holed = [replace(row, value=None) if row.value else row for row in whole]
    a, b = (
        MeasuredArm(measure="cut_off", variant=v, rows=Rows.of(r), sources=()) for v, r in (("a", whole), ("b", holed))
    )
    assert (verdict(run(a, b)).label, verdict(run(a, b)).withheld) == ("inconclusive", "better")


def test_half_of_the_rows_are_not_enough_and_what_was_withheld_is_told() -> None:
    found = run(arm("b", [None if i < 20 else 0.0 for i in range(N)]), arm("a", [1.0] * N))
    assert (verdict(found).label, verdict(found).withheld) == ("inconclusive", "better")
    (absence,) = found.absences
    assert (absence.kind, absence.measures) == ("missing", ("cut_off",))
    assert "b-a on `cut_off` is not called better: 33% of one side's rows are missing" in absence.said


def test_worse_stands_though_the_worse_side_lacks_rows() -> None:
    found = run(arm("b", [None if i < 20 else 1.0 for i in range(N)]), arm("a", [0.1 * (i % 3) for i in range(N)]))
    assert verdict(found).label == "worse"
    assert not found.absences


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        ([""] * 10, "mute"),
        ([" \u200b\n"] * 10, "mute"),
        (["", "", "", *["Yes."] * 7], "few_replies"),
        (["", "", *["Yes."] * 8], None),
        (["Yes."] * 10, None),
    ],
)
def test_a_variant_that_says_nothing_or_too_little_is_found(texts: list[str], kind: str | None) -> None:
    found = absent_replies("b", [reply("p", text) for text in texts], measures=("length",))
    assert [a.kind for a in found] == ([kind] if kind else [])
    assert absent_replies("b", [reply("p", "x", "error")] * 4, measures=())[0].kind == "mute"


def test_a_mute_variant_is_better_at_nothing_and_every_declared_number_stands_there_without_value() -> None:
    mute = absent_replies("b", [reply("p", "")] * N, measures=("cut_off",))
    found = run(arm("b", [0.0] * N), arm("a", HALF), absences=mute)  # as if ending were measured all the same
    assert (verdict(found).label, verdict(found).withheld) == ("inconclusive", "better")
    nothing = run(arm("b", [None] * N), arm("a", HALF), arm("a", HALF, measure="length"), absences=mute)
    assert verdict(nothing).reason.startswith("Not tested: `b` is mute")
    names = {(f.name, f.variant or f.contrast): f.estimate for f in nothing.findings}
    assert names["cut_off", "b"].n_missing == names["cut_off", "b-a"].n_missing == N
    assert names["length", "b"].n == names["length", "b-a"].n == 0
    assert [a.kind for a in nothing.absences] == ["mute"]  # which says it all


def test_sides_that_never_meet_are_not_tested_and_the_gate_hears_of_it() -> None:
    odd, even = ([1.0 if i % 2 == k else None for i in range(N)] for k in (0, 1))
    found = run(arm("b", odd), arm("a", even))
    assert verdict(found).reason == "Not tested: no prompt has a value on both sides."
    assert [(a.kind, a.variants) for a in found.absences] == [("missing", ("b", "a"))]


def test_a_declared_measure_without_rows_is_named_and_not_tested() -> None:
    found = run(arm("a", HALF, measure="length"), arm("b", HALF, measure="length"))
    assert [(a.kind, a.measures) for a in found.absences] == [("no_rows", ("cut_off",))]
    assert "has no value for any variant" in verdict(found).reason


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=N, max_size=N), st.integers(0, 99))
def test_an_interval_is_a_function_of_its_rows(values: list[int], seed: int) -> None:
    """The same whatever stands beside it, before it, and in whatever order its rows come."""
    same = [float(value) for value in values]
    alone = run(arm("a", same, measure="length"), contrasts=()).findings[0].estimate
    crowd = [arm("a", [float((v + seed) % 2) for v in values]), arm("b", same, measure="length")]
    crowd += [arm("a", same, measure="length")]
    found = {f.variant: f.estimate for f in run(*crowd, contrasts=()).findings if f.name == "length"}
    assert found["a"] == found["b"] == alone


def test_what_is_lacking_is_the_same_pair_by_pair_and_in_columns() -> None:
    first, second = [1.0, None, None, 4.0], [None, None, 3.0, 4.0]
    columns = [per_prompt(arm("a", values).rows) for values in (first, second)]
    found = pair(*columns).lacking, lacking(list(zip(*columns, strict=True)))
    for name in ("n_pairs", "values", "lost", "low", "high"):
        np.testing.assert_array_equal(*(getattr(each, name) for each in found))
    assert found[0].n == 3


def test_a_mute_variant_does_not_take_the_others_diversity_away() -> None:
    said = [reply(f"f{i}", f"so {i} it went", variant="a") for i in range(4)]
    alone = film_diversity(said)
    beside = film_diversity([*said, *(replace(g, variant="b", text="") for g in said)])
    assert beside[:4] == alone


def a_file(folder: Path, keys: list[str]) -> Path:
    path = folder / "b.jsonl"
    path.write_text("".join(json.dumps({"prompt_id": key, "text": "Yes."}) + "\n" for key in keys))
    return path


def test_what_a_join_of_a_file_with_the_prompts_loses_is_counted_and_named(tmp_path: Path) -> None:
    file = a_file(tmp_path, ["p0", "p1", "p2", "other", "[x]"])
    test = [prompt(f"p{i}") for i in range(6)]
    lacking, strangers, undrawn = unused_replies(
        [Variant(name="b", kind="file", path=str(file))], prompts=test[2:5], test=test
    )
    assert "2 of 3 prompts have no reply in `b.jsonl` (`p3`, `p4`)" in lacking.said
    assert "2 of 5 prompts in `b.jsonl` match no test prompt (`[x]`, `other`)" in strangers.said
    assert "2 of 5 prompts in `b.jsonl` were not drawn" in undrawn.said
    assert lacking.variants == strangers.variants == undrawn.variants == ("b",)


def test_without_a_number_all_prompts_are_asked_that_a_file_answers(tmp_path: Path) -> None:
    test = [prompt(f"p{i}") for i in range(6)]
    answered = asked_prompts(test, n=None, seed=0, files=[str(a_file(tmp_path, ["p4", "p1", "x"]))])
    assert {p.id for p in answered} == {"p1", "p4"}
    assert len(asked_prompts(test, n=None, seed=0)) == 6
    assert len(asked_prompts(test, n=2, seed=0)) == 2


def test_scores_without_a_reply_and_draws_without_a_counterpart_are_counted() -> None:
    said = {
        name: replies(*(reply("p", "Yes.", variant=name, draw=d) for d in range(n))) for name, n in (("b", 2), ("a", 1))
    }
    scores = [
        ImportedScore(prompt_id=key, variant=name, value=1.0, draw=0, cluster=None)
        for key, name in (("p", "b"), ("q", "b"), ("q", "elsewhere"))
    ]
    (lost,) = unused_scores("charm", scores, {name: scored_replies(name, of) for name, of in said.items()})
    assert "1 of 2 imported scores of `b` match no reply (`q draw 0`)" in lost.said
    shared = shared_draws(said)
    assert [len(reply.generations) for reply in shared.values()] == [1, 1]
    (unpaired,) = unpaired_draws(said, shared, measures=("coherence",))
    assert (unpaired.variants, unpaired.measures) == (("b",), ("coherence",))
