"""The gate before Streamlit: no key stays in an address, no path leaves the server, what raters need not is shut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panels import a_study
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from harness.studies.links import link_tag
from harness.studies.studies import close_study
from harness.ui import arrivals
from harness.ui.gate import Gate

FOLDER = Path("/srv/somewhere/private")


async def page(request: Any) -> PlainTextResponse:
    return PlainTextResponse("page", headers={"server": "uvicorn", "x-frame-options": "ALLOWALL"})


async def stream(websocket: Any) -> None:
    await websocket.accept()
    message = ForwardMsg()
    message.new_session.main_script_path = f"{FOLDER}/app.py"
    await websocket.send_bytes(message.SerializeToString())
    await websocket.close()


def browser(*, base: str = "", is_secure: bool = True, is_owners: bool = False) -> TestClient:
    routes = [WebSocketRoute(f"{base}/_stcore/stream", stream), Route("/{rest:path}", page)]
    arrive = None if is_owners else arrivals.arrive
    gate = Gate(Starlette(routes=routes), base=base, folder=FOLDER, is_secure=is_secure, arrive=arrive)
    return TestClient(gate, base_url="https://rate.example.org", follow_redirects=False)


@pytest.mark.parametrize("base", ["", "/rate"])
def test_a_key_goes_into_a_cookie_that_no_script_reads_and_out_of_the_address(base: str) -> None:
    with browser(base=base) as client:
        answer = client.get(f"{base}/?rater=the-key&lang=de")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{base}/?lang=de&link={link_tag('the-key')}"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"screentest-{link_tag('the-key')}=the-key;")
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Secure", f"Path={base}/"))
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_every_answer_says_what_a_browser_may_do_and_nothing_of_the_server() -> None:
    with browser() as client:
        told = client.get("/").headers
        assert "frame-ancestors 'none'" in told["content-security-policy"]
        assert "unsafe-eval" not in told["content-security-policy"]
        assert (told["x-frame-options"], told["x-content-type-options"]) == ("DENY", "nosniff")
        assert "server" not in told
        for path in (
            "_stcore/metrics",
            "_stcore/agent/openapi.json",
            "_stcore/upload_file/x",
            "media/x",
            "component/x",
        ):
            assert client.get(f"/{path}").status_code == 404
        assert client.get("/_stcore/host-config").json()["allowedOrigins"] == []
        with client.websocket_connect("/_stcore/stream") as line:
            message = ForwardMsg.FromString(line.receive_bytes())
    assert message.new_session.main_script_path == "app.py"


def test_people_of_a_crowd_are_sent_on_known_again_and_told_why_not(engine: Engine, monkeypatch: Any) -> None:
    monkeypatch.setattr(arrivals, "store", lambda: engine)
    created = a_study(engine, crowd={"people": 2, "items": 1, "consent": "Yes?"})
    assert created.opened is not None
    address = created.opened.url("").replace("/?", "/?PROLIFIC_PID=p1&SESSION_ID=s&lang=de&")
    with browser() as client:
        first = client.get(address)
        assert first.headers["location"] == client.get(address).headers["location"]
        assert created.opened.token not in first.headers["location"]
        assert "lang=de" in first.headers["location"]
        anonymous = client.get(created.opened.url(""))  # the third address is this browser's own
        assert client.get(created.opened.url("")).headers["location"] == anonymous.headers["location"]
        full = client.get(address.replace("p1", "p3"))
        assert full.headers["location"] == "/?why=full&lang=de"
        close_study(engine, created.study.name)
        assert client.get(address.replace("p1", "p4")).headers["location"] == "/?why=over&lang=de"
        assert client.get("/?join=nothing").headers["location"] == "/?"


def test_an_address_without_a_page_leads_to_the_first_and_files_stay_where_they_are() -> None:
    typed = {"accept": "text/html,application/xhtml+xml"}
    with browser(base="/rate") as client:
        for path in ("/rate/results", "/rate/browse", "/rate/x/y"):
            assert client.get(f"{path}?lang=de", headers=typed).headers["location"] == "/rate/?lang=de"
        assert client.get("/rate/static/x.js", headers=typed).status_code == 200
        assert client.get("/rate/x.js").status_code == 200
        assert client.get("/rate/", headers=typed).status_code == 200
    with browser(is_owners=True) as client:
        assert client.get("/browse", headers=typed).status_code == 200
        assert client.get("/results", headers=typed).headers["location"] == "/?"


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_stands_in_an_address_breaks_nothing(key: str, other: str) -> None:
    with browser() as client:
        answer = client.get("/", params={"rater": key, "x": other})
    assert answer.status_code in (200, 303)
    assert "\n" not in answer.headers.get("location", "")
