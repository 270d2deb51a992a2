"""Judges that think first: the score is a line or a field of its own, read at its own position; the reason is kept."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from certain import sure
from fakes import FakeServer, UniformModel
from hypothesis import given, settings
from hypothesis import strategies as st
from nouns import item
from pydantic import ValidationError
from stories import EXPERIMENTS

from harness.judging.choice_reading import LocalReader
from harness.judging.judge_builder import build_judge, judge_id, resolve_mode
from harness.judging.reasoned import ANSWER_FORMS, read_said, schema_of
from harness.judging.remote_reading import EndpointReader, parse_draws, parse_reasoned
from harness.judging.spec import JudgeSpec, load_judge_spec
from harness.models.endpoint.calls import ChatCall, ChatResult
from harness.models.endpoint.chat_client import ChatClient
from harness.models.endpoint.queue import RequestQueue
from harness.models.protocol import OptionRequest

OPTIONS = ("1", "2", "3", "4", "5")
REQUEST = OptionRequest(
    key="k", messages=[{"role": "user", "content": "Rate this."}], prefix="Score: ", options=OPTIONS
)
TYPED = '{"reason": "It says \\"score\\": 1}, and no 2.", "score": 4}'


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("4", "score", ("4", "")),
        (" - Coherence: 3\n", "score", ("3", "")),
        ("It answers.\n**Score:** 4", "explain", ("4", "It answers.")),
        ("Because of 2 lines\nand more.\n\nScore: 5\n", "explain", ("5", "Because of 2 lines\nand more.")),
        ("Score: 2\nIt shifts the topic, 5 times.", "rate-explain", ("2", "It shifts the topic, 5 times.")),
        ("I'd say 4", "score", None),
        ("Score: 4/5", "score", None),
        ("Rating: 2 (somewhat)\nBecause.", "rate-explain", None),
        ("Score: 6", "score", None),
        ("It answers. Score: 4", "explain", None),
        ("Score: 4\nIt answers.", "explain", None),
        ("", "explain", None),
        ("٤", "score", None),
    ],
)
def test_a_score_is_a_line_of_its_own_and_nothing_is_searched_for(text: str, form: Any, expected: Any) -> None:
    said = read_said(text, OPTIONS, form=form)
    assert (said and (said.score, said.reason)) == expected
    assert said is None or text[said.at] == said.score


@pytest.mark.parametrize(
    ("text", "score"),
    [
        (TYPED, "4"),
        ('{"score": 3, "reason": "Fine."}', "3"),
        ('{"score": "3", "reason": "Fine."}', None),
        ('{"score": 3.0, "reason": "Fine."}', None),
        ('{"score": true, "reason": "Fine."}', None),
        ('{"score": 9, "reason": "Fine."}', None),
        ('{"score": 3}', None),
        ('{"score": 1, "score": 3, "reason": "x"}', None),
        ('I think {"score": 3, "reason": "x"}', None),
        ("[" * 5000, None),
        ("{" * 50_000 + "}", None),
    ],
)
def test_a_typed_score_is_a_whole_number_of_its_field(text: str, score: str | None) -> None:
    said = read_said(text, OPTIONS, form="explain", is_typed=True)
    assert (said and said.score) == score
    assert said is None or text[said.at] == score


def test_the_schema_writes_what_comes_first_first() -> None:
    schemas: list[Any] = [schema_of(OPTIONS, form=form) for form in ANSWER_FORMS]
    order = [list(schema["json_schema"]["schema"]["properties"]) for schema in schemas]
    assert order == [["reason", "score"], ["score", "reason"]]


def result(tokens: list[str], top: dict[str, float], place: int, **changed: Any) -> ChatResult:
    listed = [{"token": token, "logprob": math.log(p)} for token, p in top.items()]
    content = [
        {"token": token, "logprob": -0.1, "top_logprobs": listed if i == place else []}
        for i, token in enumerate(tokens)
    ]
    choice = {"message": {"content": "".join(tokens)}, "logprobs": {"content": content}, "finish_reason": "stop"}
    return ChatResult(answer={"choices": [choice | changed]})


@pytest.mark.parametrize(
    ("tokens", "place", "is_typed"),
    [
        (["Since", " 5", " fits", ".\n", "Score", ":", " ", "4"], 7, False),
        (["<think>", "1", "</think>", "So.", "\n", "4"], 5, False),
        (['{"', 'reason":', ' "So 2."', ', "score": ', "4", "}"], 4, True),
        (['{"', 'reason":', ' "So 2."', ', "score":', " 4}"], 4, True),
    ],
)
def test_the_distribution_is_that_at_the_scores_own_position(tokens: list[str], place: int, is_typed: bool) -> None:
    end = "}" if tokens[place].endswith("}") else ""
    top = {tokens[place]: 0.6, f" 3{end}": 0.3, "the": 0.1}
    reading = parse_reasoned(result(tokens, top, place), REQUEST, form="explain", is_typed=is_typed)
    answer = sure(reading.answer)
    assert (answer.mass, *answer.probabilities) == pytest.approx((0.9, 0, 0, 1 / 3, 2 / 3, 0))
    assert reading.explanation.startswith("S")


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (result(["A 4", " I say"], {"4": 0.9}, 0), "unparsable"),
        (result(["Since"], {"4": 0.9}, 0, finish_reason="length"), "truncated"),
        (result(["x", "\n", "4"], {"4": 0.9}, 2, logprobs=None), "unsupported"),
        (result(["x\n4"], {"x\n4": 0.9}, 0), "unparsable"),
        (result([], {}, 0, message={"refusal": "no"}), "refused"),
        (ChatResult(answer=None, error="gone"), "failed"),
    ],
)
def test_what_is_no_such_answer_is_missing_with_a_status(found: ChatResult, status: str) -> None:
    reading = parse_reasoned(found, REQUEST, form="explain", is_typed=False)
    assert (reading.answer, reading.status) == (None, status)
    assert reading.reason


def test_draws_that_are_not_of_the_form_count_against_the_mass() -> None:
    drawn = [result([text], {}, 0) for text in ("So.\nScore: 4", "So it is.\nScore: 2", "A 5, clearly", "Score: 4")]
    reading = parse_draws(drawn, REQUEST, form="explain")
    assert (sure(reading.answer).mass, reading.explanation) == (0.75, "So.")
    assert sure(reading.answer).probabilities == pytest.approx((0, 1 / 3, 0, 2 / 3, 0))


class _Queue:
    """Answers calls from a list, and keeps them."""

    def __init__(self, *answers: ChatResult) -> None:
        self.answers, self.asked = list(answers), list[ChatCall]()

    def ask(self, calls: list[ChatCall], on_done: Any = None) -> list[ChatResult]:
        self.asked += calls
        return [self.answers.pop(0) for _ in calls]


def reader(queue: _Queue, **changed: Any) -> EndpointReader:
    how: dict[str, Any] = {"answer": "explain", "is_typed": False, "top_logprobs": 5, "n_draws": 2, "temperature": 1.0}
    return EndpointReader(queue=queue, model="m", **(how | changed))  # type: ignore[arg-type]


def test_where_a_turn_can_be_begun_the_score_is_forced_behind_the_reason() -> None:
    queue = _Queue(
        result(["It fits.\nScore: 2"], {}, 0), ChatResult(answer=None, error="gone"), result(["4"], {"4": 1.0}, 0)
    )
    forced, failed = reader(queue, prefill="assistant_turn").read([REQUEST, REQUEST])
    assert (sure(forced.answer).probabilities[3], forced.explanation) == (1.0, "It fits.")
    assert failed.status == "failed"
    assert queue.asked[2].body["messages"][-1] == {"role": "assistant", "content": "It fits.\nScore:"}


def test_a_typed_judge_asks_for_its_schema_and_draws_for_each_draw() -> None:
    queue = _Queue(result([TYPED], {}, 0), result(["no"], {}, 0))
    scorer = reader(queue, is_typed=True, top_logprobs=0)
    (reading,) = scorer.read([REQUEST])
    assert (scorer.mode, reading.explanation[:7]) == ("explain/sampled", "It says")
    assert all(call.body["response_format"]["type"] == "json_schema" for call in queue.asked)
    assert [call.draw for call in queue.asked] == [0, 1]


def test_a_local_model_writes_its_reason_and_is_read_behind_it() -> None:
    (reading,) = LocalReader(model=UniformModel(), explains=True).read([REQUEST])
    assert sure(reading.answer).probabilities == pytest.approx([0.2] * 5)
    assert reading.explanation


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60) | st.recursive(st.integers() | st.text(max_size=4), lambda x: st.dictionaries(
    st.sampled_from(["score", "reason"]), x), max_leaves=4).map(json.dumps), is_typed=st.booleans(),
    form=st.sampled_from(["score", "explain", "rate-explain"]))  # fmt: skip
def test_whatever_a_judge_says_it_is_a_score_of_the_scale_or_none(text: str, is_typed: bool, form: Any) -> None:
    said = read_said(text, OPTIONS, form=form, is_typed=is_typed)
    assert said is None or (said.score in OPTIONS and (said.at < 0 or text[said.at] == said.score))


@pytest.mark.parametrize(
    ("server", "reads", "typed"),
    [
        (FakeServer(begun="prefix", typed=True), "logprobs", "none"),  # a position that is forced needs no field
        (FakeServer(typed=True), "logprobs", "json_schema"),
        (FakeServer(), "logprobs", "none"),
        (FakeServer(n=0, begun="prefix", typed=True), "sampled", "json_schema"),
    ],
)
def test_what_a_server_can_do_decides_how_its_judge_is_read_and_its_id(
    server: FakeServer, reads: str, typed: str
) -> None:
    spec = load_judge_spec(EXPERIMENTS / "judges" / "gpt-4o-mini")
    assert spec.thinks == "rate-explain"
    found = resolve_mode(spec, server=lambda: server)
    assert (found.reads, found.typed, found.mode) == (reads, typed, "rate-explain")
    assert judge_id(found) != judge_id(found.model_copy(update={"mode": "explain"}))
    judge = build_judge(found, queue=RequestQueue(ChatClient(url="http://localhost:1/v1", model="m"), purpose="test"))
    (question,) = judge.questions([  # type: ignore[attr-defined]
        item("Well.", criteria=("coherence",))
    ])  # fmt: skip
    assert ("JSON" if typed == "json_schema" else '"Score: "') in question.messages[-1]["content"]


def test_keys_of_thinking_judges_are_refused_elsewhere() -> None:
    spec = load_judge_spec(EXPERIMENTS / "judges" / "gpt-4o-mini").model_dump(by_alias=True)
    for change in ({"mode": "sampled", "reads": "sampled"}, {"reads": "sampled", "top_logprobs": 5}):
        changed = {key: value for key, value in spec.items() if key in ("name", "method", "family", "model", "prompt",
                   "criteria", "scale", "min_mass", "schema", "mode")} | change  # fmt: skip
        with pytest.raises(ValidationError, match="must be left out unless"):
            JudgeSpec.model_validate(changed)
