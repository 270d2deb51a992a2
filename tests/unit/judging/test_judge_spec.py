"""A judge's folder is read strictly, and its id changes exactly with what decides its scores."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes import FAKE_BASE, FakeServer, WordModel
from stories import EXPERIMENTS

from harness.errors import ConfigError, JudgeError, UnavailableError
from harness.judging import build_judge, load_judge_spec
from harness.judging.judge_builder import judge_id, resolve_mode
from harness.judging.methods.geval import GEvalJudge
from harness.judging.remote_reading import EndpointReader
from harness.models.endpoint.chat_client import ChatClient
from harness.models.endpoint.queue import RequestQueue
from harness.models.protocol import OptionRequest

JUDGES = EXPERIMENTS / "judges"
PROMPT = (JUDGES / "embedded-geval" / "prompt.txt").read_text(encoding="utf-8")

GEVAL: dict[str, Any] = {
    "schema": 1,
    "name": "mine",
    "method": "geval",
    "mode": "exact",
    "model": {"source": "embedded"},
    "family": "fake",
    "prompt": "prompt.txt",
    "criteria": ["coherence", "fluency"],
    "scale": [1, 5],
    "min_mass": 0.2,
}
REMOTE = {"name": "judge-1", "endpoint": "http://localhost:1/v1"}
ENDPOINT = GEVAL | {"mode": "logprobs", "model": REMOTE}
LIKELIHOOD = {key: value for key, value in GEVAL.items() if key not in ("prompt", "scale", "min_mass")} | {
    "method": "likelihood",
    "mode": "likelihood",
}


def folder(path: Path, data: dict[str, Any], *, prompt: str = PROMPT) -> Path:
    path.mkdir(exist_ok=True)
    (path / "judge.yaml").write_text(yaml.safe_dump(data))
    (path / "prompt.txt").write_text(prompt)
    return path


# ── what ships ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_shipped_judge_loads() -> None:
    folders = sorted(p.parent for p in JUDGES.glob("*/judge.yaml"))
    specs = {f.name: load_judge_spec(f) for f in folders}
    assert [s.name for s in specs.values()] == list(specs)
    assert [c.name for c in specs["embedded-geval"].criteria] == ["coherence", "consistency", "fluency", "relevance"]
    assert specs["embedded-geval"].family == specs["embedded-likelihood"].family == "smollm2"
    remote = ["gpt-4o-mini", "gpt-4o-mini-pairwise", "gpt-4o-pairs", "local-server", "self-hosted"]
    assert [name for name, spec in specs.items() if spec.is_remote] == remote


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("base", "change", "said"),
    [
        (GEVAL, {"colour": 1}, "`colour` is not a key of JudgeSpec; its keys are schema, name"),
        (GEVAL, {"model": {"source": "embedded", "device": "cpu"}}, "`model.local.device` is not a key"),
        (GEVAL, {"schema": 2}, "`schema`"),
        (GEVAL, {"method": "magic"}, "`method`"),
        (GEVAL, {"name": "Has Spaces"}, "`name`"),
        (GEVAL, {"mode": "likelihood"}, "`mode` of a geval judge on a local model must be exact, auto"),
        (GEVAL, {"min_mass": None}, "`min_mass` must be given"),
        (GEVAL, {"min_mass": 1.5}, "`min_mass`"),
        (GEVAL, {"prompt": None}, "`prompt` must be given"),
        (GEVAL, {"prompt": "none.txt"}, "`prompt` must name a file that is there"),
        (GEVAL, {"prompt": "../secret.txt"}, "`prompt` must be a file inside"),
        (GEVAL, {"scale": [1, 10]}, "`scale` must rise within 0 to 9"),
        (GEVAL, {"scale": [1, 3]}, "`scale` must be that of its criteria"),
        (GEVAL, {"criteria": []}, "`criteria`"),
        (GEVAL, {"criteria": ["beauty"]}, "`criteria` must be of coherence"),
        (GEVAL, {"criteria": ["fluency", "fluency"]}, "`criteria` must be named once"),
        (GEVAL, {"criteria": [{"name": "x"}]}, "`criteria` must be names or files"),
        (LIKELIHOOD, {"criteria": ["relevance"]}, "`criteria` of a likelihood judge must be of"),
        (LIKELIHOOD, {"min_mass": 0.2}, "`min_mass` must be left out"),
        (LIKELIHOOD, {"prompt": "prompt.txt"}, "`prompt` must be left out"),
        (LIKELIHOOD, {"n_draws": 3}, "`n_draws` must be left out of a likelihood judge"),
        (LIKELIHOOD, {"mode": "exact"}, "`mode` of a likelihood judge on a local model must be likelihood"),
        (LIKELIHOOD, {"model": REMOTE}, "`model` of a likelihood judge must be local"),
        (GEVAL, {"n_draws": 3}, "`n_draws` must be left out unless `mode` is sampled or auto, got exact"),
        (GEVAL, {"deepeval": {"metric": "GEval"}}, "`deepeval` must be given exactly for"),
        (GEVAL, {"method": "deepeval", "mode": "deepeval"}, "`deepeval` must be given exactly for"),
        (GEVAL, {"model": {}}, "`model.local.source` is required"),
        (ENDPOINT, {"mode": "exact"}, "`mode` of a geval judge on an endpoint must be logprobs, sampled, auto"),
        (ENDPOINT, {"temperature": 2}, "`temperature` must be left out unless `mode` is sampled or auto"),
        (ENDPOINT, {"model": {"endpoint": "localhost:80"}}, "`model.endpoint.endpoint`"),
        (ENDPOINT, {"model": {"name": "m", "revision": "main"}}, "`model.endpoint.revision` is not a key"),
    ],
)
def test_a_wrong_key_is_refused_in_a_sentence(
    tmp_path: Path, base: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_judge_spec(folder(tmp_path / "j", base | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "must be a judge's file, there is none"),
        ("a: [1\nb", "line 2: not YAML"),
        ("!!python/object/apply:os.getcwd []", "not YAML"),
        ("just text", "must hold keys and values, got str"),
    ],
)
def test_files_that_are_no_judge_are_refused(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "judge.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_judge_spec(tmp_path)


def test_a_criterion_of_ones_own_stands_in_the_folder(tmp_path: Path) -> None:
    own = folder(tmp_path / "j", GEVAL | {"criteria": ["./wit.yaml", "fluency"]})
    (own / "wit.yaml").write_text("name: wit\ndefinition: Is it funny?\nsteps: [Read., Laugh or not.]\n")
    assert [c.name for c in load_judge_spec(own).criteria] == ["wit", "fluency"]
    (own / "wit.yaml").write_text("name: wit\ndefinition: Is it funny?\nstep: [Read.]\n")
    with pytest.raises(ConfigError, match=r"wit.yaml`: `step` is not a key"):
        load_judge_spec(own)


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def identity(path: Path, data: dict[str, Any], **prompt: str) -> str:
    spec = load_judge_spec(folder(path, data, **prompt))
    return judge_id(spec, base=None if spec.is_remote else FAKE_BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"runtime": {"timeout_s": 5, "n_parallel": 2, "max_retries": 0}},
        {"runtime": {"usd_per_million_tokens": {"input": 1, "output": 2}}},
        {"runtime": {"batch_tokens": 4096}},  # of earlier versions
        {"qualification": {"min_auc": 0.7, "n_controls": 400}},
    ],
)
@pytest.mark.parametrize("base", [GEVAL, LIKELIHOOD, ENDPOINT])
def test_what_decides_no_score_changes_no_id(tmp_path: Path, base: dict[str, Any], change: dict[str, Any]) -> None:
    assert identity(tmp_path / "a", base) == identity(tmp_path / "b", base | change)


@pytest.mark.parametrize(
    ("base", "change"),
    [
        (GEVAL, {"min_mass": 0.3}),
        (GEVAL, {"criteria": ["coherence"]}),
        (GEVAL, {"criteria": ["fluency", "coherence"]}),
        (GEVAL, {"max_bytes": 5000}),
        (GEVAL, {"model": {"source": "embedded", "dtype": "bfloat16"}}),
        (LIKELIHOOD, {"criteria": ["fluency"]}),
        (LIKELIHOOD, {"max_bytes": 5000}),
        (ENDPOINT, {"mode": "sampled"}),
        (ENDPOINT, {"top_logprobs": 5}),
        (ENDPOINT, {"model": REMOTE | {"name": "judge-2"}}),
        (ENDPOINT, {"model": REMOTE | {"endpoint": "http://localhost:2/v1"}}),
        (ENDPOINT | {"mode": "sampled"}, {"n_draws": 1}),
        (ENDPOINT | {"mode": "sampled"}, {"temperature": 0.5}),
    ],
)
def test_what_decides_a_score_changes_the_id(tmp_path: Path, base: dict[str, Any], change: dict[str, Any]) -> None:
    assert identity(tmp_path / "a", base) != identity(tmp_path / "b", base | change)


def test_prompt_steps_and_weights_change_the_id(tmp_path: Path) -> None:
    ids = [identity(tmp_path / "a", GEVAL), identity(tmp_path / "b", GEVAL, prompt=PROMPT + "Be strict.\n")]
    own = folder(tmp_path / "c", GEVAL | {"criteria": ["./wit.yaml"]})
    for step in ("Laugh.", "Smile."):
        (own / "wit.yaml").write_text(f"name: wit\ndefinition: Is it funny?\nsteps: [{step}]\n")
        ids += [judge_id(load_judge_spec(own), base=base) for base in (FAKE_BASE, replace(FAKE_BASE, digest="0" * 64))]
    assert len(set(ids)) == len(ids) == 6


def test_auto_is_resolved_before_the_id_is_hashed(tmp_path: Path) -> None:
    local = load_judge_spec(folder(tmp_path / "a", GEVAL | {"mode": "auto"}))
    remote = load_judge_spec(folder(tmp_path / "b", ENDPOINT | {"mode": "auto"}))
    with pytest.raises(JudgeError, match="must be resolved before the id"):
        judge_id(remote)
    assert judge_id(resolve_mode(local), base=FAKE_BASE) == identity(tmp_path / "c", GEVAL)
    for n, mode in ((20, "logprobs"), (0, "sampled")):
        resolved = resolve_mode(remote, server=partial(FakeServer, n=n))
        assert resolved.mode == mode
        assert judge_id(resolved) == identity(tmp_path / "d", ENDPOINT | {"mode": mode})


def test_what_the_server_decides_is_part_of_the_id_and_nothing_else_is(tmp_path: Path) -> None:
    declared = load_judge_spec(folder(tmp_path / "a", ENDPOINT | {"mode": "logprobs"}))
    can: list[dict[str, Any]] = [
        {}, {"n": 5}, {"begun": "prefix"}, {"begun": "assistant_turn"}, {"refused": {"temperature": "no"}},
    ]  # fmt: skip
    servers = [FakeServer(**each) for each in can]
    resolved = [resolve_mode(declared, server=partial(replace, server)) for server in servers]
    ids = [judge_id(spec) for spec in resolved]
    assert len(set(ids)) == len(ids)
    assert ids[0] == judge_id(declared)
    assert judge_id(resolve_mode(declared, server=lambda: FakeServer(refused={"seed": "it is not sent"}))) == ids[0]
    assert [spec.top_logprobs for spec in resolved[:2]] == [20, 5]
    asked = build_judge(resolved[2], queue=RequestQueue(ChatClient(url="http://x/v1", model="m"), purpose="t"))
    assert isinstance(asked, GEvalJudge)
    assert isinstance(asked.reader, EndpointReader)
    (call,) = asked.reader.calls([OptionRequest(key="k", messages=[], prefix="Score: ", options=("1", "2"))])
    assert call.body["messages"] == [{"role": "assistant", "content": "Score:", "prefix": True}]
    own = resolve_mode(declared.model_copy(update={"prefill": "none"}), server=lambda: servers[2])
    assert judge_id(own) == ids[0]


def test_the_environment_names_the_server_where_the_judge_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unnamed = ENDPOINT | {"model": {"name": "judge-1"}}
    openai = identity(tmp_path / "a", unnamed)
    assert openai == identity(tmp_path / "b", ENDPOINT | {"model": REMOTE | {"endpoint": "https://api.openai.com/v1/"}})
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    assert identity(tmp_path / "c", unnamed) == identity(tmp_path / "d", ENDPOINT)
    with pytest.raises(JudgeError, match="local weights"):
        judge_id(load_judge_spec(folder(tmp_path / "e", GEVAL)))


# ── building ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("data", [GEVAL, LIKELIHOOD])
def test_a_built_judge_has_the_id_of_its_folder(tmp_path: Path, data: dict[str, Any]) -> None:
    judge = build_judge(load_judge_spec(folder(tmp_path / "j", data)), model=WordModel())
    assert [c.name for c in judge.criteria] == ["coherence", "fluency"]
    assert judge.id == identity(tmp_path / "j", data)


def test_models_that_cannot_judge_are_refused_at_start(tmp_path: Path) -> None:
    spec = load_judge_spec(folder(tmp_path / "j", GEVAL))
    with pytest.raises(JudgeError, match="judges with a model, got none"):
        build_judge(spec, model=None)
    with pytest.raises(JudgeError, match="weights are known"):
        build_judge(spec, model=WordModel(base=None))
    with pytest.raises(UnavailableError, match="option_probabilities"):
        build_judge(spec, model=WordModel(supports=frozenset({"continuation_logprobs"})))
    with pytest.raises(ConfigError, match=r"`family` of mine must be that of its model, fake, got qwen"):
        build_judge(load_judge_spec(folder(tmp_path / "k", GEVAL | {"family": "qwen2.5"})), model=WordModel())
    with pytest.raises(JudgeError, match=r"`scale` \[1, 5\] cannot be read from this model"):
        build_judge(spec, model=WordModel(refuses="Judge this."))


@pytest.mark.parametrize(
    "text", ["no placeholders", PROMPT + "$more", PROMPT + "costs 5$", PROMPT.replace("$reply", "")]
)
def test_a_prompt_with_other_placeholders_is_refused(tmp_path: Path, text: str) -> None:
    spec = load_judge_spec(folder(tmp_path / "j", GEVAL, prompt=text))
    with pytest.raises(ConfigError, match=r"`prompt` of a geval judge must use \$conversation"):
        build_judge(spec, model=WordModel())
