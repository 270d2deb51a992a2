from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from corpora import jsonl
from stories import EXPERIMENTS, environment, screentest, spawned

from harness.doors.peers.formats import FORMATS

HEAVY = ("torch", "mlflow", "transformers", "pandas", "numpy", "pyarrow", "scipy", "pydantic", "streamlit", "datasets")


def verbs() -> dict[str, click.Command]:
    """Every command of the tree by how it is typed."""
    from pipelines.cli.application import app

    def below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                yield from below(inner, (*words, name))
        else:
            yield " ".join(words), command

    return dict(below(typer.main.get_command(app), ()))


VERBS = verbs()
RUNS_UNTIL_STOPPED = ("serve", "rate")  # nothing is found: the other verbs have `--json`


# ── help ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_verbs_are_those_that_others_script_against() -> None:
    assert set(VERBS) == {
        "quickstart", "compare", "doctor", "data fetch", "prepare", "sft", "adapters list", "adapters import",
        "adapters promote", "adapters export", "generate", "judge run", "judge qualify", "judge steps", "judge matrix",
        "judge validate", "evaluate", "scores import", "power paired", "power votes", "power seeds", "power simulate",
        "report", "trace", "rate", "study create", "study status", "study close", "study export", "study link",
        "study revoke", "study backup", "study add", "data convert", "pairs build", "pairs import", "pairs audit",
        "dpo", "ablate", "serve", "plan", "judge import", "ratings import", "paper", "adapters card", "adapters push",
        "power detectability",
        *(f"import {tool}" for tool in FORMATS),
    }  # fmt: skip


def test_help_imports_nothing_heavy_and_takes_little_more_than_what_draws_it(tmp_path: Path) -> None:
    """In processor time and as a ratio: other work beside the tests must not fail this."""

    def seconds(program: str) -> tuple[float, list[str]]:
        told = "import sys, json, time\nprint(json.dumps([time.process_time(), *sys.modules]), file=sys.stderr)"
        ran = subprocess.run(
            [sys.executable, "-c", f"try:\n    {program}\nfinally:\n    exec({told!r})"],
            env=environment(tmp_path), capture_output=True, text=True,
        )  # fmt: skip
        took, *loaded = json.loads(ran.stderr.splitlines()[-1])
        return took, loaded

    took, loaded = seconds("import pipelines.cli; pipelines.cli.main(['--help'])")
    assert "typer" in loaded
    assert not {name.split(".")[0] for name in loaded} & set(HEAVY)
    assert took < 4 * seconds("import typer.rich_utils, rich.markdown, rich.table")[0]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_teaches(verb: str, tmp_path: Path) -> None:
    ran = screentest(*verb.split(), "--help", home=tmp_path)
    assert (ran.code, ran.stderr, "Usage" in ran.stdout) == (0, "", True)
    assert VERBS[verb].help
    options = {parameter.name: getattr(parameter, "help", None) for parameter in VERBS[verb].params}
    assert all(said for name, said in options.items() if name != "help"), options
    assert ("json" in options) == (verb not in RUNS_UNTIL_STOPPED)


@pytest.mark.parametrize("words", [(), ("data",), ("adapters",), ("judge",), ("scores",), ("power",), ("study",)])
def test_no_verb_at_all_shows_help_and_fails(words: tuple[str, ...], tmp_path: Path) -> None:
    ran = screentest(*words, home=tmp_path)
    assert ran.code == 2
    assert "Usage" in ran.stdout + ran.stderr


