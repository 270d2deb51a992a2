"""Keys, rates and the log."""

from __future__ import annotations

import io
import json

import pytest

from harness.errors import ConfigError
from harness.serving.error_answers import ApiError
from harness.serving.limits import KeyCheck, Rate, ServingLimits
from harness.serving.logs import RequestLog, RequestRecord, request_id


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer secre", "Bearer secrets", "Basic secret", "é"]
)
def test_any_other_key_is_refused(header: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        KeyCheck("secret").require(header)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


def test_the_key_lets_in_and_no_key_lets_everybody_in() -> None:
    KeyCheck("secret").require("Bearer secret")
    KeyCheck("secret").require("bearer  secret ")
    for nothing in (None, ""):
        KeyCheck(nothing).require(None)
        assert not KeyCheck(nothing).is_on


def test_a_client_waits_as_long_as_it_is_told() -> None:
    time = [0.0]
    rate = Rate(30, now=lambda: time[0])
    for _ in range(30):
        rate.take("a")
    rate.take("b")  # somebody else's bucket is full
    with pytest.raises(ApiError) as caught:
        rate.take("a")
    assert caught.value.status == 429
    assert caught.value.headers["Retry-After"] == "2"
    time[0] = 2.0
    rate.take("a")
    with pytest.raises(ApiError):
        rate.take("a")


def test_many_clients_are_forgotten_rather_than_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.serving.limits._MOST_CLIENTS", 3)
    rate = Rate(1)
    for client in "abcdef":
        rate.take(client)
    assert len(rate._buckets) == 3


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"max_queue": -1}, {"max_tokens": 0}, {"per_minute": 0}])
def test_limits_without_meaning_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"`{next(iter(wrong))}` must be"):
        ServingLimits(**wrong)


def test_a_line_is_json_and_the_client_s_id_is_kept_only_where_it_is_plain() -> None:
    stream = io.StringIO()
    record = RequestRecord(request_id="abc", method="GET", path="/\n{}" + "x" * 500, status=200)
    record.note(model="base", nothing=None)
    RequestLog(stream).write(record)
    line = json.loads(stream.getvalue())
    assert (line["request_id"], line["status"], line["model"], len(line["path"])) == ("abc", 200, "base", 200)
    assert "nothing" not in line
    assert stream.getvalue().count("\n") == 1
    assert request_id("trace-1.2_3") == "trace-1.2_3"
    for odd in (None, "", "a b", "a\nb", "x" * 65, "é"):
        assert request_id(odd) != odd
    stream.close()
    RequestLog(stream).write(record)  # nobody reads the log any more: not the client's trouble
