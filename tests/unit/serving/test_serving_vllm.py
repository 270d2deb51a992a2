"""vLLM's command line, which is all of vLLM that is known here: it is not installed."""

from __future__ import annotations

import json

import pytest
from stories import screentest

from harness.errors import InputError, UnavailableError
from harness.registry import resolve
from harness.serving.limits import ServingLimits
from harness.serving.vllm import build_command, run
from harness.store.tracking import Tracking
from harness.types import BaseModel


def _after(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def test_the_command_names_the_variants_as_clients_do(base: BaseModel, registry: Tracking) -> None:
    adapters = {name: resolve(registry, name) for name in ("film/1", "film@candidate")}
    command = build_command(base, adapters, host="::", port=9, limits=ServingLimits(max_batch=7, max_tokens=99))
    assert command[:3] == ["vllm", "serve", base.source]
    assert (_after(command, "--served-model-name"), _after(command, "--port")) == ("base", "9")
    assert _after(command, "--max-lora-rank") == "8"  # ranks are 8 and 4
    assert _after(command, "--max-num-seqs") == "7"
    assert json.loads(_after(command, "--override-generation-config")) == {"max_new_tokens": 99}
    modules = [json.loads(text) for text in command[command.index("--lora-modules") + 1 :]]
    assert {module["name"]: module["path"] for module in modules} == {n: a.path for n, a in adapters.items()}
    assert not any("key" in part for part in command)


def test_a_base_of_the_hub_keeps_its_revision_and_needs_no_adapter() -> None:
    base = BaseModel(source="Qwen/Qwen2.5-0.5B", revision="abc", digest="d" * 64, family="qwen2.5")
    command = build_command(base, {}, host="127.0.0.1", port=8000, limits=ServingLimits())
    assert command[2:5] == ["Qwen/Qwen2.5-0.5B", "--revision", "abc"]
    assert "--enable-lora" not in command


def test_an_adapter_that_vllm_cannot_serve_is_refused(base: BaseModel, registry: Tracking) -> None:
    with pytest.raises(InputError, match="`dora/1` must be plain LoRA"):
        build_command(base, {"dora/1": resolve(registry, "dora/1")}, host="127.0.0.1", port=1, limits=ServingLimits())


def test_without_vllm_the_error_says_what_to_do() -> None:
    with pytest.raises(UnavailableError, match="install vLLM on a machine with a GPU"):
        run(["vllm-that-is-not-installed", "serve"])


def test_the_command_line_prints_it_and_refuses_what_makes_no_sense(base: BaseModel, registry: Tracking) -> None:
    home = registry.settings.home
    shown = screentest("serve", "film/1", "--base", base.source, "--engine", "vllm", "--print", home=home)
    assert shown.code == 0, shown.stderr
    assert shown.stdout.startswith(f"vllm serve {base.source} --served-model-name base")
    assert '"name": "film/1"' in shown.stdout
    wide = ("--dtype", "float32", "--cors", "http://a", "--max-tokens", 9)
    shown = screentest("serve", "base", "--base", base.source, "--engine", "vllm", "--print", *wide, home=home)
    for said in ("--dtype float32", """--allowed-origins '["http://a"]'""", """'{"max_new_tokens": 9}'"""):
        assert said in shown.stdout
    for unheard in ("--queue=3", "--quantization=nf4", "--log-text"):
        refused = screentest("serve", "--base", base.source, "--engine", "vllm", "--print", unheard, home=home)
        assert (refused.code, refused.stdout) == (2, "")
        assert f"`{unheard.partition('=')[0]}` must be left out with `--engine vllm`" in refused.stderr
    without = screentest("serve", "--base", base.source, "--print", home=home)
    assert (without.code, without.stdout) == (2, "")
    assert "`--engine vllm`" in without.stderr
    wrong = screentest("serve", "stranger/1", "--base", base.source, home=home)
    assert wrong.code == 2
    assert "must run on its own base" in wrong.stderr
