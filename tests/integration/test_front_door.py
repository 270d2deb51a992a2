"""`import screentest` outside the checkout: a measure and a judge of ten lines, through every verb into a report."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ablations import OWN, tiny_ablation
from fakes import tiny_adapter, tiny_checkpoint
from stories import fresh_home, screentest

import screentest as st
from harness.doors import functions
from harness.errors import InputError
from harness.models.bases import resolve_base
from harness.store.artifacts import to_json

pytestmark = pytest.mark.slow

KIT = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "own-kit"
version = "1"
[project.entry-points]
"screentest.measures" = {asks_back = "own_kit:asks_back"}
"screentest.judges" = {polite-words = "own_kit:polite"}
"screentest.corpora" = {harbour = "own_kit:harbour"}
[tool.setuptools]
packages = ["own_kit"]
package-data = {own_kit = ["*.jsonl"]}
"""
HARBOUR = "\nfrom pathlib import Path\ndef harbour(): return Path(__file__).with_name('harbour.jsonl')\n"
TEXT = "the boat is in since noon and nobody kept a letter for you my dear so why are we still here tonight"
WORDS = TEXT.split()
ROWS = [
    {
        "id": f"f{film}-{row}", "cluster": f"film-{film}",
        "prompt": f"{film} {' '.join(WORDS[(film + row + i) % len(WORDS)] for i in range(5))}?",
        "completion": f"{' '.join(WORDS[(3 * film + 2 * row + i) % len(WORDS)] for i in range(4))} {row}.",
    }
    for film in range(12) for row in range(2)
]  # fmt: skip


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = fresh_home(folder / "home")
        self.base = str(tiny_checkpoint(folder / "base"))
        tiny_adapter(folder / "adapter", resolve_base(self.base))
        self.adapter = str(folder / "adapter")
        (folder / "own_things.py").write_text(OWN)

    def compare(self, a: Any, b: Any, **how: Any) -> st.Found:
        return st.compare(a, b, data=how.pop("data", ROWS), task="dialogue", prompts=24, max_new_tokens=6, **how)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("front"))


