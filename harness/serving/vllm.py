"""The same variants through an installed vLLM: its command line, nothing of its code.

Names stay what they are here: `base`, `name@alias`, `name/version` are vLLM's served model and LoRA modules.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from harness.doors.adapters import open_adapter_files
from harness.errors import InputError, UnavailableError
from harness.models.bases import base_folder, load_tokenizer
from harness.models.contracts import own_template
from harness.models.embedded import EMBEDDED
from harness.serving.limits import KEY_VARIABLE, ServingLimits
from harness.serving.model_names import BASE
from harness.store.artifacts import digest_json
from harness.types import Adapter, BaseModel

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank takes
_VLLM_KEY = "VLLM_API_KEY"


def build_command(
    base: BaseModel,
    adapters: Mapping[str, Adapter],
    *,
    host: str,
    port: int,
    limits: ServingLimits,
    dtype: str = "auto",
    cors: Sequence[str] = (),
    template: Path | None = None,
) -> list[str]:
    """The `vllm serve` command line for a base and its adapters, by the names that clients use.

    Sampling settings stored with the checkpoint are left out, as they are here, and replies are capped alike. vLLM has
    no default length of a reply apart from its cap: clients should name `max_tokens`. `template` is that of
    `shared_template`.

    Raises:
        InputError: an adapter cannot be served by vLLM.
    """
    command = ["vllm", "serve", *_model(base), "--served-model-name", BASE, "--host", host, "--port", str(port)]
    command += ["--max-num-seqs", str(limits.max_batch), "--generation-config", "vllm"]
    if limits.max_tokens is not None:
        command += ["--override-generation-config", json.dumps({"max_new_tokens": limits.max_tokens})]
    if dtype != "auto":
        command += ["--dtype", dtype]
    if cors:
        command += ["--allowed-origins", json.dumps(list(cors))]
    if template is not None:
        command += ["--chat-template", str(template)]
    if adapters:
        modules = [json.dumps({"name": name, "path": a.path, "base_model_name": BASE}) for name, a in adapters.items()]
        n_loras = min(limits.max_adapters, len({adapter.digest for adapter in adapters.values()}))
        command += ["--enable-lora", "--max-lora-rank", str(_rank(adapters)), "--max-loras", str(n_loras)]
        command += ["--max-cpu-loras", str(len(adapters)), "--lora-modules", *modules]
    return command


def shared_template(base: BaseModel, adapters: Mapping[str, Adapter], *, folder: Path) -> Path | None:
    """A chat template that brings the adapters' own system message, written into `folder`.

    vLLM has one template for all that it serves, the bare base too: None where adapters differ in the message.

    Raises:
        InputError: the base's template has changed since one was trained.
    """
    tokenizer = load_tokenizer(base)
    templates = {own_template(adapter, tokenizer) for adapter in adapters.values()}
    if len(templates) != 1 or (text := templates.pop()) is None:
        return None
    file = folder / f"vllm-{digest_json(text)[:12]}.jinja"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def run(command: Sequence[str]) -> NoReturn:
    """Become vLLM, so that every signal is its own. The key, where one is set, travels in the environment.

    Raises:
        UnavailableError: vLLM is not installed.
    """
    program = shutil.which(command[0])
    if program is None:
        raise UnavailableError(
            "`--engine vllm` needs the command `vllm`, which is not on the PATH; install vLLM on a machine with a GPU, "
            "or use `--engine local`, or `--print` to see the command"
        )
    environment = dict(os.environ)
    if environment.get(KEY_VARIABLE):
        environment[_VLLM_KEY] = environment[KEY_VARIABLE]
    os.execve(program, [program, *command[1:]], environment)


def _model(base: BaseModel) -> list[str]:
    if base.source == EMBEDDED or base.revision is None:
        return [str(base_folder(base))]
    return [base.source, "--revision", base.revision]


def _rank(adapters: Mapping[str, Adapter]) -> int:
    """The smallest rank that vLLM allows and every adapter fits."""
    highest = 0
    for name, adapter in adapters.items():
        files = open_adapter_files(Path(adapter.path))
        if (more := files.beyond("use_rslora")) is not None:  # vLLM reads no other, and says nothing
            raise InputError(
                f"`{name}` must be plain LoRA for vLLM, got `{more}`; serve it with --engine local, or merge it"
            )
        highest = max(highest, *files.settings.ranks)
    for rank in _RANKS:
        if highest <= rank:
            return rank
    raise InputError(f"adapters must have rank {_RANKS[-1]} at most for vLLM, got {highest}; use --engine local")
