"""Ratings as other tools write them down. The rows are cut from files that the tools' own code wrote: Argilla 2.8.0,
label-studio-sdk 2.1.2 (JSON, JSON_MIN, CSV), potato-annotation 2.12.1."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.doors.ratings import Answers, read_answers
from harness.errors import InputError

ARGILLA = {
    "id": "p1", "fields": {"prompt": "Where to?", "reply": "Home."}, "metadata": {"variant": "sft", "cluster": "f1"},
    "suggestions": {}, "vectors": {}, "status": "pending", "_server_id": None,
    "responses": {
        "coherence": [{"value": 2, "user_id": "u1"}], "comment": [{"value": "I am not sure", "user_id": "u1"}],
    },
}  # fmt: skip
FLAT = {
    "id": "p1", "status": "pending", "variant": "sft", "coherence.responses": [2, 3],
    "coherence.responses.users": ["u1", "u2"], "coherence.responses.status": ["submitted", "draft"],
}  # fmt: skip
TASK = {
    "id": 7, "data": {"item": "p1", "variant": "sft"},
    "annotations": [
        {"completed_by": {"id": 1, "email": "a@x.org"}, "was_cancelled": False, "result": [
            {"from_name": "coherence", "type": "rating", "value": {"rating": 2}},
            {"from_name": "fluent", "type": "choices", "value": {"choices": ["yes"]}},
            {"from_name": "why", "type": "textarea", "value": {"text": ["because"]}}]},
        {"completed_by": 2, "was_cancelled": True, "result": []},
    ],
}  # fmt: skip
PAIR = {
    "id": 8,
    "data": {"item": "p1", "left": "sft", "right": "base"},
    "annotations": [{"completed_by": 7, "result": [{"type": "pairwise", "value": {"selected": "left"}}]}],
}
MIN = {"item": "p1", "variant": "sft", "id": 100, "coherence": [{"rating": 2}], "why": "because", "annotator": "r2",
       "annotation_id": 2, "lead_time": 3.2}  # fmt: skip
LS_CSV = 'annotation_id,annotator,cluster,coherence,id,item,reply\n2,r2,f1,"[{""rating"":2}]",100,p1,Home.\n'
POTATO = {
    "instance_id": "p1",
    "user_id": "u0",
    "labels": {"coherence": {"4": "4"}, "fluent": {"no": "no"}},
    "spans": {},
}
POTATO_CSV = "instance_id,user_id,coherence.1,fluent.no,coherence.2\np1,u0,1,no,\np1,u1,,,2\n"
FORMS = 'Timestamp,Email Address,Coherence [p1],Coherence [p2],Comments?\n2026-11-01,a@x.org,2,3,"a, b"\n'
PROLIFIC = "Participant id;Status;p1 [coherence];p1 [fluency]\nx1;APPROVED;2;3\nx2;RETURNED;1;1\n"
ARENA = "question_id,model_a,model_b,winner,judge\n81,gpt-4,llama,model_a,expert_1\n"


def read(tmp_path: Path, content: Any, **how: Any) -> Answers:
    file = tmp_path / "ratings.csv"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8", newline="")
    return read_answers(file, **how)


@pytest.mark.parametrize(
    ("content", "form", "expected", "n_left_out"),
    [
        ([ARGILLA], "Argilla", [("p1", "u1", "coherence", 2)], 1),
        ([FLAT], "Argilla", [("p1", "u1", "coherence", 2)], 1),
        ([TASK], "Label Studio", [("p1", "a@x.org", "coherence", 2), ("p1", "a@x.org", "fluent", "yes")], 2),
        ([PAIR], "Label Studio", [("p1", "7", "winner", "left")], 0),
        ([MIN], "Label Studio", [("p1", "r2", "coherence", 2)], 1),
        (LS_CSV, "Label Studio", [("p1", "r2", "coherence", 2)], 1),
        ([POTATO], "Potato", [("p1", "u0", "coherence", "4"), ("p1", "u0", "fluent", "no")], 0),
        (POTATO_CSV, "Potato",
         [("p1", "u0", "coherence", "1"), ("p1", "u0", "fluent", "no"), ("p1", "u1", "coherence", "2")], 0),
        (FORMS, "a survey table", [("p1", "a@x.org", "Coherence", "2"), ("p2", "a@x.org", "Coherence", "3")], 1),
        (ARENA, "votes", [("81", "expert_1", "winner", "model_a")], 0),
        ({"ann": {"p1": 2}, "ben": {"p1": "yes"}}, "marks by rater",
         [("p1", "ann", None, 2), ("p1", "ben", None, "yes")], 0),
        ("item,rater,criterion,value\np1,ann,coherence,2\np2,ann,coherence,\n", "marks",
         [("p1", "ann", "coherence", "2")], 1),
    ],
)  # fmt: skip
def test_every_form_gives_the_same_answers(
    tmp_path: Path, content: Any, form: Any, expected: Any, n_left_out: Any
) -> None:
    found = read(tmp_path, content)
    assert found.form == form
    assert [(str(a.facts.get("item")), a.rater, a.question, a.value) for a in found.rows] == expected
    assert sum(found.left_out.values()) == n_left_out


def test_what_is_an_item_is_told_by_the_items_there_are_or_by_the_criteria_asked_for(tmp_path: Path) -> None:
    for how in ({"items": {"p1": None}}, {"questions": ["coherence", "fluency"]}):
        found = read(tmp_path, PROLIFIC, **how)
        assert [(a.facts["item"], a.question, a.value) for a in found.rows] == [
            ("p1", "coherence", "2"), ("p1", "fluency", "3"),
        ]  # fmt: skip
        assert found.left_out == {"submissions returned": 1}


def test_rows_bear_their_line(tmp_path: Path) -> None:
    assert [a.line for a in read(tmp_path, json.dumps([MIN, MIN], indent=1)).rows] == [2, 16]
    text = 'item,rater,value\r\np1,"two\nlines",2\r\n\r\np2,a\u2028b,3\r\n'
    assert [(a.line, a.rater) for a in read(tmp_path, text).rows] == [(2, "two\nlines"), (5, "a\u2028b")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is empty"),
        ("[]", "it has none"),
        ("[1]", "line 1: a row must be a JSON object"),
        ('[{"a": 1},\n {"a": 1, "a": 2}]', "must stand once"),
        ("nothing here", "two columns"),
        ("item,item\n1,2\n", "must stand once in the header"),
        ("item,value\n1,2,3\n", "line 2: a row must have the 2 cells"),
        ('item,value\n1,"\x00"\n', "line 2"),
        ({"a": 1}, "ratings must be rows with"),
        ("item,value\n1,\n", "1 left out: no answer"),
        ([{**FLAT, "coherence.responses.users": ["u1"]}], "as many users"),
        ('{"item": "p1"', "must be JSON"),
    ],
)
def test_what_is_no_file_of_ratings_is_refused_with_its_place(tmp_path: Path, content: Any, reason: Any) -> None:
    with pytest.raises(InputError, match=r"ratings\.csv") as caught:
        read(tmp_path, content)
    assert reason in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([*ARGILLA, *FLAT, *TASK, *MIN, *POTATO, "left", "right", "winner", "value", "marks", "verdict"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(KEYS, JSON, max_size=8), max_size=3) | JSON | st.text(max_size=40))
def test_whatever_arrives_is_read_or_refused_with_a_sentence(tmp_path: Path, rows: Any) -> None:
    with contextlib.suppress(InputError):
        assert read(tmp_path, rows).rows
