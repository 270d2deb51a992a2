"""Measures against a reference: by hand, against the libraries, and a value in [0, 1] whatever the texts are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nouns import generation, prompt

from harness.measures import references as measures
from harness.measures.catalogue import CATALOGUE
from harness.measures.own import measured_rows
from harness.measures.references import MEASURES, normalised
from harness.types import FinishReason


@pytest.mark.parametrize(
    ("reply", "reference", "is_right"),
    [
        ("The Paris.", "paris", True),
        ("A", "a)", True),
        ("A", "The", False),  # articles alone stay what they are
        ("-5", "5", False),
        ("3.5", "35", False),
        ("1,000 dollars", "1000 dollars", True),
        ("!=", "==", False),
        ("ｐａｒｉｓ", "Paris", True),  # full width
        ("2−1", "2-1", True),
        ("", "paris", False),
    ],
)
def test_exact_match_forgives_case_articles_and_punctuation_alone(reply: str, reference: str, is_right: bool) -> None:
    assert measures.exact_match(reply, reference) is is_right


def test_code_and_labels_are_compared_as_such() -> None:
    assert measures.code_match("```sql\nSELECT a\n  FROM t;\n```", "select a from t")
    assert not measures.code_match("SELECT a FROM t WHERE b != 1", "SELECT a FROM t WHERE b = 1")
    assert measures.accuracy("Label: Positive\nbecause it is kind", "positive")
    assert not measures.accuracy("not positive", "positive")
    assert not measures.accuracy("\n", "positive")


def test_token_f1_by_hand() -> None:
    # 2 shared words; 3 and 2 words: 2·2/(3+2).
    assert measures.token_f1("in Paris France", "the Paris, France") == pytest.approx(4 / 5)
    assert measures.token_f1("東京", "京都") == pytest.approx(1 / 2)  # signs are words


def test_fields_are_leaves_with_their_path_and_value() -> None:
    wanted = '{"name": "Ann", "age": 3, "tags": ["x", "y"]}'
    # Right: age, both tags in any order; wrong: name, more; 2·3 / (5 + 4).
    assert measures.field_f1('{"age": 3.0, "tags": ["y", "x"], "name": "Bo", "more": 1}', wanted) == pytest.approx(
        6 / 9
    )
    assert measures.field_f1('```json\n{"name": " ann ", "age": 3, "tags": ["x", "y"]}\n```', wanted) == 1
    assert measures.field_f1('{"a": true}', '{"a": 1}') == 0
    assert (measures.field_f1("no json", wanted), measures.field_f1("{}", "no json")) == (0, None)
    assert (measures.json_valid("NaN"), measures.json_valid("[" * 99_999), measures.json_valid("{} yes")) == (
        False,
    ) * 3


def test_overlap_is_what_the_libraries_say() -> None:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu import sentence_bleu, sentence_chrf

    one, other = "the cat sat on the mat", "a cat lay on the mat today"
    assert measures.rouge_l(one, other) == RougeScorer(["rougeL"]).score(other, one)["rougeL"].fmeasure
    assert measures.chrf(one, other) == sentence_chrf(one, [other]).score / 100
    assert measures.bleu(one, other) == sentence_bleu(one, [other]).score / 100
    assert measures.edit_similarity("kitten", "sitting") == pytest.approx(1 - 3 / 7)
    assert measures.rouge_l("кот на столе", "кот на полу") == pytest.approx(2 / 3)  # any script


TEXTS = st.text(max_size=30) | st.sampled_from(["{}", "[1]", "```\n{}\n```", "a", "\x00", "-1", "ab " * 9])


@settings(max_examples=40)
@given(reply=TEXTS, reference=TEXTS)
def test_every_value_is_a_share_and_a_reply_like_its_reference_is_the_best(reply: str, reference: str) -> None:
    for measure in (m for m in MEASURES if m.is_rate):
        said = (reply, reference) if measure.needs_reference else (reply,)
        value = measure(*said)
        assert value is None or 0 <= value <= 1, measure.name
    assert measures.exact_match(reference, reference)
    assert measures.edit_similarity(reference, reference) == 1
    assert measures.token_f1(reference, reference) == 1
    assert isinstance(normalised(reply), tuple)


def test_silence_is_wrong_a_failure_is_missing_and_so_is_a_prompt_without_reference() -> None:
    prompts = [prompt(f"p{i}", cluster=f"c{i}", reference="" if i == 3 else "yes") for i in range(4)]
    ends: tuple[tuple[str, FinishReason], ...] = (("", "stop"), ("I cannot", "refused"), ("", "error"), ("yes", "stop"))
    replies = [generation(text, to, finish=end) for to, (text, end) in zip(prompts, ends, strict=True)]
    rows = measured_rows(CATALOGUE["exact_match"], replies, prompts)
    assert [(row.value, row.status) for row in rows] == [(0, "ok"), (0, "ok"), (None, "failed"), (None, "unsupported")]
