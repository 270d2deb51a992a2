from __future__ import annotations

import errno
import json
import os
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from stories import EXPERIMENTS, environment, screentest, spawned

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


# ── help ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_verbs_are_those_that_others_script_against():
    assert set(VERBS) == {
        "quickstart", "compare", "doctor", "data fetch", "prepare", "sft", "adapters list", "adapters import",
        "adapters promote", "adapters export", "generate", "judge run", "judge qualify", "judge steps", "judge matrix",
        "judge validate", "evaluate", "scores import", "power paired", "power votes", "power simulate", "report",
        "trace", "rate", "study create", "study status", "study close", "study export", "study link", "study revoke",
        "study backup", "data convert", "pairs build", "pairs import", "pairs audit", "dpo", "ablate", "serve", "plan",
    }  # fmt: skip


def test_help_answers_in_under_half_a_second(tmp_path):
    """In processor time, which on an idle machine is the wall time: other work beside the tests must not fail this."""
    seconds = []
    for _ in range(3):
        began = processor_seconds()
        ran = subprocess.run(
            [str(Path(sys.executable).with_name("screentest")), "--help"],
            env=environment(tmp_path),
            capture_output=True,
        )
        seconds.append(processor_seconds() - began)
        assert ran.returncode == 0
    assert statistics.median(seconds) < 0.5


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_imports_nothing_heavy(tmp_path):
    program = (
        "import sys, json\nfrom pipelines.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", program], env=environment(tmp_path), capture_output=True, text=True)
    loaded = set(json.loads(ran.stderr.splitlines()[-1]))
    assert "typer" in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_helps(verb, tmp_path):
    ran = screentest(*verb.split(), "--help", home=tmp_path)
    assert (ran.code, ran.stderr) == (0, "")
    assert "Usage" in ran.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_and_argument_says_what_it_is(verb):
    command = VERBS[verb]
    assert command.help
    for parameter in command.params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{verb}: {parameter.name}"


@pytest.mark.parametrize("words", [(), ("data",), ("adapters",), ("judge",), ("scores",), ("power",), ("study",)])
def test_no_verb_at_all_shows_help_and_fails(words, tmp_path):
    ran = screentest(*words, home=tmp_path)
    assert ran.code == 2
    assert "Usage" in ran.stdout + ran.stderr


def test_the_version_is_that_of_the_distribution(tmp_path):
    from importlib.metadata import version

    assert screentest("--version", home=tmp_path).stdout == f"screentest {version('screentest')}\n"


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    """A folder full of things that cannot be used."""
    folder = tmp_path_factory.mktemp("bad")
    recipe = (EXPERIMENTS / "recipes" / "sft" / "embedded.yaml").read_text()
    experiment = (EXPERIMENTS / "quickstart.yaml").read_text()
    files = {
        "broken.yaml": "name: x\nlora: [1, 2\nseed: 0\n",
        "list.yaml": "- 1\n- 2\n",
        "unknown.yaml": recipe + "learning_rat: 1\n",
        "negative.yaml": recipe.replace("rank: 16", "rank: -1"),
        "python.yaml": "name: !!python/object/apply:os.system ['true']\n",
        "experiment.yaml": experiment,
        "experiment-unknown.yaml": experiment + "colour: red\n",
        "experiment-arm.yaml": experiment.replace("arms: [sft, base]", "arms: [sft, bas]"),
        "experiment-judge.yaml": experiment.replace("judges/embedded-likelihood", "judges/nobody"),
        "no-sft.yaml": experiment.replace("  sft: {", "  tuned: {")
        .replace("[sft,", "[tuned,")
        .replace(" sft]", " tuned]"),
        "rows.jsonl": '{"prompt_id": "p1", "variant": "a", "value": 1}\n{"prompt_id": "p1", "variant": "a"}\n',
        "empty.jsonl": "",
        "numbers.jsonl": '{"prompt": "Hello?", "completion": "Yes."}\n17\n',
        "test.jsonl": '{"prompt": "Hello?", "completion": "Yes."}\n',
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "folder").mkdir()
    return folder


