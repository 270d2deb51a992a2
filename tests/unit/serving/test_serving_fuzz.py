"""Requests made from the service's own description, good and malformed: none may break it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from servers import Running

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


CHAT = ("/v1/chat/completions", "POST")


@pytest.mark.parametrize(
    ("path", "method", "mode", "model"),
    [
        (*CHAT, GenerationMode.POSITIVE, None),
        (*CHAT, GenerationMode.POSITIVE, "film/1"),  # by itself it hardly ever names a variant
        (*CHAT, GenerationMode.NEGATIVE, None),
        (*CHAT, GenerationMode.NEGATIVE, "base"),
        ("/v1/completions", "POST", GenerationMode.POSITIVE, "film/1"),
        ("/v1/completions", "POST", GenerationMode.NEGATIVE, "base"),
        ("/v1/responses", "POST", GenerationMode.POSITIVE, "film/1"),
        ("/v1/responses", "POST", GenerationMode.NEGATIVE, "base"),
        ("/v1/models/{name}", "GET", GenerationMode.POSITIVE, None),
        ("/v1/models", "GET", GenerationMode.POSITIVE, None),
    ],
)
def test_no_request_breaks_it(server: Running, path: str, method: str, mode: GenerationMode, model: str | None) -> None:
    generation = GenerationConfig(modes=[mode])
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    described = httpx.get(f"{server.url}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(described, config=config)
    cases = schema[path][method].as_strategy(generation_mode=mode)

    @settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
    @given(case=cases)
    def ask(case: Any) -> None:
        if model is not None and isinstance(case.body, dict):
            case.body["model"] = model
        case.call_and_validate(base_url=server.url, checks=CHECKS)

    ask()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    change=st.dictionaries(
        st.sampled_from(
            ["temperature", "top_p", "max_tokens", "n", "seed", "stop", "logprobs", "top_logprobs", "stream"]
        ),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(max_size=3),
        ),
    )
)
def test_any_value_in_a_real_request_is_answered_or_refused(server: Running, change: dict[str, Any]) -> None:
    body = {"model": "film/1", "messages": [{"role": "user", "content": "abc"}], "max_tokens": 3, **change}
    response = server.post(**body)
    assert response.status_code in (200, 400)
