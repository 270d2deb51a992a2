"""What either kind of experiment can do, both can: variants, files, imported scores, pairwise judges, trends, tails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ablations import PLAIN
from fakes import tiny_checkpoint
from faulty_server import Fault, FaultyServer, is_probe
from shipped import record_of, shares_outside
from stories import EXPERIMENTS, fresh_home, screentest

pytestmark = pytest.mark.slow

N_FILMS, N_ROWS = 12, 4


def always_first(body: dict[str, Any], n: int) -> Fault | None:
    return None if is_probe(body) else Fault(kind="says", message="A")


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with FaultyServer(always_first) as found:
        yield found


class World:
    """One store, a tiny base, a pairwise judge at a server."""

    def __init__(self, folder: Path, server: FaultyServer) -> None:
        self.folder, self.home = folder, fresh_home(folder / "home")
        self.base = str(tiny_checkpoint(folder / "base"))
        shutil.copytree(EXPERIMENTS / "judges" / "gpt-4o-mini-pairwise", folder / "judge")
        file = folder / "judge" / "judge.yaml"
        changed = {"name": "pairs", "model": {"endpoint": server.url, "name": "m"}, "criteria": ["coherence"]}
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changed))

    def lines(self, name: str, rows: list[dict[str, Any]]) -> str:
        file = self.folder / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(file)

    def scores(self, rows: list[dict[str, Any]]) -> str:
        file = self.lines("scores.jsonl", rows)
        return str(screentest("scores", "import", file, "--measure", "mine", "--json", home=self.home).json["run_id"])

    def run(self, verb: str, declared: dict[str, Any], *options: object) -> Any:
        file = self.folder / f"{declared['name']}.yaml"
        file.write_text(yaml.safe_dump(declared))
        found = screentest(verb, file, "--json", *options, home=self.home).json
        found["record"] = record_of(found)
        found["numbers"] = {estimate["key"]: estimate for estimate in found["estimates"]}
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, server: FaultyServer) -> World:
    return World(tmp_path_factory.mktemp("engine"), server)


def test_an_ablation_has_variants_scores_made_elsewhere_and_pairwise_judges(world: World) -> None:
    """Nothing is trained here; the arms differ in temperature alone, so that both ask the same variant."""
    few = ("--limit", 40, "--prompts", 12, "--max-new-tokens", 6)
    screentest("generate", world.base, "--out", world.folder / "made.jsonl", *few, home=world.home)
    made = [json.loads(line) for line in (world.folder / "made.jsonl").read_text().splitlines()]
    for row in made:
        row["finish_reason"] = "stop"
    names = ("cold", "warm", "elsewhere")
    values = [
        {"prompt_id": row["prompt_id"], "variant": name, "value": i + place}
        for place, row in enumerate(made)
        for i, name in enumerate(names)
    ]
    declared = PLAIN | {
        "name": "open",
        "factor": "decoding.temperature",
        "arms": {"cold": {"decoding.temperature": 0}, "warm": {"decoding.temperature": 0.9}},
        "variants": {"elsewhere": {"generations": world.lines("elsewhere.jsonl", made)}},
        "control": "cold",
        "stages": [],
        "recipes": {},
        "fixed": {"base": "small"},
        "bases": {"small": {"source": world.base}},
        "measures": {
            "preferred": {"judge": "judge", "criterion": "coherence", "better": "higher"},
            "cut_off": {},
            "mine": {"scores": world.scores(values), "better": "higher"},
        },
        "contrasts": [{"name": f"{name}-cold", "arms": [name, "cold"]} for name in names[1:]],
        "family": {"measures": ["mine", "preferred"], "test": "sign_flip", "level": 0.6},
        "trend": list(names),
        "test": {"prompts": 12, "min_clusters": 3},
        "controls": 4,
        "data": {"max_tokens": 512},
    }
    found = world.run("ablate", declared, "--limit", 40, "--workers", 1)
    numbers = found["numbers"]
    assert found["absences"] == []
    assert [numbers[f"mine/{name}-cold"]["value"] for name in names[1:]] == [1, 2]
    assert all(numbers[f"preferred/{name}-cold"]["value"] == 0 for name in names[1:])  # by position alone
    assert numbers["preferred_first_position/warm"]["value"] == 1
    assert (numbers["cut_off/elsewhere"]["value"], numbers["cut_off/elsewhere"]["n"]) == (0, 12)
    assert [row["measure"] for row in found["record"]["ablation"]["trends"]] == ["mine", "preferred"]
    assert found["record"]["declaration"]["status"] == "before"
    assert shares_outside(found["record"]) == []


def test_an_evaluation_has_trends_tails_and_tests_by_sign_flips(world: World) -> None:
    ids = [f"f{film}-{row}" for film in range(N_FILMS) for row in range(N_ROWS)]
    rows = [{"id": i, "cluster": i.split("-")[0], "prompt": f"Where is {i}?", "completion": f"It is {i}."} for i in ids]
    names = ("small", "medium", "large")
    values = [
        {"prompt_id": i, "variant": name, "value": place + (7 * k + place * k) % 23}
        for place, name in enumerate(names)
        for k, i in enumerate(ids)
    ]
    files = {
        name: {"generations": world.lines(f"{name}.jsonl", [{"prompt_id": i, "text": f"{name} {i}"} for i in ids])}
        for name in names
    }
    declared = {
        "schema": 1,
        "name": "sizes",
        "question": "Does size help?",
        "variants": files,
        "control": "small",
        "data": {"file": world.lines("test.jsonl", rows), "prompts": len(ids), "min_clusters": 3},
        "measures": {"mine": {"scores": world.scores(values), "better": "higher"}, "cut_off": {}},
        "contrasts": [{"name": "large-small", "arms": ["large", "small"]}],
        "family": {"measures": ["mine"], "test": "sign_flip"},
        "trend": list(names),
        "tail": {"measure": "mine", "contrast": "large-small"},
        "controls": 4,
    }
    found = world.run("evaluate", declared)
    shown = found["record"]["ablation"]
    assert [row["order"] for row in shown["trends"]] == [list(names)]
    assert (shown["tail"][0]["contrast"], shown["quantiles"][0]["measure"]) == ("large-small", "mine")
    (verdict,) = [
        f["verdict"] for f in found["record"]["findings"] if (f["name"], f["contrast"]) == ("mine", "large-small")
    ]
    assert (verdict["p_value"] * 2**N_FILMS).is_integer()  # exact over all signs of twelve films
    assert shares_outside(found["record"]) == []
    page = Path(found["report"]).read_text()
    assert "3 variants; control is small." in page
    assert "and in nothing else" not in page
