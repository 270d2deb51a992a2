"""A task is guessed from references in words, and carries all that is said of it: no film in another task's prompts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from certain import sure
from hypothesis import given, settings
from hypothesis import strategies as st

import pipelines  # noqa: F401  # names what reads data
from harness.errors import ConfigError, InputError
from harness.experiment.compare import build_design
from harness.experiment.design import EvaluationDesign
from harness.experiment.evaluate import read_design
from harness.experiment.task_choice import of_design, with_task
from harness.judging.controls import FAMILIES, make_control_set
from harness.judging.controls.faults import wrong_number
from harness.judging.judge_builder import judge_id
from harness.judging.methods import geval, pairwise
from harness.judging.spec import load_judge_spec
from harness.measures.catalogue import CATALOGUE
from harness.task_kinds import TASKS, find_task, guess
from harness.types import Message, Prompt

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
FILM = re.compile(r"film|movie|scene|character|dialogue", re.IGNORECASE)
ASKED = ["What is asked of row 7?"] * 40


@pytest.mark.parametrize(
    ("name", "references"),
    [
        ("summary", ["a summary of all of it in some more words"] * 9),
        ("chat", []),
        ("chat", ["It depends on what you want to do with it, and on how much time there is for it."] * 3),
        ("exact", [f"answer {i}" for i in range(40)]),
        ("classification", ["positive", "negative", "Positive", "neutral"] * 10),
        ("extraction", [json.dumps({"name": str(i)}) for i in range(40)]),
        ("code-like", [f"SELECT a{i} FROM t" for i in range(40)]),
        ("code-like", [f"```python\nprint({i})\n```" for i in range(40)]),
    ],
)
def test_references_tell_the_task_and_the_sentence_how_to_say_another(name: str, references: list[str]) -> None:
    found = guess(["word " * 90] * 9 if name == "summary" else ASKED, references)
    assert found.kind.name == name
    assert f"`{name}`" in found.why
    assert "--task" in found.why


@settings(max_examples=40)
@given(st.lists(st.text(max_size=20), max_size=12))
def test_any_references_give_a_task_whose_measures_there_are(references: list[str]) -> None:
    kind = guess(references, references).kind
    assert not kind.is_dialogue
    assert all(CATALOGUE[name].better for name in kind.measures)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "dialogue"])
def test_no_film_word_reaches_another_tasks_words_or_judges(name: str) -> None:
    kind = TASKS[name]
    said = [kind.words, kind.noun, kind.rated, kind.compared, geval.SYSTEM_OF_ANSWERS, pairwise.SYSTEM_OF_ANSWERS]
    for folder in sorted((EXPERIMENTS / "judges").iterdir()):
        if load_judge_spec(folder).declared.is_taught:  # on faults of dialogue
            with pytest.raises(ConfigError, match=f"must be dialogue, whose faults it is taught, got {name}"):
                load_judge_spec(folder.with_name(f"{folder.name}#{name}"))
            continue
        spec = load_judge_spec(folder.with_name(f"{folder.name}#{name}"))
        said += [spec.prompt or "", *(text for c in spec.criteria for text in (c.definition, *c.steps))]
        assert load_judge_spec(folder).criteria != spec.criteria
    for control in make_control_set(prompts_of(name), seed=3, n=9, criteria=list(FAMILIES), kind=kind):
        said += [control.family, control.control_reply]
    assert not [text for text in said if FILM.search(text)]


ANSWERS = {
    "exact": "{0} lives in town {0}", "extraction": '{{"number": {0}, "town": "Ada{0}"}}',
    "code-like": "SELECT name FROM towns WHERE number = {0}", "classification": "positive{0}",
}  # fmt: skip


def prompts_of(task: str) -> list[Prompt]:
    asked = "Number {0} is what this request is about, and about little else."
    return [
        Prompt(
            id=f"q{i}", cluster=f"c{i % 4}", split="train",
            reference=ANSWERS.get(task, f"It is {{0}}. {asked}").format(i),
            messages=(Message(role="user", content=asked.format(i)),),
        )
        for i in range(12, 24)
    ]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in TASKS if name != "dialogue"])
def test_every_task_has_controls_that_are_faults_in_it(name: str) -> None:
    controls = make_control_set(prompts_of(name), seed=3, n=9, criteria=list(FAMILIES), kind=TASKS[name])
    planted = {criterion: {c.family for c in controls if c.criterion == criterion} for criterion in FAMILIES}
    assert {"other_answer", "echo", "stock", "generic", "looped"} <= planted["relevance"]
    assert "corrupted_word" in planted["fluency"]
    assert planted["consistency"] <= {"wrong_number"}
    for control in controls:
        assert control.control_reply.strip()
        if control.family == "other_answer":  # the true answer of a request of another cluster, whatever it names
            assert control.control_reply in {p.reference for p in prompts_of(name) if p.cluster != control.cluster}
        if control.family == "wrong_number":
            given, said = (
                set(re.findall(r"\d+", text)) for text in (control.messages[-1].content, control.control_reply)
            )
            assert said - given


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_wrong_number_is_a_number_that_was_said_and_is_not_said_so(text: str, said: str) -> None:
    found = wrong_number(text, said)
    if found is not None:
        assert len(found) == len(text)
        assert sum(a != b for a, b in zip(found, text, strict=True)) == 1


def test_a_judge_of_dialogue_is_the_same_judge_with_its_task_named() -> None:
    folder = EXPERIMENTS / "judges" / "gpt-4o-mini"
    plain, named = load_judge_spec(folder), load_judge_spec(folder.with_name("gpt-4o-mini#dialogue"))
    assert judge_id(plain) == judge_id(named)
    with pytest.raises(InputError, match="must be one of dialogue, chat"):
        load_judge_spec(folder.with_name("gpt-4o-mini#poetry"))


def rows(file: Path, *, key: str = "completion") -> Path:
    lines = [
        {"prompt": f"What is {i} + {i}?", key: f"{i + i}", "gold": "x", "cluster": f"c{i % 12}"} for i in range(24)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def design_of(data: Path, **said: object) -> EvaluationDesign:
    defaults: dict[str, Any] = {
        "data": data, "corpus": None, "base": None, "judges": (), "n_prompts": None, "min_effect": 0.02,
        "max_new_tokens": None, "temperature": None, "seed": 7,
    }  # fmt: skip
    return build_design("base", "http://127.0.0.1:9/v1#m", **(defaults | said))


def test_compare_declares_what_the_task_measures_against_references(tmp_path: Path) -> None:
    design = design_of(rows(tmp_path / "qa.jsonl"), judges=(EXPERIMENTS / "judges" / "embedded-geval",))
    assert (design.task, design.family.measures[:2]) == ("exact", ("exact_match", "token_f1"))
    assert (design.decoding.temperature, design.decoding.max_new_tokens) == (0, 64)
    assert sure(design.measures["coherence"].judge).endswith("embedded-geval#exact")
    assert "say `--task`" in design.task_why
    said = design_of(rows(tmp_path / "qa.jsonl"), task="code-like", temperature=0.5, max_new_tokens=9)
    assert (said.task, said.task_why, said.family.measures[0]) == ("code-like", "", "code_match")
    assert (said.decoding.temperature, said.decoding.max_new_tokens) == (0.5, 9)
    none = design_of(rows(tmp_path / "none.jsonl", key="note"))
    assert (none.task, none.family.measures) == ("chat", ("cut_off",))
    for task, file, why in (
        ("exact", "none", "has a reference"), ("extraction", "qa", "is JSON"), ("classification", "qa", "24 different"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"`--task {task}` must fit the data: .*{why}"):
            design_of(tmp_path / f"{file}.jsonl", task=task)
    with pytest.raises(InputError, match="`task` must be one of"):
        design_of(rows(tmp_path / "qa.jsonl"), task="poetry")


def test_a_shipped_experiment_is_film_dialogue_and_is_read_as_it_stands() -> None:
    plain = read_design(EXPERIMENTS / "quickstart.yaml")
    assert with_task(plain, of_design(plain)) == plain
    assert find_task("dialogue").is_dialogue
