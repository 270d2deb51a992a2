"""Findings by name, their JSON, and the claims that are refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from report_example import GEVAL, LIKELIHOOD, VARIANTS, estimate, example_record

from harness.errors import InputError
from harness.reporting.finding_index import findings_json, index
from harness.reporting.record import Declaration, ReportRecord, distribution
from harness.reporting.wording import declaration_note, seeds_note, statement, summary
from harness.types import Finding, Verdict

CONTRACT = ("name", "value", "low", "high", "n", "n_clusters", "n_missing", "method")


def with_verdict(label: str, **changes: object) -> ReportRecord:
    """The example with one more contrast."""
    verdict = Verdict(label=label, reason="", **changes.pop("verdict", {}))  # type: ignore[arg-type]
    one = Finding(
        name="heldout_loss", unit="nats", better="lower", estimate=estimate(-1, -2, 0), contrast="sft-base",
        verdict=verdict,
    )  # fmt: skip
    return replace(example_record(), findings=(replace(one, **changes),))  # type: ignore[arg-type]


def test_json_has_every_key_of_the_contract() -> None:
    rows = findings_json(example_record())
    assert len(rows) == len(example_record().findings)
    for row in rows:
        assert all(key in row for key in CONTRACT)
        assert ("variant" in row) != ("contrast" in row)
        assert row["sources"]
    first = rows[0]
    assert (first["name"], first["contrast"], first["low"], first["verdict"]) == (
        "heldout_loss", "sft-base", -0.262, "better",
    )  # fmt: skip
    assert {r["variant"] for r in rows if r["name"] == "heldout_loss" and "variant" in r} == set(VARIANTS)


def test_json_writes_what_is_not_a_number_as_null() -> None:
    record = with_verdict("inconclusive", estimate=estimate(math.nan, -math.inf, None))
    row = findings_json(record)[0]
    assert (row["value"], row["low"], row["high"]) == (None, None, None)
    json.dumps(row, allow_nan=False)


def test_keys_find_their_finding_and_are_unique() -> None:
    record = example_record()
    found = index(record)
    assert len({n.key for n in found.named}) == len({n.anchor for n in found.named}) == len(record.findings)
    for n in found.named:
        assert found.find(n.key) is n.finding
    with pytest.raises(InputError, match="heldout_loss/sft-base"):
        found.find("heldout_loss")


def test_two_judges_of_one_measure_get_their_own_keys() -> None:
    one = replace(example_record().findings[8], judge_id="aaaaaaaaaaaa")
    other = replace(one, judge_id="bbbbbbbbbbbb")
    record = replace(example_record(), findings=(one, other, other))
    subject = one.variant or one.contrast
    assert [n.key for n in index(record).named] == [
        f"{one.name}/{subject}@aaaaaaaa", f"{one.name}/{subject}@bbbbbbbb", f"{one.name}/{subject}@bbbbbbbb~2",
    ]  # fmt: skip


def test_trace_command_survives_a_shell() -> None:
    record = with_verdict("inconclusive", contrast="a b; rm -rf")
    found = index(record)
    assert found.trace(found.named[0]).endswith(" 'heldout_loss/a b; rm -rf'")


@pytest.mark.parametrize("label", ["better", "worse", "equivalent"])
def test_an_exploratory_judge_supports_no_claim(label: str) -> None:
    with pytest.raises(InputError, match="exploratory"):
        index(with_verdict(label, name="coherence", judge_id=LIKELIHOOD))


def test_a_judge_not_qualified_on_the_criterion_supports_no_claim() -> None:
    with pytest.raises(InputError, match="not qualified on 'coherence'"):
        index(with_verdict("better", name="coherence", judge_id=GEVAL))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("better", "sft is better than base on held-out loss."),
        ("worse", "sft is worse than base on held-out loss."),
        ("equivalent", "sft and base are equivalent on held-out loss, to within 0.02 bits per byte."),
        ("inconclusive", "Whether sft differs from base on held-out loss is not settled."),
        ("exploratory", "sft against base on held-out loss: shown, not claimed."),
    ],
)
def test_a_claim_says_what_its_verdict_allows(label: str, expected: str) -> None:
    found = index(with_verdict(label))
    assert statement(found, found.named[0]).claim == expected


def test_exploratory_says_why_and_inconclusive_says_what_would_settle_it() -> None:
    found = index(example_record())
    said = {(s.label, s.named.finding.name): s for s in (statement(found, n) for n in found.of_contrasts())}
    assert "It is the base model that the variants were made from." in said["exploratory", "coherence"].reason
    assert said["inconclusive", "heldout_loss"].settle.startswith("about 31 films")
    assert any("control-qualified" in mark for mark in said["equivalent", "fluency"].marks)


def test_undeclared_contrasts_are_marked_and_not_counted() -> None:
    found = index(with_verdict("better", verdict={"in_family": False}))
    said = statement(found, found.named[0])
    assert "not declared" in said.marks
    assert summary((said,)) == "No declared contrast was tested. 1 more is exploratory: shown, not claimed."


def test_summary_counts_claims() -> None:
    found = index(example_record())
    said = tuple(statement(found, n) for n in found.of_contrasts())
    assert summary(said) == "4 of 5 declared contrasts support a claim. 1 more is exploratory: shown, not claimed."


def test_notes_say_how_far_a_verdict_reaches() -> None:
    record = example_record()
    assert "about these adapters" in seeds_note(index(record))
    assert "3 seeds" in seeds_note(index(replace(record, n_training_seeds=3)))
    assert seeds_note(index(replace(record, n_training_seeds=None))) == ""
    assert declaration_note(index(record)).endswith("looked at twice.")
    partly = Declaration(
        status="partly", n_test_looks=5, late=("sft-base on heldout_loss",), question_looks={"a on b": 1, "c on d": 3}
    )
    said = declaration_note(index(replace(record, declaration=partly)))
    assert said.startswith("Declared after their own data: sft-base on heldout_loss. Read these as exploratory")
    assert said.endswith("looked at 5 times; each of these questions was answered 3 times at most.")
    after = replace(record, declaration=Declaration(status="after"))
    assert declaration_note(index(after)).startswith("Declared after data")


def test_few_rows_are_kept_and_many_become_quantiles() -> None:
    few = distribution("length", "sft", [3.0, None, 1.0])
    assert (few.values, few.n, few.n_missing, few.quantiles) == ((1.0, 3.0), 2, 1, ())
    many = distribution("length", "sft", [float(i) for i in range(1001)])
    assert (many.values, len(many.quantiles), many.n) == ((), 201, 1001)
    assert many.quantiles[::50] == (0.0, 250.0, 500.0, 750.0, 1000.0)
    with pytest.raises(InputError, match="finite"):
        distribution("length", "sft", [math.nan])
