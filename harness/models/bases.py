"""Base models by name: the embedded one, a hub id with its revision, or a folder. Nothing is loaded that can execute.

Only safetensors, JSON, text and template files are ever downloaded or read; no pickles, no remote code.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.doors.templates import Adaptation, chat_format
from harness.errors import InputError, UnavailableError
from harness.models.embedded import EMBEDDED, FAMILY, embedded_digest, embedded_folder
from harness.store.artifacts import digest_file, digest_json, read_json
from harness.types import BaseModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What a model consists of; anything else (pickles, code, other frameworks' weights) is neither fetched nor digested.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "merges.txt", "vocab.txt", "tokenizer.model")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FAMILY_NAMES = re.compile(r"(smollm|qwen|llama|gemma|mistral|phi|olmo|falcon|granite)-?(\d+(?:\.\d+)?)?")


def resolve_base(source: str, *, revision: str | None = None, is_local: bool = False) -> BaseModel:
    """Name a base model so that the same name gives the same weights.

    Args:
        source: `embedded`, a folder with safetensors, or a hub id such as `Qwen/Qwen2.5-0.5B`, which is downloaded.
        revision: branch, tag or commit of a hub id; the commit it stands for is recorded.
        is_local: whether to take a hub id from the cache only.

    Raises:
        InputError: the name is none of the three, or the folder is not a model.
        UnavailableError: the embedded wheel or the hub is not there.
    """
    if source == EMBEDDED:
        if revision is not None:
            raise InputError(f"`revision` must be left out for `embedded`, got `{revision}`; the wheel decides it")
        return BaseModel(source=EMBEDDED, revision=None, digest=embedded_digest(), family=FAMILY)
    if source and Path(source).is_dir():
        if revision is not None:
            raise InputError(f"`revision` must be left out for the folder `{source}`, got `{revision}`")
        folder = Path(source).resolve()
        _validate_folder(folder)
        return BaseModel(source=str(folder), revision=None, digest=_weights_digest(folder), family=family_of(folder))
    if _HUB_ID.fullmatch(source) is None or source.startswith("."):
        raise InputError(f"`base` must be `embedded`, a hub id like `Qwen/Qwen2.5-0.5B` or a folder, got `{source}`")
    folder = _snapshot(source, revision, is_local=is_local)
    _validate_folder(folder)
    commit = folder.name  # the hub's cache names a snapshot's folder after its commit
    return BaseModel(
        source=source, revision=commit, digest=_weights_digest(folder), family=family_of(folder, name=source)
    )


def base_folder(base: BaseModel) -> Path:
    """The local folder with the base's weights and tokenizer; downloads or converts what is not there yet."""
    if base.source == EMBEDDED:
        return embedded_folder()
    if base.revision is None:
        return Path(base.source)
    return _snapshot(base.source, base.revision)


def load_tokenizer(base: BaseModel) -> PreTrainedTokenizerBase:
    """The base's tokenizer with its chat template checked, a padding token, and padding on the left."""
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base_folder(base), trust_remote_code=False)
    chat_format(tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


@functools.lru_cache(maxsize=64)
def adaptation_of(base: BaseModel) -> Adaptation:
    """What is done to chats for the base's template; nothing for the embedded one, whose tokenizer need not be read.

    Raises ConfigError: its template cannot be used.
    """
    if base.source == EMBEDDED or not (base_folder(base) / "tokenizer_config.json").is_file():
        return Adaptation()
    return chat_format(load_tokenizer(base)).adaptation


def asked_digest(base: BaseModel) -> str:
    """Identity of a base as it is asked: its own, together with how its chat template is adapted where it is."""
    adaptation = adaptation_of(base)
    if adaptation == Adaptation():
        return base.digest
    return digest_json({"base": base.digest, "template": asdict(adaptation)})


def family_of(folder: Path, *, name: str | None = None) -> str:
    """The family of a model in a folder: by its hub name where known, else by its architecture.

    Errs towards calling two models related, because a judge of the generator's own family may support no verdict.
    """
    config: Mapping[str, Any] = read_json(folder / "config.json")
    return family_of_config(config, names=(name, str(config.get("_name_or_path", "")), folder.name))


def family_of_config(config: Mapping[str, Any], *, names: Sequence[str | None]) -> str:
    """The family of a model by its configuration, where that does not tell by its names, the surest first."""
    kind, vocabulary = str(config.get("model_type", "unknown")), config.get("vocab_size")
    by_architecture = {
        ("llama", 49152): "smollm2",
        ("llama", 128256): "llama3",
        ("llama", 32000): "llama2",
        ("smollm3", vocabulary): "smollm3",
        ("qwen2", vocabulary): "qwen2.5",  # 2 and 2.5 share architecture and vocabulary
    }
    if (kind, vocabulary) in by_architecture:
        return by_architecture[(kind, vocabulary)]
    for text in names:
        match = _FAMILY_NAMES.search((text or "").rsplit("/", 1)[-1].lower())
        if match:
            return match.group(1) + (match.group(2) or "")
    return kind


def _validate_folder(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file():  # transformers would load it, and onto a base that it names itself
        found = "an adapter and a model" if (folder / "config.json").is_file() else "an adapter"
        raise InputError(
            f"`{folder}` must be a base model, got {found}; name an adapter as the variant's adapter, in its own folder"
        )
    if not (folder / "config.json").is_file():
        raise InputError(f"`{folder}` must hold a `config.json`, got none; give a folder made by `save_pretrained`")
    if not any(folder.glob("*.safetensors")):
        raise InputError(
            f"`{folder}` must hold its weights as safetensors, got none; save them again with `save_pretrained`"
        )


def _snapshot(source: str, revision: str | None, *, is_local: bool = False) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    named = source if revision is None else f"{source}@{revision}"
    try:
        return Path(
            snapshot_download(source, revision=revision, allow_patterns=[*MODEL_FILES], local_files_only=is_local)
        )
    except RepositoryNotFoundError as err:
        raise InputError(
            f"`{named}` must be a model on the hub, got none of that name (or a gated one without HF_TOKEN)"
        ) from err
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as err:
        offline = " (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
        raise UnavailableError(
            f"`{named}` must be downloaded from the hub, which cannot be reached{offline}; "
            "connect once, or give a folder or `embedded`"
        ) from err


def _weights_digest(folder: Path) -> str:
    """sha256 over names and contents of the model's files."""
    files = sorted({f for pattern in MODEL_FILES for f in folder.glob(pattern) if f.is_file()})
    signature = tuple((f.name, (s := f.stat()).st_size, s.st_mtime_ns) for f in files)
    return _digest_once(folder, signature)


@functools.lru_cache(maxsize=64)
def _digest_once(folder: Path, signature: tuple[tuple[str, int, int], ...]) -> str:
    """Digest a folder once per process and state of its files: a 3B model's weights take seconds to read."""
    return digest_json({name: digest_file(folder / name) for name, _, _ in signature})
