"""What a server can do is found out with few calls, shown by answers alone, and kept with the reason."""

from __future__ import annotations

from typing import Any

import pytest
from faulty_server import Behave, Fault, FaultyServer

from harness.errors import InputError, UnavailableError
from harness.experiment.design import VariantDesign
from harness.models.cache import AnswerCache
from harness.models.endpoint.calls import ChatCall
from harness.models.endpoint.capabilities import TOPICS, Prober
from harness.models.endpoint.chat_client import ChatClient
from harness.models.endpoint.queue import RequestQueue
from harness.types import Variant

KNOWN = {"model", "messages", "max_completion_tokens", "temperature", "top_p", "seed", "logprobs", "top_logprobs", "n"}


def prober(server: FaultyServer, *, cache: AnswerCache | None = None, **options: Any) -> Prober:
    client = ChatClient(url=server.url, model="m", **{"timeout_s": 5.0, "max_retries": 0} | options)
    return Prober(RequestQueue(client, purpose="probe", cache=cache, reuses=False))


def says(text: Any, finish: str = "stop") -> Fault:
    return Fault(kind="choice", choice={"message": {"content": text}, "finish_reason": finish})


def refuses(message: str, *, status: int = 400, param: str = "", body: bytes = b"") -> Fault:
    return Fault(kind="status", status=status, message=message, param=param, body=body)


def is_begun(body: dict[str, Any]) -> bool:
    return bool(body["messages"][-1]["role"] == "assistant")


# Servers as they are met with: each answers a body by its own rules, else as an ordinary one.


def vllm(body: dict[str, Any], n: int) -> Fault | None:
    if "response_format" in body:
        return says('{"two_and_two": 4}')
    if is_begun(body):
        return says(" 5 6 7 8" if body.get("continue_final_message") else "5 6 7 8 9")
    return None


def llama_cpp(body: dict[str, Any], n: int) -> Fault | None:
    if body.get("logprobs"):
        return refuses("logits_all must be True", status=500)
    if "continue_final_message" in body:
        return refuses(
            "", status=422, body=b'{"detail": [{"loc": ["body", "continue_final_message"], "msg": "Extra"}]}'
        )
    return says(" 5 6 7 8") if is_begun(body) and "prefix" not in body["messages"][-1] else None


def mistral(body: dict[str, Any], n: int) -> Fault | None:
    if body.get("logprobs") or "seed" in body or "continue_final_message" in body:
        name = next(k for k in ("seed", "logprobs", "continue_final_message") if k in body)
        return refuses(
            "", status=422, body=f'{{"detail": [{{"loc": ["body", "{name}"], "msg": "Extra inputs"}}]}}'.encode()
        )
    return says(" 5 6 7 8" if body["messages"][-1].get("prefix") else "5 6") if is_begun(body) else None


def openai(body: dict[str, Any], n: int) -> Fault | None:
    if "max_tokens" in body:
        return refuses("Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.")
    if body.get("temperature", 1) != 1:
        return refuses("Unsupported value: 'temperature' does not support 0.7.", param="temperature")
    if body.get("top_logprobs", 0) > 5:
        return refuses("Invalid 'top_logprobs': must be between 0 and 5, inclusive.", param="top_logprobs")
    if unknown := set(body) - KNOWN:
        return refuses(f"Unrecognized request argument supplied: {min(unknown)}")
    return says("5 6 7 8 9") if is_begun(body) else None


def transformers_serve(body: dict[str, Any], n: int) -> Fault | None:
    if "continue_final_message" in body:
        return refuses("", status=422, body=b'{"detail": "Unexpected keys"}')
    return says("1 2 3 4 5") if is_begun(body) else Fault(kind="no_logprobs") if body.get("logprobs") else None


def mute_about_why(body: dict[str, Any], n: int) -> Fault | None:
    return refuses("Bad Request", body=b"Bad Request") if "top_p" in body else None


