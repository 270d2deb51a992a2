"""A pairwise judge as a measure of a whole evaluation, its biases beside its win share; and controls of one's own."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from faulty_server import Fault, FaultyServer, is_probe
from stories import EXPERIMENTS, Ran, fresh_home, screentest

pytestmark = pytest.mark.slow

N_FILMS, N_ROWS = 6, 4


class World:
    """Two variants, as files of replies, and a judge at a server."""

    def __init__(self, folder: Path, server: FaultyServer) -> None:
        self.folder, self.server = folder, server
        self.home = fresh_home(folder / "home")
        self.ids = [f"f{film}-{row}" for film in range(N_FILMS) for row in range(N_ROWS)]
        rows = [{"id": i, "cluster": i[:2], "prompt": f"Where is {i}?", "completion": f"It is {i}."} for i in self.ids]
        self.data = self._lines("test.jsonl", rows)
        # Row 0 of each film: the treatment is longer; rows 1 and 2: much longer; row 3: shorter.
        lengths = {"0": 5, "1": 12, "2": 19, "3": -7}
        self._lines("control.jsonl", [{"prompt_id": i, "text": f"Base {i} " + "b" * 20} for i in self.ids])
        self._lines(
            "treatment.jsonl", [{"prompt_id": i, "text": f"Mine {i} " + "t" * (20 + lengths[i[-1]])} for i in self.ids]
        )
        self._judge()

    def _lines(self, name: str, rows: list[dict[str, Any]]) -> Path:
        file = self.folder / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file

    def _judge(self) -> None:
        shutil.copytree(EXPERIMENTS / "judges" / "gpt-4o-mini-pairwise", self.folder / "judge")
        file = self.folder / "judge" / "judge.yaml"
        changed = {"name": "pairs", "model": {"endpoint": self.server.url, "name": "m"}, "criteria": ["coherence"]}
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changed))

    @property
    def experiment(self) -> Path:
        file = self.folder / "experiment.yaml"
        declared = {
            "schema": 1,
            "name": "pairs",
            "question": "Is the treatment preferred?",
            "variants": {n: {"generations": str(self.folder / f"{n}.jsonl")} for n in ("control", "treatment")},
            "control": "control",
            "data": {"file": str(self.data), "prompts": len(self.ids), "min_clusters": 3},
            "measures": {
                "preferred": {
                    "judge": "judge",
                    "criterion": "coherence",
                    "better": "higher",
                    "smallest_effect": {"value": 0.1, "unit": "share"},
                }
            },
            "contrasts": [{"name": "treatment-control", "arms": ["treatment", "control"]}],
            "family": {"measures": ["preferred"]},
            "controls": 4,
        }
        file.write_text(yaml.safe_dump(declared))
        return file

    def evaluate(self, *options: object) -> Ran:
        return screentest("evaluate", self.experiment, *options, home=self.home)


def replies(body: dict[str, Any]) -> tuple[str, str]:
    said = str(body["messages"][-1]["content"])
    a, b = (re.search(rf"<reply_{x}>\n(.*?)\n</reply_{x}>", said, re.DOTALL) for x in "ab")
    assert a
    assert b
    return a[1], b[1]


def longer(body: dict[str, Any], n: int) -> Fault | None:
    """A judge that prefers the longer reply and sees no position."""
    if is_probe(body):
        return None
    a, b = replies(body)
    return Fault(kind="says", message="A" if len(a) > len(b) else "B" if len(b) > len(a) else "C")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FaultyServer(longer) as server:
        yield World(tmp_path, server)


def numbers(ran: Ran) -> dict[str, dict[str, Any]]:
    return {e["key"]: e for e in ran.json["estimates"]}


def test_a_win_share_stands_in_the_report_with_what_biases_its_judge(world: World) -> None:
    (planned,) = world.evaluate("--dry-run", "--json").json["calls"][:1]
    assert (planned["what"], planned["calls"]) == ("verdicts of pairs, logprobs", 2 * len(world.ids))
    assert world.server.sent == []

    ran = world.evaluate("--json")
    found = numbers(ran)
    assert found["preferred/treatment"]["value"] == pytest.approx(0.75)  # three of four rows are longer
    assert found["preferred/treatment-control"]["value"] == pytest.approx(0.25)
    order = found["preferred_position_consistency/treatment"]
    assert (order["value"], order["n"], order["n_clusters"]) == (1.0, 24, 6)
    assert found["preferred_first_position/treatment"]["value"] == pytest.approx(0.5)
    # Ranks of the wins 1, 1, 1, 0 and of the lengths 5, 12, 19, −7 in each film: by hand 3 / sqrt(3 · 5) = 0.7746.
    assert found["preferred_length_correlation/treatment"]["value"] == pytest.approx(0.7746, abs=1e-4)
    assert "preferred_length_correlation/control" not in found
    page = Path(ran.json["report"]).read_text()
    for label in ("same verdict in both orders", "verdicts for the first position", "wins and length"):
        assert f"Preferred: {label}" in page

    traced = screentest(
        "trace", ran.json["run_id"], "preferred_position_consistency/treatment", "--json", home=world.home
    )
    (source,) = traced.json["sources"]
    assert (source["artifact"], source["n_rows"], source["is_intact"]) == ("preferences.parquet", 48, True)


# ── controls of one's own ────────────────────────────────────────────────────────────────────────────────────────────


def own_controls(folder: Path, *, n: int = 12, **changes: Any) -> Path:
    """Contexts in which the true reply is the longer one."""
    file = folder / "mine.jsonl"
    rows = [
        {
            "id": f"own-{i}",
            "criterion": "coherence",
            "family": "terse",
            "kind": "discrimination",
            "messages": [{"role": "user", "content": f"What happened in year {i}?"}],
            "true_reply": f"The harbour froze in year {i}, and nobody sailed.",
            "control_reply": f"Fish {i}.",
            "cluster": f"film-{i % 4}",
        }
        | changes
        for i in range(n)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_judge_is_qualified_on_controls_of_ones_own_besides_the_planted(world: World) -> None:
    words = ("judge", "qualify", world.folder / "judge", "--n-controls", 6, "--json")
    mine = own_controls(world.folder)
    planned = screentest(*words, "--controls", mine, "--dry-run", home=world.home).json["calls"]
    without = screentest(*words, "--dry-run", home=world.home).json["calls"]
    assert planned[0]["calls"] - without[0]["calls"] == 2 * 12  # both orders
    (found,) = screentest(*words, "--controls", mine, home=world.home).json
    families = {f["family"]: f for f in found["families"]}
    assert {"other_film", "terse"} <= set(families)
    assert (families["terse"]["auc"], families["terse"]["n"], families["terse"]["kind"]) == (1.0, 12, "discrimination")
    assert found["status"] != "qualified"  # an echo or a loop can be longer than the true reply
    (alone,) = screentest(*words, home=world.home).json
    assert "terse" not in {f["family"] for f in alone["families"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "hard"}, "`kind`"),
        ({"criterion": "warmth"}, "must hold controls of what pairs scores, coherence, got warmth"),
        ({"extra": 1}, "extra"),
    ],
)
def test_controls_that_cannot_be_used_are_refused_in_a_sentence(world: World, changes: Any, said: str) -> None:
    mine = own_controls(world.folder, **changes)
    ran = screentest("judge", "qualify", world.folder / "judge", "--controls", mine, home=world.home)
    assert ran.code == 2
    assert said in ran.stderr
    assert world.server.sent == []