def test_the_version_is_that_of_the_distribution(tmp_path: Path) -> None:
    from importlib.metadata import version

    assert screentest("--version", home=tmp_path).stdout == f"screentest {version('screentest')}\n"


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder full of things that cannot be used."""
    folder = tmp_path_factory.mktemp("bad")
    recipe = (EXPERIMENTS / "recipes" / "sft" / "embedded.yaml").read_text()
    experiment = (EXPERIMENTS / "quickstart.yaml").read_text()
    files = {
        "broken.yaml": "name: x\nlora: [1, 2\nseed: 0\n",
        "unknown.yaml": recipe + "learning_rat: 1\n",
        "negative.yaml": recipe.replace("rank: 16", "rank: -1"),
        "python.yaml": "name: !!python/object/apply:os.system ['true']\n",
        "experiment.yaml": experiment,
        "experiment-unknown.yaml": experiment + "colour: red\n",
        "experiment-arm.yaml": experiment.replace("arms: [sft, base]", "arms: [sft, bas]"),
        "no-sft.yaml": experiment.replace("  sft: {", "  tuned: {")
        .replace("[sft,", "[tuned,")
        .replace(" sft]", " tuned]"),
        "rows.jsonl": '{"prompt_id": "p1", "variant": "a", "value": 1}\n{"prompt_id": "p1", "variant": "a"}\n',
        "empty.jsonl": "",
        "numbers.jsonl": '{"prompt": "Hello?", "completion": "Yes."}\n17\n',
        "pairs.jsonl": '{"prompt": "Hello?", "chosen": "Yes.", "rejected": "No."}\n',
        "test.jsonl": '{"prompt": "Hello?", "completion": "Yes."}\n',
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "folder").mkdir()
    bad_pilots(folder)
    return folder


def bad_pilots(folder: Path) -> None:
    """Pilots that no power analysis can start from."""

    def score(prompt: str, variant: str, value: float, **more: str) -> dict[str, Any]:
        return {"prompt_id": prompt, "variant": variant, "value": value, **more}

    def vote(left: str, right: str, winner: str) -> dict[str, Any]:
        return {"prompt_id": "p", "left": left, "right": right, "winner": winner}

    (folder / "blank.jsonl").write_text("\n")
    (folder / "latin.jsonl").write_bytes('{"prompt_id": "é"}'.encode("latin-1"))
    jsonl(folder / "other.jsonl", {"prompt_id": "p", "marks": 3})
    jsonl(folder / "three.jsonl", *(score("p", v, 1) for v in ("a", "b", "c")))
    jsonl(folder / "votes.jsonl", vote("a", "b", "left"), vote("b", "c", "left"))
    jsonl(folder / "winner.jsonl", vote("a", "b", "A"))
    jsonl(folder / "side.jsonl", {"prompt_id": "p", "left": "a", "winner": "left"})
    jsonl(folder / "apart.jsonl", score("p", "a", 1), score("q", "b", 1))
    pairs = [(p, v) for p in range(6) for v in ("a", "b")]
    jsonl(folder / "films.jsonl", *(score(f"p{p}", v, p * (v == "a"), cluster=f"m{p % 2}") for p, v in pairs))
    jsonl(folder / "flat.jsonl", *(score(f"p{p}", v, float(v == "a"), cluster=f"m{p}") for p, v in pairs))


SIZE = "plan --prompts 100 --variants 6"
WRONG = """
dance
prepare --colour red
sft {bad}/nothing.yaml
sft {bad}/broken.yaml  |  `{bad}/broken.yaml` line 3
sft {bad}/unknown.yaml  |  `learning_rat` is not a key
sft {bad}/negative.yaml  |  `lora.rank`
sft {bad}/python.yaml
evaluate {bad}/experiment-unknown.yaml
evaluate {bad}/experiment-arm.yaml  |  'bas'
evaluate {bad}/experiment.yaml --profile huge
quickstart --experiment {bad}/no-sft.yaml
prepare --corpus casablanca
prepare --corpus {bad}/folder
prepare --corpus {bad}/numbers.jsonl  |  `{bad}/numbers.jsonl` line 2
prepare --base casablanca
prepare --limit 0
prepare --max-tokens 4
report latest
adapters promote nobody@candidate
adapters export nobody {bad}/out
adapters card nobody
adapters push nobody@candidate me/film
adapters import {bad}/folder --name x
compare base {bad}/folder
compare base a/b --corpus sample --data {bad}/test.jsonl
compare base embedded --data {bad}/test.jsonl
compare base {bad}/nothing --data {bad}/test.jsonl
compare base http://localhost:1/v1 --corpus sample
compare base a/b --corpus sample --min-effect -1
rate --url rate.example.org
rate --owner
generate nobody
judge qualify {bad}/folder
judge run {experiments}/judges/embedded-likelihood
scores import {bad}/rows.jsonl --measure m  |  `{bad}/rows.jsonl` line 2
scores import {bad}/rows.jsonl
dpo {experiments}/recipes/sft/embedded.yaml
dpo {experiments}/recipes/dpo/embedded.yaml
pairs build --parent nobody@candidate --method reference
pairs build
pairs build --method reference --min-margin 1
pairs audit {bad}/empty.jsonl
pairs audit {bad}/numbers.jsonl
data fetch casablanca
plan --prompts 100 --variants 6 --criteria 4  |  give --judge, or --from
plan --prompts 100 --variants 6 --judge {experiments}/judges/self-hosted  |  give --mode logprobs or sampled
plan --prompts 100 --variants 6 --judge {experiments}/judges/embedded-deepeval  |  deepeval asks
plan --prompts 100 --variants 6 --mode sampled  |  belongs to a judge
plan --prompts 100 --variants 6 --judge nobody  |  must be a judge's file
power paired --sd 1
power paired --sd 1 --effect 1 --prompts 9 --power 0.9
power paired --sd 0 --effect 1
power votes
power votes --win-share 0.5
power votes --win-share 0.6 --ties 1
power seeds --effect 1
power seeds --sd 1 --effect 1
power seeds --sd 1 --films 20 --seeds 2
power seeds --sd 1 --films 20 --effect 0.01
power seeds --sd 1 --films 20 --seed-share 1 --effect 1
power seeds latest --measure heldout_loss --effect 1
power simulate {bad}/none.jsonl --effect 1
power simulate {bad}/blank.jsonl --effect 1
power simulate {bad}/other.jsonl --effect 1
power simulate {bad}/latin.jsonl --effect 1
power simulate {bad}/three.jsonl --effect 1
power simulate {bad}/three.jsonl --treatment x --control a --effect 1
power simulate {bad}/three.jsonl --treatment a --control a --effect 1
power simulate {bad}/votes.jsonl --treatment a --control c --effect 1
power simulate {bad}/winner.jsonl --effect 0.1
power simulate {bad}/side.jsonl --effect 0.1
power simulate {bad}/apart.jsonl --effect 1
power simulate {bad}/films.jsonl --effect 1
power simulate {bad}/flat.jsonl --films 5
"""  # a command a line, and part of what is to be said about it


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from stories import fresh_home

    return fresh_home(tmp_path_factory.mktemp("cli") / "mlruns")


@pytest.mark.parametrize("case", WRONG.strip().splitlines())
def test_what_cannot_be_used_is_said_in_one_sentence_with_exit_code_2(case: str, bad: Path, home: Path) -> None:
    words, _, said = case.format(bad=bad, experiments=EXPERIMENTS).partition("  |  ")
    ran = screentest(*words.split(), home=home)
    assert ran.code == 2, ran.stderr
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    if "Usage" not in ran.stderr:  # else Typer's own words for wrong usage
        assert ran.stderr.count("error: ") == 1
        (line,) = [text for text in ran.stderr.splitlines() if text.startswith("error: ")]
        assert "`" in line, "an error names the thing in backticks"
        assert said in line


def test_what_failed_without_the_callers_fault_exits_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/file/mlflow.db"}
    ran = screentest("adapters", "list", home=tmp_path, env=store)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: `sqlite:")
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_closed_disk_exits_1_in_a_sentence(home: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def write(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number), "/disk/x")

    monkeypatch.setattr("harness.store.tracking.Tracking.find", write)
    ran = screentest("doctor", home=home)
    assert (ran.code, ran.stdout) == (1, "")
    [line] = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: `/disk/x` must be a place that can be used: {os.strerror(number)} (/disk/x); ")


def test_a_hub_that_cannot_be_reached_exits_1_and_says_what_to_do(home: Path) -> None:
    ran = screentest("prepare", "--base", "nobody/nothing", home=home, env={"HF_HUB_OFFLINE": "1"})
    assert (ran.code, ran.stdout) == (1, "")
    assert "`nobody/nothing`" in ran.stderr
    assert "embedded" in ran.stderr


def test_an_interrupted_command_says_that_it_goes_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.store.tracking import Tracking

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Tracking, "find", interrupted)
    ran = screentest("doctor", home=home)
    assert ran.code == 130
    assert "goes on from there" in ran.stderr


# ── stdout and stderr ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fakes import tiny_checkpoint

    return tiny_checkpoint(tmp_path_factory.mktemp("base"))


FOUND = f"""
doctor
adapters list
study status
generate {{base}} --prompts 6 --max-new-tokens 4 --limit 30
scores import {{bad}}/flat.jsonl --measure m
pairs audit {{bad}}/pairs.jsonl
power paired --sd 1 --effect 1
{SIZE}
"""


@pytest.mark.parametrize("case", FOUND.strip().splitlines())
def test_json_is_the_only_thing_on_stdout_and_only_where_asked(case: str, bad: Path, base: Path, home: Path) -> None:
    arguments = case.format(bad=bad, base=base, experiments=EXPERIMENTS).split()
    assert isinstance(screentest(*arguments, "--json", home=home).json, dict | list)
    shown = screentest(*arguments, home=home)
    assert shown.code == 0
    assert shown.stdout + shown.stderr
    with pytest.raises(json.JSONDecodeError):
        json.loads(shown.stdout)


def test_no_secret_of_the_environment_is_shown_or_stored(tmp_path: Path, base: Path) -> None:
    from stories import fresh_home

    canary = "sk-canary-0123456789"
    home = fresh_home(tmp_path / "home")
    env = {"OPENAI_API_KEY": canary, "HF_TOKEN": f"hf_{canary}", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    commands = (
        ("doctor",),
        ("doctor", "--json"),
        ("generate", base, "--prompts", 4, "--max-new-tokens", 2, "--limit", 30, "--json"),
        ("generate", "http://127.0.0.1:9/v1#nothing", "--prompts", 4, "--limit", 30),
        ("prepare", "--corpus", "casablanca"),
    )
    for arguments in commands:
        ran = screentest(*arguments, home=home, env=env)
        assert canary not in ran.stdout + ran.stderr, arguments
    for path in home.rglob("*"):
        if path.is_file():
            assert canary.encode() not in path.read_bytes(), path


def test_a_crash_shows_no_local_variables(tmp_path: Path) -> None:
    """A bug's traceback must not print what variables hold: keys are among them."""
    program = (
        "import harness.store.tracking\n"
        "def broken(self, *a, **k):\n    secret = 'sk-canary-0123456789'\n    raise RuntimeError('bug')\n"
        "harness.store.tracking.Tracking.find = broken\n"
        "from pipelines.cli import main\nmain(['report', 'latest'])"
    )
    ran = subprocess.run([sys.executable, "-c", program], env=environment(tmp_path), capture_output=True, text=True)
    assert ran.returncode == 1
    assert "RuntimeError: bug" in ran.stderr
    assert all("secret = " in line for line in ran.stderr.splitlines() if "canary" in line)  # the source, not a value


def test_a_reader_that_stops_early_is_no_error(tmp_path: Path) -> None:
    """`screentest … | head`."""
    ran = spawned("--help", home=tmp_path)
    assert ran.code == 0
    program = f"{sys.executable} -c 'from pipelines.cli import main; main()' --help | head -1"
    piped = subprocess.run(program, shell=True, env=environment(tmp_path), capture_output=True, text=True)
    assert "Traceback" not in piped.stderr


# ── doctor ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_doctor_says_what_is_there_and_what_to_do_about_each_lack(home: Path) -> None:
    checks = {c["what"]: c for c in screentest("doctor", "--json", home=home).json["checks"]}
    expected = {"Python", "Device", "Memory", "Disk", "Attention", "4-bit (QLoRA)", "Embedded model", "Store"}
    expected |= {"Embedded encoder"}
    assert set(checks) >= expected | {"Corpora", "Judges"}
    for check in checks.values():
        assert check["status"] in ("ok", "lack", "fail")
        assert check["detail"]
        assert check["status"] == "ok" or check["advice"], check["what"]