WRONG = {
    "no such verb": ("dance",),
    "no such option": ("prepare", "--colour", "red"),
    "recipe is missing": ("sft", "{bad}/nothing.yaml"),
    "recipe is a folder": ("sft", "{bad}/folder"),
    "recipe is not YAML": ("sft", "{bad}/broken.yaml"),
    "recipe is a list": ("sft", "{bad}/list.yaml"),
    "recipe has an unknown key": ("sft", "{bad}/unknown.yaml"),
    "recipe has a negative rank": ("sft", "{bad}/negative.yaml"),
    "recipe would run code": ("sft", "{bad}/python.yaml"),
    "recipe is an experiment": ("sft", "{bad}/experiment.yaml"),
    "experiment is missing": ("evaluate", "{bad}/nothing.yaml"),
    "experiment has an unknown key": ("evaluate", "{bad}/experiment-unknown.yaml"),
    "experiment names no such arm": ("evaluate", "{bad}/experiment-arm.yaml"),
    "experiment has no such profile": ("evaluate", "{bad}/experiment.yaml", "--profile", "huge"),
    "experiment without sft": ("quickstart", "--experiment", "{bad}/no-sft.yaml"),
    "recipe of the quickstart is missing": ("quickstart", "--recipe", "{bad}/nothing.yaml"),
    "corpus is unknown": ("prepare", "--corpus", "casablanca"),
    "corpus is an empty folder": ("prepare", "--corpus", "{bad}/folder"),
    "corpus is an empty file": ("prepare", "--corpus", "{bad}/empty.jsonl"),
    "corpus has a bad row": ("prepare", "--corpus", "{bad}/numbers.jsonl"),
    "base is unknown": ("prepare", "--base", "casablanca"),
    "seed is negative": ("prepare", "--seed", "-1"),
    "limit is zero": ("prepare", "--limit", "0"),
    "limit is no number": ("prepare", "--limit", "few"),
    "window is too short": ("prepare", "--max-tokens", "4"),
    "run is unknown": ("report", "0123456789abcdef0123456789abcdef"),
    "no run yet": ("report", "latest"),
    "trace of no run": ("trace", "latest", "heldout_loss/sft"),
    "adapter is unknown": ("adapters", "promote", "nobody@candidate"),
    "adapter has no alias": ("adapters", "export", "nobody", "{bad}/out"),
    "adapter is no folder": ("adapters", "import", "{bad}/nothing", "--name", "x"),
    "adapter is an empty folder": ("adapters", "import", "{bad}/folder", "--name", "x"),
    "import without a name": ("adapters", "import", "{bad}/folder"),
    "compare without data": ("compare", "base", "{bad}/folder"),
    "compare with two sources of data": ("compare", "base", "a/b", "--corpus", "sample", "--data", "{bad}/test.jsonl"),
    "compare with itself": ("compare", "base", "embedded", "--data", "{bad}/test.jsonl"),
    "compare with nothing": ("compare", "base", "{bad}/nothing", "--data", "{bad}/test.jsonl"),
    "compare with no model": ("compare", "base", "{bad}/folder", "--data", "{bad}/test.jsonl"),
    "compare with an endpoint without model": ("compare", "base", "http://localhost:1/v1", "--corpus", "sample"),
    "compare on data that is missing": ("compare", "base", "a@b", "--data", "{bad}/nothing.jsonl"),
    "compare with a negative effect": ("compare", "base", "a/b", "--corpus", "sample", "--min-effect", "-1"),
    "compare with a missing judge": ("compare", "base", "a@b", "--corpus", "sample", "--judge", "{bad}/folder"),
    "pages at no address": ("rate", "--url", "rate.example.org"),
    "owner's pages without a secret": ("rate", "--owner"),
    "generate with nothing": ("generate", "nobody"),
    "generate too hot": ("generate", "base", "--temperature", "-0.5"),
    "judge is missing": ("judge", "qualify", "{bad}/folder"),
    "judge without replies": ("judge", "run", "{experiments}/judges/embedded-likelihood"),
    "scores file is missing": ("scores", "import", "{bad}/nothing.jsonl", "--measure", "m"),
    "scores with a bad row": ("scores", "import", "{bad}/rows.jsonl", "--measure", "m"),
    "scores without a measure": ("scores", "import", "{bad}/rows.jsonl"),
    "preference recipe is missing": ("dpo", "{bad}/nothing.yaml"),
    "preference recipe is of another kind": ("dpo", "{experiments}/recipes/sft/embedded.yaml"),
    "preference recipe without a parent": ("dpo", "{experiments}/recipes/dpo/embedded.yaml"),
    "preferences of nobody's adapter": ("pairs", "build", "--parent", "nobody@candidate", "--method", "reference"),
    "preferences of a judge that is not named": ("pairs", "build"),
    "preferences of a judge that is missing": ("pairs", "build", "--judge", "{bad}/folder"),
    "preferences without a margin to speak of": ("pairs", "build", "--method", "reference", "--min-margin", "1"),
    "preference file is missing": ("pairs", "audit", "{bad}/nothing.jsonl"),
    "preference file is empty": ("pairs", "audit", "{bad}/empty.jsonl"),
    "preference file is another": ("pairs", "audit", "{bad}/numbers.jsonl"),
    "preferences of no run": ("pairs", "audit", "0123456789abcdef0123456789abcdef"),
    "data of no known source": ("data", "fetch", "casablanca"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    from stories import fresh_home

    return fresh_home(tmp_path_factory.mktemp("cli") / "mlruns")


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_is_said_in_one_sentence_with_exit_code_2(case, bad, home):
    arguments = [word.format(bad=bad, experiments=EXPERIMENTS) for word in WRONG[case]]
    ran = screentest(*arguments, home=home)
    assert ran.code == 2, ran.stderr
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    if "Usage" not in ran.stderr:  # else Typer's own words for wrong usage
        assert ran.stderr.count("error: ") == 1
        (line,) = [text for text in ran.stderr.splitlines() if text.startswith("error: ")]
        assert "`" in line, "an error names the thing in backticks"


def test_errors_of_files_name_file_and_line(bad, home):
    def said(*words: object) -> str:
        return screentest(*words, home=home).stderr

    assert f"`{bad}/broken.yaml` line 3" in said("sft", bad / "broken.yaml")
    assert "`learning_rat` is not a key" in said("sft", bad / "unknown.yaml")
    assert "`lora.rank`" in said("sft", bad / "negative.yaml")
    assert f"`{bad}/numbers.jsonl` line 2" in said("prepare", "--corpus", bad / "numbers.jsonl")
    assert f"`{bad}/rows.jsonl` line 2" in said("scores", "import", bad / "rows.jsonl", "--measure", "m")
    assert "'bas'" in said("evaluate", bad / "experiment-arm.yaml")


def test_what_failed_without_the_callers_fault_exits_1(tmp_path):
    (tmp_path / "file").write_text("no folder")
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/file/mlflow.db"}
    ran = screentest("adapters", "list", home=tmp_path, env=store)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: `sqlite:")
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_closed_disk_exits_1_with_a_sentence(home, monkeypatch, number):
    def write(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number), "/disk/x")

    monkeypatch.setattr("harness.store.tracking.Tracking.find", write)
    ran = screentest("doctor", home=home)
    assert (ran.code, ran.stdout) == (1, "")
    [line] = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: `/disk/x` must be a place that can be used: {os.strerror(number)} (/disk/x); ")


def test_a_hub_that_cannot_be_reached_exits_1_and_says_what_to_do(home):
    ran = screentest("prepare", "--base", "nobody/nothing", home=home, env={"HF_HUB_OFFLINE": "1"})
    assert (ran.code, ran.stdout) == (1, "")
    assert "`nobody/nothing`" in ran.stderr
    assert "embedded" in ran.stderr


def test_an_interrupted_command_says_that_it_goes_on(home, monkeypatch):
    from harness.store.tracking import Tracking

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Tracking, "find", interrupted)
    ran = screentest("doctor", home=home)
    assert ran.code == 130
    assert "goes on from there" in ran.stderr


# ── stdout and stderr ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    from fakes import tiny_checkpoint

    return tiny_checkpoint(tmp_path_factory.mktemp("base"))


def test_progress_goes_to_stderr_and_results_to_stdout(home, base):
    ran = screentest("generate", base, "--prompts", 6, "--max-new-tokens", 4, "--limit", 30, home=home)
    assert ran.code == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == 6
    assert all(re.fullmatch(r"m\d+:L\d+\t.*", line) for line in ran.stdout.splitlines())
    assert "Prepare" in ran.stderr
    assert "6 replies" in ran.stderr


def test_json_is_the_only_thing_on_stdout_and_only_where_asked(home, base):
    arguments = ("generate", base, "--prompts", 6, "--max-new-tokens", 4, "--limit", 30)
    assert screentest(*arguments, "--json", home=home).json["replies"] == 6
    for words in (("adapters", "list"), ("doctor",)):
        assert isinstance(screentest(*words, "--json", home=home).json, dict)
        with pytest.raises(json.JSONDecodeError):
            json.loads(screentest(*words, home=home).stdout)


def test_prepare_ends_with_one_json_object(home, base):
    arguments = ("prepare", "--corpus", "sample", "--base", base, "--limit", 30, "--max-tokens", 300)
    first, again = (screentest(*arguments, home=home) for _ in range(2))
    assert (first.json["reused"], again.json["reused"]) == (False, True)
    assert first.json["corpus"] == "sample"
    assert first.json["splits"]["test"]["n_clusters"] >= 10
    assert first.json["repaired"] is not None


def test_replies_that_were_written_can_be_a_variant_elsewhere(home, base, tmp_path):
    """`generate --out` promises it."""
    out = tmp_path / "replies.jsonl"
    made = screentest("generate", base, "--prompts", 12, "--max-new-tokens", 4, "--limit", 30, "--out", out, home=home)
    assert made.stdout == ""
    from harness.models.recorded import RecordedModel

    assert RecordedModel.load(out).n_generations == 12


def test_no_secret_of_the_environment_is_shown_or_stored(tmp_path, base):
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


def test_a_crash_shows_no_local_variables(tmp_path):
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


def test_a_reader_that_stops_early_is_no_error(tmp_path):
    """`screentest … | head`."""
    ran = spawned("--help", home=tmp_path)
    assert ran.code == 0
    program = f"{sys.executable} -c 'from pipelines.cli import main; main()' --help | head -1"
    piped = subprocess.run(program, shell=True, env=environment(tmp_path), capture_output=True, text=True)
    assert "Traceback" not in piped.stderr


# ── doctor ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_doctor_says_what_is_there_and_what_to_do_about_each_lack(home):
    checks = {c["what"]: c for c in screentest("doctor", "--json", home=home).json["checks"]}
    expected = {"Python", "Device", "Memory", "Disk", "Attention", "4-bit (QLoRA)", "Embedded model", "Store"}
    assert set(checks) >= expected | {"Corpora", "Judges"}
    for check in checks.values():
        assert check["status"] in ("ok", "lack", "fail")
        assert check["detail"]
        assert check["status"] == "ok" or check["advice"], check["what"]
