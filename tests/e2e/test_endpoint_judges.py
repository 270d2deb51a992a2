"""Judging through an endpoint from the command line: dry run, budget, going on, and what is said of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from faulty_server import N_PROBES, Fault, FaultyServer
from stories import EXPERIMENTS, fresh_home, screentest

from harness.models.cache import AnswerCache, LedgerTotal
from harness.store.database import open_database

pytestmark = pytest.mark.slow

N_FILMS, N_ROWS = 4, 3
PRICE = {"input": 1.0, "output": 2.0}  # 300 tokens in and 1 out: $0.000302 a call


class World:
    def __init__(self, folder: Path, server: FaultyServer) -> None:
        self.folder, self.server = folder, server
        self.home = fresh_home(folder / "home")
        ids = [f"f{film}-{row}" for film in range(N_FILMS) for row in range(N_ROWS)]
        self.data = folder / "test.jsonl"
        rows = [{"id": i, "cluster": i[:2], "prompt": f"Say {i}?", "completion": f"Well, {i}."} for i in ids]
        self.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.replies = folder / "replies.jsonl"
        self.replies.write_text("".join(json.dumps({"prompt_id": i, "text": f"Mine {i}."}) + "\n" for i in ids))

    def judge(self, name: str = "mine", **changes: Any) -> Path:
        made = self.folder / name
        shutil.copytree(EXPERIMENTS / "judges" / "self-hosted", made)
        data = yaml.safe_load((made / "judge.yaml").read_text())
        data |= {"name": name, "model": {"endpoint": self.server.url, "name": "m"}}
        data["runtime"] = {"usd_per_million_tokens": PRICE, "n_parallel": 1, "max_retries": 1}
        (made / "judge.yaml").write_text(yaml.safe_dump(data | changes))
        return made

    def run(self, *arguments: object) -> Any:
        return screentest(*arguments, home=self.home)

    def score(self, judge: Path, *options: object) -> Any:
        return self.run("judge", "run", judge, "--generations", self.replies, "--data", self.data, *options)

    @property
    def ledger(self) -> LedgerTotal:
        return AnswerCache(open_database(f"sqlite:///{self.home / 'screentest.db'}"), "endpoint").total()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FaultyServer() as server:
        yield World(tmp_path, server)


def test_a_judge_is_planned_stopped_by_its_budget_and_goes_on(world: World) -> None:
    judge = world.judge()
    planned = world.score(judge, "--dry-run", "--json").json["calls"]
    assert [(p["what"], p["calls"], p["known"]) for p in planned] == [
        ("scores of mine, if logprobs", 48, 0),
        ("scores of mine, if sampled", 960, 0),
    ]
    assert planned[0]["usd_at_most"] == pytest.approx(
        (planned[0]["input_tokens_at_most"] + 2 * planned[0]["output_tokens_at_most"]) / 1e6
    )
    assert world.server.sent == []
    assert "Nothing was sent" in world.score(judge, "--dry-run").stdout

    stopped = world.score(judge, "--budget-usd", 0.01)
    assert stopped.code == 1
    assert "leaves no room for another call" in stopped.stderr
    assert "mode auto is logprobs on m" in stopped.stderr
    n_before = world.ledger.n_calls
    assert 10 < n_before < 48
    assert world.ledger.usd <= 0.01

    done = world.score(judge, "--json").json
    assert done["judge_id"].startswith("mine@")
    assert {e["name"]: (e["n"], e["n_missing"]) for e in done["estimates"]} == dict.fromkeys(
        ("coherence", "consistency", "fluency", "relevance"), (12, 0)
    )
    assert world.ledger.n_calls == 48 + N_PROBES
    assert world.server.n_delivered_twice == 0

    again = world.score(judge, "--force", "--json").json
    assert again["estimates"] == done["estimates"]
    assert len(world.server.sent) == 48 + N_PROBES
    assert [p["known"] for p in world.score(judge, "--dry-run", "--json").json["calls"]] == [48, 0]


def test_without_logprobs_auto_samples_and_says_so(world: World) -> None:
    world.server.behave = lambda body, n: Fault(kind="no_logprobs") if body.get("logprobs") else None
    ran = world.score(world.judge(n_draws=3, runtime={"n_parallel": 8}))
    assert ran.code == 0, ran.stderr
    assert "mode auto is sampled on m" in ran.stderr
    assert f"{144 + N_PROBES} calls of unknown price" in ran.stderr  # 3 draws of 48


def test_an_expired_key_is_one_sentence(world: World) -> None:
    world.server.behave = lambda body, n: Fault(kind="status", status=401)
    ran = world.score(world.judge())
    assert ran.code == 1
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("error:")]
    assert "refuses the key in OPENAI_API_KEY" in line
    assert len(world.server.sent) == 1


def test_a_budget_without_a_price_is_refused_before_anything_is_sent(world: World) -> None:
    ran = world.score(world.judge(runtime={}), "--budget-usd", 1)
    assert ran.code == 2
    assert "needs the price of `m`" in ran.stderr
    assert world.server.sent == []


def test_two_files_are_compared_by_an_endpoint_judge(world: World) -> None:
    judge = world.judge(criteria=["coherence"], runtime={"n_parallel": 8, "usd_per_million_tokens": PRICE})
    other = world.folder / "other.jsonl"
    other.write_text(world.replies.read_text().replace("Mine", "Theirs"))
    files = ("compare", other, world.replies, "--data", world.data, "--judge", judge, "--prompts", 12)
    planned = world.run(*files, "--dry-run", "--json").json["calls"]
    # Controls ask the judge too: the file is TEST as a whole, so there are no films to plant them in but the reviewed.
    assert (planned[0]["what"], planned[0]["calls"]) == ("scores of mine, if logprobs", 24)
    assert world.server.sent == []


def test_judges_are_looked_at_together_before_they_are_held_against_each_other(world: World) -> None:
    judges = [world.judge(name) for name in ("one", "two")]
    files = ("judge", "matrix", "--generations", world.replies, "--data", world.data, "--dry-run", "--json")
    told = world.run(*files, *judges)
    assert [row["calls"] for row in told.json["calls"]] == [48, 960] * 2
    assert "say `one#TASK` if it is another" in told.stderr
    assert world.run(*files, judges[0]).code == 2
    assert world.server.sent == []


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────

LIST = "1. Read the line.\n2. Ask how kind it is.\n3. Choose a score."


def criterion(world: World) -> Path:
    file = world.folder / "warmth.yaml"
    file.write_text("name: warmth\ndefinition: How kindly the reply is meant.\nsteps: []\nscale: [1, 5]\n")
    return file


def test_steps_are_planned_written_and_charged_through_an_endpoint(world: World) -> None:
    world.server.behave = lambda body, n: (
        Fault(kind="status", status=503) if n == 0 else Fault(kind="says", message=LIST)
    )
    file, model = criterion(world), f"{world.server.url}#m"
    (planned,) = world.run("judge", "steps", file, "--model", model, "--dry-run", "--json").json["calls"]
    assert (planned["what"], planned["calls"], planned["usd_at_most"]) == ("steps by m", 1, None)
    assert world.server.sent == []
    refused = world.run("judge", "steps", file, "--model", model, "--budget-usd", 1)
    assert (refused.code, world.server.sent) == (2, [])
    assert "needs the price of `m`" in refused.stderr

    done = world.run("judge", "steps", file, "--model", model, "--json")
    assert done.json["steps"] == ["Read the line.", "Ask how kind it is.", "Choose a score."]
    assert yaml.safe_load(file.read_text())["steps"] == done.json["steps"]
    assert f"# Steps drafted by m at {world.server.url}." in file.read_text()
    assert [body["temperature"] for body in world.server.sent] == [0.0, 0.0]  # refused once, tried again
    assert "1 calls" in done.stderr
    ledger = AnswerCache(open_database(f"sqlite:///{world.home / 'screentest.db'}"), "endpoint")
    assert ledger.total().n_calls == 1

    again = world.run("judge", "steps", file, "--model", model)
    assert (again.code, len(world.server.sent)) == (2, 2)
    assert "must have no steps yet" in again.stderr


def test_prose_is_no_list_of_steps(world: World) -> None:
    file = criterion(world)
    before = file.read_text()
    ran = world.run("judge", "steps", file, "--model", f"{world.server.url}#m")
    assert ran.code == 1
    assert "must be a numbered list" in ran.stderr
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "http://127.0.0.1:1/v1#m", "--revision", "abc"), "`--revision` must be left out for an endpoint"),
        (("--model", "http://127.0.0.1:1/v1"), "must name the model after a #"),
        (("--model", "name@champion"), "must be `embedded`, a hub id, a checkpoint's folder or"),
    ],
)
def test_who_writes_steps_must_be_a_model(world: World, options: tuple[str, ...], said: str) -> None:
    ran = world.run("judge", "steps", criterion(world), *options)
    assert ran.code == 2
    assert said in ran.stderr
