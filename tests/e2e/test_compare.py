"""`screentest compare`: two variants, one question, on a tiny base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import tiny_adapter, tiny_checkpoint
from stories import Ran, fresh_home, screentest

from harness.models.bases import resolve_base

pytestmark = pytest.mark.slow

TEXT = "the boat is in since noon and nobody kept a letter for you my dear so why are we still here tonight"
WORDS = TEXT.split()


def prompts_file(file: Path, *, films: int, rows: int = 3) -> Path:
    """Prompts with human replies, three a film, each different from all others."""
    lines = []
    for film in range(films):
        for row in range(rows):
            said = [WORDS[(film * 7 + row * 5 + i * (film + 2)) % len(WORDS)] for i in range(9)]
            lines.append(
                {
                    "id": f"f{film}-{row}",
                    "cluster": f"film-{film}",
                    "prompt": f"{film} {' '.join(said[:5])}?",
                    "completion": f"{' '.join(said[5:])} {row}.",
                }
            )
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def spoil(folder: Path, *, size: float) -> Path:
    """Make an adapter bad: large random weights."""
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    generator = torch.Generator().manual_seed(0)
    save_file({k: torch.randn(v.shape, generator=generator) * size for k, v in load_file(path).items()}, path)
    return folder


class World:
    def __init__(self, folder: Path) -> None:
        self.home = fresh_home(folder / "home")
        self.base = tiny_checkpoint(folder / "base")
        base = resolve_base(str(self.base))
        tiny_adapter(folder / "adapter", base)
        self.adapter = folder / "adapter"
        tiny_adapter(folder / "bad", base)
        self.bad = spoil(folder / "bad", size=3.0)
        self.data = prompts_file(folder / "test.jsonl", films=12)
        self.folder = folder

    def compare(self, a: object, b: object, *more: object, data: Path | None = None) -> Ran:
        few = ("--task", "dialogue", "--prompts", 24, "--max-new-tokens", 6)
        return screentest("compare", a, b, "--data", data or self.data, *few, *more, home=self.home)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("compare"))


def number(result: dict[str, Any], key: str) -> dict[str, Any]:
    (found,) = [e for e in result["estimates"] if e["name"] == key and "contrast" in e]
    return dict(found)


def test_an_adapter_against_its_base_gives_a_verdict_and_a_report(world: World) -> None:
    result = world.compare(world.base, world.adapter, "--json").json
    assert Path(result["report"]).is_file()
    assert [v["name"] for v in result["variants"]] == ["base", "adapter"]
    assert result["variants"][1]["adapter"] == "adapter"
    loss = number(result, "heldout_loss")
    assert loss["contrast"] == "adapter-base"
    assert (loss["n"], loss["n_clusters"], loss["n_missing"]) == (24, 12, 0)
    assert loss["in_family"]
    assert loss["verdict"] in ("better", "worse", "equivalent", "inconclusive")
    assert loss["low"] < loss["value"] < loss["high"]


def test_a_finished_comparison_is_a_pilot_for_the_next(world: World) -> None:
    run = world.compare(world.base, world.adapter, "--json").json["run_id"]
    for measure in ("heldout_loss", "length", "distinct_2"):  # a file of rows each
        asked = ("power", "simulate", run, "--measure", measure, "--clusters", 40)
        ran = screentest(*asked, "--json", home=world.home)
        assert ran.json["n_clusters"] == 40
        assert ran.json["effect"] > 0
        assert "12 clusters; base − adapter" in ran.stderr
    said = screentest("power", "simulate", run, "--measure", "charm", "--clusters", 40, home=world.home)
    assert said.code == 2
    assert "heldout_loss" in said.stderr


def test_the_gate_closes_on_a_worse_adapter_and_only_with_gate(world: World) -> None:
    ran = world.compare(world.base, world.bad, "--json")
    assert number(ran.json, "heldout_loss")["verdict"] == "worse"
    told = json.loads(Path(ran.json["report"]).with_name("report.json").read_text())["record"]["declaration"]
    # The base had replied before, for another adapter: no answer to this question.
    assert (told["status"], told["late"], {*told["question_looks"].values()}) == ("before", [], {1})
    gated = world.compare(world.base, world.bad, "--gate")
    assert gated.code == 3
    assert "the gate is closed" in gated.stderr
    assert "heldout_loss" in gated.stderr
    # The result is told all the same: a pipeline that stops wants to know why.
    assert "report: " in gated.stdout


def test_the_gate_stays_open_for_what_is_better(world: World) -> None:
    """The same pair the other way round."""
    ran = world.compare(world.bad, world.base, "--gate")
    assert ran.code == 0, ran.stderr


def test_a_base_is_given_by_hand_where_the_adapter_names_none(world: World, tmp_path: Path) -> None:
    nameless = tmp_path / "nameless"
    nameless.mkdir()
    for file in world.adapter.iterdir():
        (nameless / file.name).write_bytes(file.read_bytes())
    config = nameless / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": None}))
    refused = world.compare(world.base, nameless)
    assert (refused.code, "--base" in refused.stderr) == (2, True)
    named = world.compare(world.base, nameless, "--base", world.base, "--json").json
    same = world.compare(world.base, world.adapter, "--json").json
    assert number(named, "heldout_loss")["value"] == number(same, "heldout_loss")["value"]


def test_a_checkpoint_is_a_variant(world: World, tmp_path: Path) -> None:
    other = tiny_checkpoint(tmp_path / "checkpoint", seed=5)
    result = world.compare(world.base, other, "--json").json
    assert result["variants"][1]["description"] == "the base"
    assert result["variants"][1]["base"] == str(other)
    assert number(result, "heldout_loss")["value"] != 0


def test_replies_made_elsewhere_are_a_variant_without_held_out_loss(world: World, tmp_path: Path) -> None:
    replies = tmp_path / "replies.jsonl"
    rows = [json.loads(line) for line in world.data.read_text().splitlines()]
    # A row's own id is its prompt's: whoever wrote the file can name its prompts elsewhere.
    answered = [{"prompt_id": row["id"], "text": row["completion"], "finish_reason": "stop"} for row in rows[:-3]]
    replies.write_text("".join(json.dumps(row) + "\n" for row in answered))
    result = world.compare(world.base, replies, "--json", "--prompts", 36).json
    assert "heldout_loss" not in {e["name"] for e in result["estimates"]}
    cut = number(result, "cut_off")
    assert cut["in_family"]
    assert cut["n_missing"] == 3  # prompts that the file does not answer
    assert cut["verdict"] in ("better", "equivalent", "inconclusive")
    (row,) = [v for v in result["variants"] if v["name"] == "replies"]
    assert row["description"] == "generations from replies.jsonl"


def test_what_generate_writes_is_a_variant(world: World, tmp_path: Path) -> None:
    common = ("--data", world.data, "--prompts", 24, "--max-new-tokens", 6)
    made = screentest("generate", world.base, *common, "--out", tmp_path / "own.jsonl", home=world.home)
    assert made.code == 0, made.stderr
    # The last `--task` counts: rows that are no dialogue are asked without a system prompt, as `generate` asks them.
    result = world.compare(world.base, tmp_path / "own.jsonl", "--json", "--task", "chat").json
    assert number(result, "cut_off")["value"] == 0  # the same replies, found by prompt


def replies_file(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_mute_file_is_called_out_first_and_closes_the_gate(world: World, tmp_path: Path) -> None:
    ids = [json.loads(line)["id"] for line in world.data.read_text().splitlines()]
    talks = [{"prompt_id": key, "text": f"I saw {i} of them.", "finish_reason": "length"} for i, key in enumerate(ids)]
    mute = [row | {"text": "\u200b ", "finish_reason": "stop"} for row in talks]
    sides = (replies_file(tmp_path / "talks.jsonl", talks), replies_file(tmp_path / "mute.jsonl", mute))
    ran = screentest("compare", *sides, "--data", world.data, "--task", "dialogue", "--gate", home=world.home)
    assert ran.code == 4
    assert ran.stdout.startswith("not tested: `mute` is mute: none of its 36 replies has text")
    assert "better" not in ran.stdout
    assert "the gate is closed, for not everything was tested" in ran.stderr
    page = (Path(ran.stdout.split("report: ")[1].strip()).with_name("report.md")).read_text()
    assert page.index("is mute") < page.index("## Verdict")


def test_every_draw_of_two_files_counts_and_what_matches_no_prompt_is_named(world: World, tmp_path: Path) -> None:
    ids = [json.loads(line)["id"] for line in world.data.read_text().splitlines()]
    one = [{"prompt_id": key, "text": f"Well, {i} of them.", "finish_reason": "stop"} for i, key in enumerate(ids)]
    three = [row | {"text": f"{row['text']} {'So. ' * n}"} for n in range(3) for row in one]
    stray = {"prompt_id": "[elsewhere]", "text": "Who?", "finish_reason": "stop"}
    first, second = replies_file(tmp_path / "one.jsonl", one), replies_file(tmp_path / "three.jsonl", [*three, stray])
    ran = screentest(
        "compare", first, second, "--data", world.data, "--task", "dialogue", "--gate", "--json", home=world.home
    )
    assert ran.code == 4
    told = json.loads(ran.stdout)
    assert number(told, "length")["value"] == pytest.approx(1)  # 0, 1 and 2 words more, by draw
    (absence,) = told["absences"]
    assert "1 of 37 prompts in `three.jsonl` match no test prompt (`[elsewhere]`)" in absence["said"]


def test_identical_sides_are_refused(world: World) -> None:
    for sides in ((world.base, world.base), (world.adapter, world.adapter), ("base", "embedded")):
        ran = world.compare(*sides)
        assert ran.code == 2
        assert "must differ" in ran.stderr


def test_a_row_without_a_human_reply_is_no_prompt_to_score(world: World, tmp_path: Path) -> None:
    data = tmp_path / "test.jsonl"
    data.write_text('{"prompt": "Hello?"}\n{"prompt": "Who is there?"}\n')
    result = world.compare(world.base, world.adapter, "--json", data=data).json
    assert number(result, "heldout_loss")["value"] is None
    assert "heldout_loss" in {name for absence in result["absences"] for name in absence["measures"]}
    record = json.loads(Path(result["report"]).with_name("report.json").read_text())["record"]
    lost = {row["what"]: (row["n"], row["of"], row["why"]) for row in record["missing"]}
    assert lost["held-out loss of base"] == (2, 2, "the prompt has no human reply")


def test_fewer_than_ten_films_support_no_verdict(world: World, tmp_path: Path) -> None:
    data = prompts_file(tmp_path / "eight.jsonl", films=8)
    result = world.compare(world.base, world.bad, "--json", data=data).json
    loss = number(result, "heldout_loss")
    assert loss["n_clusters"] == 8
    assert loss["verdict"] == "inconclusive"
    assert "too few clusters" in loss["reason"].lower()
    assert "2 more clusters" in loss["settle"]
    assert world.compare(world.base, world.bad, "--gate", data=data).code == 0  # no verdict closes no gate


def test_fewer_than_six_clusters_are_split_with_a_line_that_says_so(world: World, tmp_path: Path) -> None:
    data = prompts_file(tmp_path / "four.jsonl", films=4, rows=6)
    result = world.compare(world.base, world.bad, "--json", data=data).json
    for estimate in result["estimates"]:
        assert "these clusters only" in estimate["notes"]
    loss = number(result, "heldout_loss")
    assert (loss["n"], loss["n_clusters"]) == (24, 24)  # rows stand for films
    told = Path(result["report"]).read_text()
    assert "these clusters only" in told
    assert "conversations resampled in place of 4 clusters, fewer than 6: 24" in told


def tiny_judge(folder: Path, base: Path) -> Path:
    folder.mkdir()
    (folder / "judge.yaml").write_text(
        "schema: 1\nname: tiny-judge\nmethod: likelihood\nmode: likelihood\n"
        f"model: {{source: '{base}', dtype: float32}}\nfamily: llama\ncriteria: [fluency]\n"
        "max_bytes: 256\nqualification: {min_auc: 0.60, n_controls: 8}\n"
    )
    return folder


def test_judge_run_estimates_a_files_replies_and_counts_what_it_could_not_score(world: World, tmp_path: Path) -> None:
    prompts = [json.loads(line) for line in world.data.read_text().splitlines()]
    replies = tmp_path / "replies.jsonl"
    rows = [{"prompt_id": p["id"], "text": p["completion"] if place else ""} for place, p in enumerate(prompts)]
    replies.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("judge", "run", tiny_judge(tmp_path / "tiny-judge", world.base), "--generations", replies)
    ran = screentest(*words, "--data", world.data, "--json", home=world.home)
    (fluency,) = ran.json["estimates"]
    assert (fluency["name"], fluency["n"], fluency["n_clusters"], fluency["n_missing"]) == ("fluency", 35, 12, 1)
    assert fluency["low"] < fluency["value"] < fluency["high"] < 0
    named = [{"prompt_id": p["id"], "prompt": p["prompt"], "reference": p["completion"]} for p in prompts]
    data = tmp_path / "named.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in named))
    ran = screentest(*words, "--data", data, home=world.home)
    assert f"{len(prompts)} × `reference` looks like a reference and was not taken" in ran.stderr
    assert "35 replies / 35 prompts, 1 missing" in " ".join(ran.stdout.split())


def test_a_judge_of_the_same_family_is_shown_and_claims_nothing(world: World, tmp_path: Path) -> None:
    folder = tiny_judge(tmp_path / "tiny-judge", world.base)
    ran = screentest(
        "compare", world.base, world.bad, "--corpus", "sample", "--judge", folder, "--prompts", 12,
        "--max-new-tokens", 4, "--json", home=world.home,
    )  # fmt: skip
    fluency = number(ran.json, "fluency")
    assert fluency["verdict"] == "exploratory"
    assert "family" in fluency["reason"]
    assert fluency["judge_id"].startswith("tiny-judge")