@pytest.mark.parametrize(
    ("behave", "without", "n_logprobs", "prefill", "n_calls"),
    [
        (vllm, (), 20, "continue_final_message", 4),
        (llama_cpp, (), 0, "assistant_turn", 6),
        (mistral, ("seed",), 0, "prefix", 6),
        (openai, ("temperature",), 5, None, 9),
        (transformers_serve, (), 0, None, 6),
        (mute_about_why, ("top_p",), 20, None, 8),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_kind_of_server_is_known_by_its_answers(
    behave: Behave, without: tuple[str, ...], n_logprobs: int, prefill: str | None, n_calls: int
) -> None:
    with FaultyServer(behave) as server:
        asked = prober(server)
        assert tuple(sorted(asked.without())) == without
        assert (asked.n_logprobs(), asked.prefill()) == (n_logprobs, prefill)
        assert not asked.opens_thinking()
        assert asked.find("n").value is False  # the faulty server has one choice for all
        assert all(asked.find(topic).reason for topic in TOPICS)
        assert asked.json_schema() is (behave is vllm)
        assert len(server.sent) <= n_calls + 1
        assert all(len(str(body)) < 600 for body in server.sent)


def test_what_was_found_is_kept_and_asked_anew_only_on_request(cache: AnswerCache) -> None:
    with FaultyServer(openai) as server:
        first = prober(server, cache=cache)
        found = {topic: first.find(topic).value for topic in TOPICS}
        n = len(server.sent)
        later = prober(server, cache=cache)
        assert {topic: later.find(topic).value for topic in TOPICS} == found
        assert len(server.sent) == n
        server.behave = vllm
        assert later.find("decoding", anew=True).value["without"] == {}
        assert prober(server, cache=cache).without() == {}
        unasked = Prober(
            RequestQueue(ChatClient(url=server.url, model="other"), purpose="probe", cache=cache), may_ask=False
        )
        assert (unasked.n_logprobs(), unasked.prefill(), unasked.without()) == (20, None, {})


@pytest.mark.parametrize("status", [500, 501, 400])
def test_a_server_that_fails_at_log_probabilities_gives_none_and_says_why(status: int, cache: AnswerCache) -> None:
    with FaultyServer(lambda body, n: refuses("not built in", status=status) if "logprobs" in body else None) as server:
        assert prober(server, cache=cache).n_logprobs() == 0
        n = len(server.sent)
        assert "not built in" in prober(server, cache=cache).find("logprobs").reason
        assert len(server.sent) == n


def test_a_temperature_of_0_that_is_refused_is_left_out_where_it_would_be_0(cache: AnswerCache) -> None:
    def behave(body: dict[str, Any], n: int) -> Fault | None:
        return refuses("`temperature` must be strictly positive") if body.get("temperature") == 0 else None

    with FaultyServer(behave) as server:
        for asked in (prober(server, cache=cache), prober(server, cache=cache)):
            assert asked.n_logprobs() == 20
            assert asked.without() == {}
            assert "strictly positive" in asked.without(greedy=True)["temperature"]


def test_a_server_that_is_only_busy_is_asked_again_next_time(cache: AnswerCache) -> None:
    with FaultyServer(lambda body, n: refuses("busy", status=503) if "logprobs" in body else None) as server:
        assert prober(server, cache=cache).n_logprobs() == 0
        server.behave = vllm
        assert prober(server, cache=cache).n_logprobs() == 20


def test_a_server_that_refuses_everything_is_told_in_its_own_words() -> None:
    behave: Behave = lambda body, n: refuses("the model is not loaded")  # noqa: E731
    with FaultyServer(behave) as server, pytest.raises(UnavailableError, match="the model is not loaded") as caught:
        prober(server).without()
    assert "check address" not in str(caught.value)


@pytest.mark.parametrize("thinking", ["I add two and two.</think>4", "<think>I add two and two.</think>4"])
def test_a_template_that_opens_thinking_is_found_out_with_room_to_think(thinking: str) -> None:
    def behave(body: dict[str, Any], n: int) -> Fault | None:
        return says(thinking) if body["max_tokens"] > 100 else says(thinking[:12], "length")

    with FaultyServer(behave) as server:
        assert prober(server).opens_thinking() == (not thinking.startswith("<think>"))
        assert len(server.sent) == (1 if thinking.startswith("<think>") else 2)


def test_a_field_refused_in_the_middle_is_dropped_for_good_and_kept_in_the_server_s_words() -> None:
    with FaultyServer(openai) as server:
        client = ChatClient(url=server.url, model="m", max_retries=0)
        said = [{"role": "user", "content": "Where?"}]
        calls = [
            ChatCall(body={"model": "m", "messages": said, "max_tokens": 9, "temperature": 0.8}, draw=d)
            for d in range(6)
        ]
        assert all(result.answer is not None for result in RequestQueue(client, purpose="t").ask(calls))
        assert list(client.parameters.dropped) == ["temperature"]
        assert "does not support" in client.parameters.dropped["temperature"]
        assert {"temperature", "max_tokens"}.isdisjoint(server.sent[-1])


def test_doctor_shows_what_was_found_and_the_commands_after_it_ask_nothing() -> None:
    from harness.experiment.judges.spending import Spending
    from pipelines.cli.doctor import examine_endpoint

    with FaultyServer(openai) as server:
        checks = {check.what: check for check in examine_endpoint(f"{server.url}#m")}
        n = len(server.sent)
        assert checks["Length cap"].detail == "`max_completion_tokens`"
        assert (checks["seed"].status, checks["temperature"].status) == ("ok", "lack")
        assert "does not support" in checks["temperature"].detail
        assert "5 most likely" in checks["Log-probabilities"].detail
        assert checks["Prefill"].status == "lack"
        assert checks["Prefill"].advice
        assert Spending().prober(server.url, "m").n_logprobs() == 5
        assert len(server.sent) == n
    with pytest.raises(InputError, match="must be a server and its model"):
        examine_endpoint("base")


def test_what_a_server_refuses_is_part_of_the_variant_and_what_it_takes_is_not() -> None:
    from harness.experiment.record_parts import describe_variant
    from harness.experiment.variants import resolve_variant

    def resolved(behave: Behave | None) -> Variant:
        server.behave = behave or server.behave
        design = VariantDesign(endpoint=server.url, endpoint_model="m")
        told: Any = {"tracking": None, "system": None, "shots_from": list, "seed": 0}
        return resolve_variant("v", design, **told, probe=None if behave is None else lambda *_: prober(server))

    with FaultyServer() as server:
        usual = resolved(None)
        assert resolved(vllm) == usual
        assert resolved(lambda body, n: refuses("down")) == usual  # perhaps its replies stand already
        refusing = resolved(openai)
    assert (refusing.without, describe_variant(refusing)) == (
        ("temperature",),
        "m behind an endpoint, without `temperature`",
    )
    assert refusing.digest != usual.digest