@pytest.fixture(autouse=True)
def here(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENTEST_HOME", str(world.home))
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_own_measures_give_answer_rows_and_report(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(world.folder)
    own = importlib.import_module("own_things")
    measures = [own.asks_back, own.polite, "heldout_loss"]
    found = world.compare(world.base, world.adapter, measures=measures)
    verdicts = {c.measure: c for c in found.verdicts}
    assert [c.measure for c in found.verdicts if c.in_family] == ["asks_back", "politeness", "heldout_loss"]
    assert verdicts["politeness"].verdict == "exploratory"
    assert verdicts["asks_back"].estimate.n_missing == 0
    rows = found.rows("asks_back")
    assert list(rows.columns) == ["prompt_id", "cluster", "variant", "draw", "value", "status", "reason"]
    assert len(rows) == 48
    assert set(rows.value) <= {0.0, 1.0}
    for measure in ("heldout_loss", "politeness", "distinct_2", "cut_off"):
        assert set(found.rows(measure).variant) == {"base", "adapter"}
    assert {"name", "value", "low", "high", "verdict"} <= set(found.to_pandas().columns)
    assert "Asks back" in found.report(tmp_path / "report.html").read_text()
    assert str(found).rstrip().endswith("report.html")
    assert "<svg" in found._repr_html_()
    assert "| " in found._repr_markdown_()
    # Whatever form the rows come in, and whoever asks, every stage is found again.
    before = {run.run_id for run in found.tracking.find(stage="generate", status="FINISHED")}
    again = world.compare(world.base, world.adapter, measures=measures, data=pd.DataFrame(ROWS))
    assert {run.run_id for run in again.tracking.originals(stage="generate")} <= before


def test_data_of_customers_are_told_without_a_word_of_films(tmp_path: Path) -> None:
    rows = [
        {
            "id": f"{customer}-{row}", "cluster": f"customer-{customer}",
            "prompt": f"{WORDS[(customer + row) % len(WORDS)]} {customer} {row}?",
            "completion": " ".join(WORDS[(customer * row + i) % len(WORDS)] for i in range(4 + row)),
        }
        for customer in range(12) for row in range(2)
    ]  # fmt: skip
    found = st.compare(
        lambda prompt: prompt[::-1], lambda prompt: f"never {prompt}", data=rows, task="chat", prompts=24,
        measures=["detectability", "self_bleu", "distinct_2", "length"],
    )  # fmt: skip
    page = re.sub(
        r"<style.*?</style>|<script.*?</script>", "", found.report(tmp_path / "r.html").read_text(), flags=re.S
    )
    assert "no better than by chance" in page or "beyond chance" in page
    for text in (page, str(found), json.dumps(to_json(found.record))):
        assert re.findall(r".{0,60}\bfilms?\b.{0,60}", text) == []


def test_models_in_memory_and_functions_are_variants(world: World) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(world.base)
    bare, wrapped = (AutoModelForCausalLM.from_pretrained(world.base) for _ in range(2))
    live = world.compare((bare, tokenizer), (PeftModel.from_pretrained(wrapped, world.adapter), tokenizer))
    from_files = world.compare(world.base, world.adapter)
    for measure in ("heldout_loss", "length"):
        assert live.rows(measure).value.tolist() == pytest.approx(from_files.rows(measure).value.tolist(), abs=1e-5)
    odd = world.compare(lambda prompt: prompt.upper(), lambda messages: None if len(messages) % 2 else "never")
    assert odd.rows("no_text").groupby("variant").value.mean().tolist() == [0.0, 1.0]
    assert odd.record.absences


def test_evaluate_reads_functions_beside_the_file(world: World) -> None:
    (world.folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    file = world.folder / "experiment.yaml"
    file.write_text(
        f"schema: 1\nname: own\nquestion: Does it ask?\nvariants:\n  base: {{model: {world.base}}}\n"
        f"  tuned: {{adapter: {world.adapter}}}\ncontrol: base\n"
        f"data: {{file: {world.folder / 'test.jsonl'}, prompts: 12}}\n"
        "decoding: {max_new_tokens: 6}\nmeasures:\n  asks_back: {measure: 'own_things:asks_back'}\n"
        "  politeness: {judge: 'own_things:polite'}\n"
        "contrasts: [{name: tuned-base, arms: [tuned, base]}]\nfamily: {measures: [asks_back]}\n"
    )
    assert "asks_back" in st.evaluate(file).to_pandas().name.tolist()


def test_workers_take_them_from_their_modules_or_it_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    measures = {
        "heldout_loss": {"smallest_effect": {"value": 0.02, "unit": "bits_per_byte"}},
        "asks_back": {"measure": "own_things:asks_back"},
        "politeness": {"judge": "own_things:polite"},
    }
    file = tiny_ablation(
        world.folder, Path(world.base), measures=measures, seeds=[1], controls=4,
        family={"measures": ["heldout_loss", "asks_back"]},
    )  # fmt: skip
    (world.folder / "elsewhere").mkdir()
    counts = 'import screentest as st\n@st.measure(better="lower")\ndef letters(reply): return len(reply)\n'
    (world.folder / "elsewhere" / "own_counts.py").write_text(counts)
    monkeypatch.syspath_prepend(world.folder / "elsewhere")  # of this process alone
    found = st.ablate(file, limit=60, measures=[importlib.import_module("own_counts").letters])
    assert {found.rows(measure).variant.nunique() for measure in ("asks_back", "letters")} == {2}
    verdicts = {claim.measure: claim for claim in found.verdicts}
    assert verdicts["politeness"].verdict == "exploratory"
    assert verdicts["asks_back"].unit == "share"

    local = st.measure(lambda reply: 0, better="lower", name="local")
    for executor in ("local", "ray"):
        with pytest.raises(InputError, match="must lie in a module for `ablate`"):
            st.ablate(file, measures=[local], executor=executor)


def test_what_a_package_offers_is_found_by_name(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "own_kit").mkdir(parents=True)
    (source / "pyproject.toml").write_text(KIT)
    (source / "own_kit" / "__init__.py").write_text(OWN + HARBOUR)
    rows = "".join(json.dumps(row | {"split": "test"}) + "\n" for row in ROWS).replace("boat", "barge")
    (source / "own_kit" / "harbour.jsonl").write_text(rows)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", target, source], check=True)
    monkeypatch.syspath_prepend(target)
    monkeypatch.setattr(functions, "_LIBRARIES", (*functions._LIBRARIES, str(target)))
    named: dict[str, Any] = {"corpus": "harbour", "task": "dialogue"}

    def anew() -> set[str]:
        """The stages that a command runs anew."""
        options = [word for key, value in named.items() for word in (f"--{key}", value)]
        claimed = ("--measure", "asks_back", "--judge", "polite-words", "--prompts", 24, "--max-new-tokens", 6)
        ran = screentest("compare", world.base, world.adapter, *options, *claimed, "--json", home=world.home).json
        assert {"asks_back", "politeness"} <= {e["name"] for e in ran["estimates"] if e.get("contrast")}
        return {stage["name"] for stage in ran["stages"] if not stage["reused"]}

    assert {"generate", "measure", "judge"} <= anew()
    found = st.compare(
        world.base, world.adapter, measures=["asks_back", "polite-words"], prompts=24, max_new_tokens=6, **named
    )
    assert [c.measure for c in found.verdicts if c.in_family] == ["asks_back", "politeness"]
    assert "polite-words" in st.judges().judge.tolist()
    assert not {"generate", "measure", "judge"} & anew()
    file = tmp_path / "experiment.yaml"
    file.write_text(
        f"schema: 1\nname: kit\nquestion: Does it ask?\nvariants:\n  base: {{model: {world.base}}}\n"
        f"  tuned: {{adapter: {world.adapter}}}\ncontrol: base\ndata: {{corpus: harbour, prompts: 12}}\n"
        "decoding: {max_new_tokens: 6}\nmeasures:\n  asks_back: {}\n  politeness: {judge: polite-words}\n"
        "contrasts: [{name: tuned-base, arms: [tuned, base]}]\nfamily: {measures: [asks_back]}\n"
    )
    names = {e["name"] for e in screentest("evaluate", file, "--json", home=world.home).json["estimates"]}
    assert {"asks_back", "politeness"} <= names
    installed = target / "own_kit" / "__init__.py"
    installed.write_text(installed.read_text().replace('"e" in reply', '"a" in reply'))
    del sys.modules["own_kit"]
    assert {"generate", "measure", "judge"} & anew() == {"measure", "judge"}
    (target / "own_kit" / "harbour.jsonl").write_text(rows.replace("barge", "ship"))
    assert "generate" in anew()


def test_a_judge_is_qualified_and_one_word_of_python_is_enough_for_the_rest(world: World) -> None:
    @st.judge(family="rules", criteria=["fluency"])
    def long_is_good(items: list[st.JudgedItem]) -> list[int]:
        return [len(item.reply) for item in items]

    table = st.qualify(long_is_good, n=4)
    assert set(table.standing) <= {"not_qualified", "inconclusive"}
    assert {"shuffled_words", "looped"} <= set(table.family)
    assert "embedded-likelihood" in st.judges().name.tolist()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "at least one row"),
        ([3], "must be a dict"),
        ({"prompt": "x"}, "a list of dicts"),
        ([{"prompt": object(), "completion": "x"}], "must be text, a number"),
        (3, "a list of dicts"),
    ],
)
def test_data_that_are_none_are_a_sentence(world: World, data: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        world.compare(world.base, world.adapter, data=data)
