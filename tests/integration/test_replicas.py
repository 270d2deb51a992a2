"""An evaluation whose replies come from servers: the words of this process, from servers that have all variants."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ablations import tiny_ablation
from fakes import tiny_adapter, tiny_checkpoint
from servers import Running, running
from stories import fresh_home, screentest

from harness.experiment.measured_arms import GENERATIONS
from harness.models.bases import resolve_base
from harness.models.local import LocalModel
from harness.registry import publish
from harness.serving.model_names import Variants
from harness.settings import Settings
from harness.store.artifacts import read_parquet
from harness.store.tracking import Tracking
from harness.types import BaseModel, Generation

pytestmark = pytest.mark.slow


class World:
    """A registry with `film/1` on a tiny base, and an evaluation of both."""

    def __init__(self, folder: Path) -> None:
        self.home = fresh_home(folder / "home")
        self.base: BaseModel = resolve_base(str(tiny_checkpoint(folder / "base")))
        self.tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(self.home)}))
        publish(self.tracking, tiny_adapter(folder / "adapter", self.base), name="film", card="# card")
        data = folder / "test.jsonl"
        rows = [
            {"id": f"f{i % 4}-{i}", "cluster": f"f{i % 4}", "prompt": f"Where are {i} boats?", "completion": "Gone."}
            for i in range(12)
        ]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        design: dict[str, Any] = {
            "schema": 1,
            "name": "replicas",
            "question": "Do servers reply as this process does?",
            "variants": {"base": {"model": self.base.source}, "film": {"adapter": "film/1"}},
            "control": "base",
            "data": {"file": str(data), "prompts": 12, "min_clusters": 3},
            "decoding": {"max_new_tokens": 10, "temperature": 0},
            "measures": {"heldout_loss": {}, "cut_off": {}},
            "contrasts": [{"name": "film-base", "arms": ["film", "base"]}],
            "family": {"measures": ["heldout_loss"]},
        }
        self.file = folder / "replicas.yaml"
        self.file.write_text(yaml.safe_dump(design))

    def replies(self, *options: str) -> tuple[dict[tuple[str, str], str], list[dict[str, Any]]]:
        """Every reply by variant and prompt, and the stages that made them."""
        ran = screentest("evaluate", self.file, "--json", *options, home=self.home)
        stages = [stage for stage in ran.json["stages"] if stage["name"] == "generate"]
        found: dict[tuple[str, str], str] = {}
        for stage in stages:
            folder = self.tracking.folder(self.tracking.source_of(self.tracking.run(stage["run_id"])).run_id)
            found |= {(g.variant, g.prompt_id): g.text for g in read_parquet(folder / GENERATIONS, Generation)}
        return found, stages


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("replicas"))


@pytest.fixture
def servers(world: World) -> Iterator[list[Running]]:
    with (
        running(LocalModel.load(world.base), Variants(world.tracking, world.base)) as first,
        running(LocalModel.load(world.base), Variants(world.tracking, world.base)) as second,
    ):
        yield [first, second]


def test_greedy_replies_of_two_servers_are_those_of_this_process(world: World, servers: list[Running]) -> None:
    here, in_process = world.replies()
    options = [part for server in servers for part in ("--endpoint", f"{server.url}/v1")]
    there, served = world.replies(*options)
    assert len(here) == 24
    assert there == here
    for server in servers:  # dealt in turn: each has half of both variants
        assert sorted(calls(server)) == ["base"] * 6 + ["film/1"] * 6
    assert {s["fingerprint"] for s in in_process}.isdisjoint(s["fingerprint"] for s in served)
    tagged = world.tracking.run(served[0]["run_id"]).tags["endpoints"]
    assert tagged == ", ".join(f"{server.url}/v1" for server in servers)
    again, reused = world.replies(*options)
    assert again == there
    assert all(stage["reused"] for stage in reused)


def calls(server: Running) -> list[str]:
    """The variants that were asked for replies."""
    return [record["model"] for record in server.records if record.get("path") == "/v1/chat/completions"]


def refusal(world: World, server: Running) -> str:
    """Why a server that is asked for nothing at all will not do."""
    ran = screentest("evaluate", world.file, "--force", "--endpoint", f"{server.url}/v1", home=world.home)
    assert (ran.code, calls(server)) == (2, [])
    return ran.stderr


def test_a_server_without_a_variant_is_refused(world: World) -> None:
    with running(LocalModel.load(world.base), Variants(world.tracking, world.base, names=["base"])) as server:
        assert "must serve `film/1`, which it does not list; it lists base" in refusal(world, server)


def test_a_server_of_another_base_is_refused(world: World, tmp_path: Path) -> None:
    other = resolve_base(str(tiny_checkpoint(tmp_path / "other", seed=5)))
    with running(LocalModel.load(other), Variants(world.tracking, other)) as server:
        assert "must serve the `base` of this registry" in refusal(world, server)


def test_another_registrys_adapter_of_the_same_name_is_refused(world: World, tmp_path: Path) -> None:
    elsewhere = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(fresh_home(tmp_path / "home"))}))
    publish(elsewhere, tiny_adapter(tmp_path / "adapter", world.base, seed=8), name="film", card="# card")
    with running(LocalModel.load(world.base), Variants(elsewhere, world.base)) as server:
        assert "must serve the `film/1` of this registry" in refusal(world, server)


def test_a_silent_server_ends_the_command_in_a_sentence(world: World) -> None:
    ran = screentest("evaluate", world.file, "--force", "--endpoint", "http://127.0.0.1:9/v1", home=world.home)
    assert ran.code == 1
    assert "must list its models" in ran.stderr


def test_a_dry_run_counts_the_replies_and_a_budget_leaves_own_servers_out(world: World, servers: list[Running]) -> None:
    options = ("--endpoint", f"{servers[0].url}/v1")
    (base, film) = screentest("evaluate", world.file, *options, "--dry-run", "--json", home=world.home).json["calls"]
    assert [base["what"], film["what"]] == ["replies of base", "replies of film"]
    assert base["calls"] == film["calls"] == 12
    assert calls(servers[0]) == []
    ran = screentest("evaluate", world.file, *options, "--force", "--budget-usd", 0.5, "--json", home=world.home)
    assert ran.code == 0, ran.stderr
    assert len(calls(servers[0])) == 24


def test_an_ablation_trains_here_and_has_a_server_reply(world: World, tmp_path: Path) -> None:
    base = resolve_base(str(tiny_checkpoint(tmp_path / "base", kind="qwen2")))
    file = tiny_ablation(
        tmp_path / "ablation", Path(base.source), seeds=[1], measures={"heldout_loss": {}, "length": {}}
    )
    home = fresh_home(tmp_path / "mlruns")
    store = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    options = ("--workers", 1, "--limit", 40, "--json")
    with running(LocalModel.load(world.base), Variants(store, world.base)) as server:
        refused = screentest("ablate", file, *options, "--endpoint", f"{server.url}/v1", home=home)
        assert refused.code == 2
        assert "must serve the `base` of this registry" in refused.stderr
        assert store.find(status=None, stage="sft") == []
    with running(LocalModel.load(base), Variants(store, base)) as server:
        ran = screentest("ablate", file, *options, "--endpoint", f"{server.url}/v1", home=home).json
        asked = calls(server)
    assert ran["missing"] == {}
    adapters = {run.tags["adapter"] for run in store.find(stage="sft")}
    assert len(adapters) == 2
    assert set(asked) == adapters
    assert all(run.tags["endpoints"] == f"{server.url}/v1" for run in store.find(stage="generate"))


def test_what_is_no_address_is_refused(world: World) -> None:
    ran = screentest("evaluate", world.file, "--endpoint", "gpu1:8000", home=world.home)
    assert ran.code == 2
    assert "must be the base URL of a server" in ran.stderr
