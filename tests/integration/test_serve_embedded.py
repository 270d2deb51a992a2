"""`screentest serve` as a process, with the embedded model: the official client, the documentation, a signal."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from embedded import embedded_adapter, free_port
from openai import OpenAI
from servers import wait_until_it_answers
from stories import REPOSITORY, command, environment, fresh_home, screentest

from harness.models.bases import resolve_base
from harness.models.local import LocalModel
from harness.models.protocol import OptionRequest
from harness.registry import publish
from harness.settings import Settings
from harness.store.tracking import Tracking

pytestmark = [pytest.mark.model, pytest.mark.slow]

DOCUMENT = (REPOSITORY / "docs" / "serving.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", DOCUMENT, flags=re.DOTALL)
CLIENTS = ("lm_eval", "vllm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    url: str
    home: Path
    process: subprocess.Popen[bytes]
    log: Path

    def here(self, text: str) -> str:
        """The documentation's text with this test's address in it."""
        return text.replace("http://127.0.0.1:8000", self.url)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The documentation's first command."""
    root = tmp_path_factory.mktemp("serve")
    home = fresh_home(root / "home")
    tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    publish(tracking, embedded_adapter(root / "adapter"), name="film", card="# card")
    line = next(text for kind, text in BLOCKS if kind == "sh" and text.startswith("screentest serve")).strip()
    port, log = free_port(), root / "log"
    with log.open("wb") as stderr:
        arguments = [*shlex.split(line)[1:], "--port", port]
        process = subprocess.Popen(command(*arguments), env=environment(home), stderr=stderr)
        try:
            wait_until_it_answers(f"http://127.0.0.1:{port}")
            yield Served(url=f"http://127.0.0.1:{port}", home=home, process=process, log=log)
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def client(served: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=None) as found:
        yield found


@pytest.mark.parametrize("model", ["base", "film@candidate"])
def test_the_official_client_streams_what_it_gets_whole(client: OpenAI, model: str) -> None:
    chat = [{"role": "user", "content": "Where were you last night?"}]
    options = {"model": model, "messages": chat, "max_tokens": 16, "seed": 11}
    whole = client.chat.completions.create(**options)  # type: ignore[call-overload]
    chunks = list(client.chat.completions.create(**options, stream=True))  # type: ignore[call-overload]
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(pieces) == whole.choices[0].message.content
    assert sum(bool(piece) for piece in pieces) > 1
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_error_paths_raise_what_the_official_client_knows(client: OpenAI) -> None:
    chat = [{"role": "user", "content": "Hi"}]
    for change, error in (
        ({"model": "nobody@champion"}, openai.NotFoundError),
        ({"temperature": 3}, openai.BadRequestError),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": "word " * 9000}]}, openai.BadRequestError),
        ({"stream": True, "stop": ["a"] * 9}, openai.BadRequestError),
    ):
        with pytest.raises(error) as caught:
            client.chat.completions.create(**{"model": "base", "messages": chat, "max_tokens": 4, **change})  # type: ignore[call-overload]
        assert caught.value.body["message"]  # type: ignore[index]


def test_a_judge_reads_the_probabilities_that_the_model_has(client: OpenAI) -> None:
    local, options, n_compared = LocalModel.load(resolve_base("embedded")), tuple("12345"), 0
    for line in ("Where were you last night?", "Drive.", "Is that blood?"):
        chat = [{"role": "user", "content": f"Rate this line from 1 to 5: {line}"}]
        request = OptionRequest(key="k", messages=chat, prefix="Score: ", options=options)
        [exact] = local.option_probabilities([request])
        answer = client.chat.completions.create(
            model="base",
            messages=[*chat, {"role": "assistant", "content": "Score: "}],  # type: ignore[list-item]
            max_tokens=1,
            logprobs=True,
            top_logprobs=20,
            extra_body={"continue_final_message": True, "add_generation_prompt": False},
        )
        assert answer.choices[0].logprobs
        assert answer.choices[0].logprobs.content
        seen = {top.token: math.exp(top.logprob) for top in answer.choices[0].logprobs.content[0].top_logprobs}
        if not all(option in seen for option in options):
            continue
        n_compared += 1
        mass = math.fsum(seen[option] for option in options)
        assert [seen[option] / mass for option in options] == pytest.approx(list(exact.probabilities), abs=1e-4)
        assert mass == pytest.approx(exact.mass, abs=1e-4)
    assert n_compared >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="Linux bounds the memory of a process that runs")
def test_out_of_memory_is_said_and_survived(client: OpenAI, served: Served) -> None:
    """The system refuses the server more memory while it reads a prompt of some thousand tokens."""
    process = psutil.Process(served.process.pid)
    body = {"model": "base", "max_tokens": 2, "seed": 0}
    ask = client.chat.completions.create
    short = {**body, "messages": [{"role": "user", "content": "Hi"}]}
    long = {**body, "messages": [{"role": "user", "content": "word " * 6000}]}
    before = ask(**short)  # type: ignore[call-overload]
    process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms + 2**25, -1))
    try:
        with pytest.raises(openai.InternalServerError) as caught:
            ask(**long)  # type: ignore[call-overload]
    finally:
        process.rlimit(psutil.RLIMIT_AS, (-1, -1))
    assert caught.value.status_code == 503
    assert "memory" in caught.value.body["message"]  # type: ignore[index]
    assert ask(**short).choices == before.choices  # type: ignore[call-overload]
    assert ask(**long).usage.prompt_tokens > 6000  # type: ignore[call-overload]


def test_the_documentation_runs_as_written(served: Served, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    n_run = 0
    for kind, text in BLOCKS:
        if kind == "python":
            done = subprocess.run(
                [sys.executable, "-c", served.here(text)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout.strip()
            n_run += 1
            continue
        for line in text.strip().splitlines():
            words = shlex.split(served.here(line))
            if words[0] == "curl":
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                assert done.returncode == 0, line
                assert done.stdout
                n_run += 1
            elif "--print" in words:
                shown = screentest(*words[1:], home=served.home)
                assert shown.code == 0, shown.stderr
                assert shown.stdout.startswith("vllm serve ")
                n_run += 1
            elif words[0] == "screentest":
                assert words[1] == "serve"  # the fixture's
            else:
                assert words[0] in CLIENTS, line  # run by hand: the page's table says with which versions
    assert n_run == 7


def test_a_port_in_use_is_one_sentence(served: Served) -> None:
    port = served.url.rsplit(":", 1)[1]
    ran = screentest("serve", "--port", port, home=served.home)
    assert ran.code == 1
    assert "must be a free address" in ran.stderr


def test_told_to_stop_it_finishes_what_runs_and_refuses_the_rest(served: Served) -> None:
    """The last test of this file: it stops the service."""
    chat = [{"role": "user", "content": "Tell me everything that happened, from the beginning."}]
    body = {"model": "base", "messages": chat, "max_tokens": 60, "seed": 2, "temperature": 1.5, "stream": True}
    with httpx.stream("POST", f"{served.url}/v1/chat/completions", json=body, timeout=None) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{served.url}/health", timeout=None)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert served.process.wait() == 0
    records = [json.loads(line) for line in served.log.read_text().splitlines() if line.startswith("{")]
    assert records[-1]["status"] == 200
    assert "Tell me everything" not in served.log.read_text()
