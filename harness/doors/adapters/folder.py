"""Two files are an adapter: `adapter_config.json` and `adapter_model.safetensors`; whatever lies beside them is unread.

Trainers put pickles there (`training_args.bin`, `optimizer.pt`). Nobody opens them, digests them or stores them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.doors.adapters.allowed_settings import AdapterSettings, read_settings
from harness.doors.text import decode_text, parse_json
from harness.errors import InputError
from harness.store.artifacts import digest_bytes, digest_file, from_json, read_json, write_json
from harness.types import Contract

if TYPE_CHECKING:
    from torch import Tensor

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTER_FILES = (_CONFIG, _WEIGHTS)
_MAX_CONFIG = 4 * 2**20  # bytes
_DTYPES = ("F32", "BF16", "F16", "F64")
_PREFIX = "base_model.model."
_FACTOR = re.compile(r"\.lora_(?:embedding_[AB]|[AB]\.weight)$")
_ADDED = re.compile(r"\.lora_(?:B\.bias|magnitude_vector(?:\.weight)?)$|\.trainable_tokens_delta$")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFiles:
    """An adapter's two files, their settings and the weights' table of contents checked; no weight is read yet."""

    name: str  # the folder's, for errors
    folder: Path
    digest: str
    settings: AdapterSettings
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def whole(self) -> frozenset[str]:
        """Keys of weights that stand for a layer's own, where LoRA's are added to it."""
        return frozenset(key for key in self.shapes if not _FACTOR.search(key) and not _ADDED.search(key))

    def beyond(self, *known: str) -> str | None:
        """The first setting, in PEFT's words, that makes this more than plain LoRA and is not among the known."""
        lora = self.settings.lora
        kinds = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "lora_bias", "modules_to_save")
        on = [kind for kind in (*kinds, "trainable_token_indices") if lora.get(kind)]
        if self.settings.residual:
            on.append("init_lora_weights")
        if self.whole:
            on.append("modules_to_save")
        return next((kind for kind in on if kind not in known), None)

    def read_weights(self) -> dict[str, Tensor]:
        """Every tensor, on the CPU, in the precision of the file. Raises InputError: a weight is NaN or infinite."""
        from safetensors import safe_open

        weights = {}
        with safe_open(self.folder / _WEIGHTS, framework="pt") as stored:
            for key in self.shapes:
                tensor = stored.get_tensor(key)
                weights[key] = tensor = tensor.float() if tensor.element_size() > 4 else tensor
                if not tensor.isfinite().all():
                    raise InputError(
                        f"`{self.name}` must hold finite weights, got NaN or infinity in `{key}`; its training has "
                        "diverged: take an earlier checkpoint or train again"
                    )
        return weights


def adapter_digest(folder: Path) -> str:
    """sha256 over an adapter's two files: the same in a bare folder and in the registry, whatever lies beside them."""
    lines = (f"{name}\0{digest_file(folder / name)}\n" for name in ADAPTER_FILES if (folder / name).is_file())
    return digest_bytes("".join(lines).encode())


def open_adapter_files(folder: Path) -> AdapterFiles:
    """Check an adapter's folder without reading its weights, torch or PEFT.

    Raises InputError: a file is missing, damaged or lies, or a setting or a tensor is not allowed.
    """
    name = folder.resolve().name
    for file in ADAPTER_FILES:
        if not (folder / file).is_file():
            pickled = file == _WEIGHTS and any(folder.glob("adapter_model*.bin"))
            raise InputError(
                f"`{folder}` must be a PEFT adapter folder with {file}, got "
                + (
                    "none: a pickled adapter_model.bin is never loaded; where you trust it, write it anew with "
                    "`PeftModel.from_pretrained(base, folder).save_pretrained(new)`"
                    if pickled
                    else "none; give a folder that PEFT has saved as safetensors"
                )
            )
    settings = read_settings(_read_config(folder / _CONFIG), name=name)
    shapes = _read_shapes(folder / _WEIGHTS)
    _check_shapes(shapes, settings, name)
    return AdapterFiles(name=name, folder=folder, digest=adapter_digest(folder), settings=settings, shapes=shapes)


def _read_config(path: Path) -> Any:
    if (size := path.stat().st_size) > _MAX_CONFIG:
        raise InputError(f"`{path}` must be at most {_MAX_CONFIG:,} bytes, got {size:,}; save the adapter again")
    try:
        return parse_json(decode_text(path.read_bytes(), file=path), file=path)
    except OSError as err:
        raise InputError(
            f"`{path}` must be readable, it is not ({err.strerror}); give a folder that can be read"
        ) from err


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The table of contents; safetensors itself checks that it agrees with the file's bytes."""
    from safetensors import SafetensorError, safe_open

    shapes = {}
    try:
        with safe_open(path, framework="numpy") as stored:
            for key in stored.keys():  # noqa: SIM118 (no mapping)
                part = stored.get_slice(key)
                if (dtype := part.get_dtype()) not in _DTYPES:
                    raise InputError(f"`{path}` must hold floats of 16 bits or more, got {dtype} in `{key[:100]}`")
                shapes[key] = tuple(part.get_shape())
    except (SafetensorError, OSError, ValueError) as err:
        reason = " ".join(str(err).split())[:150]
        raise InputError(f"`{path}` must be a safetensors file, got a damaged one: {reason}; fetch it again") from err
    return shapes


def _check_shapes(shapes: Mapping[str, tuple[int, ...]], settings: AdapterSettings, name: str) -> None:
    """Factors come in pairs of one rank that the settings know; all other keys are checked where they are loaded."""
    ranks = set()
    n_pairs = 0
    for key, shape in shapes.items():
        factor = _FACTOR.search(key)
        if not key.startswith(_PREFIX) or 0 in shape or (factor and len(shape) != 2):
            raise InputError(f"`{name}` must hold PEFT's LoRA matrices, got `{key[:100]}` of shape {list(shape)}")
        if factor is None:
            continue
        is_a = "A" in factor[0]
        twin = key[: factor.start()] + factor[0].translate(str.maketrans("AB", "BA"))
        rank = shape[0 if is_a else 1]
        if twin not in shapes or shapes[twin][1 if is_a else 0 : 2 if is_a else 1] != (rank,):
            raise InputError(f"`{name}` must hold matrices A and B of one rank for each layer, got `{key[:100]}` alone")
        ranks.add(rank)
        n_pairs += is_a
    if not ranks:
        raise InputError(f"`{name}` must hold the weights of one LoRA layer at least, got {len(shapes)} other tensors")
    if not ranks <= settings.ranks or max(settings.ranks) > max(ranks):
        raise InputError(
            f"`{name}` must hold matrices of the ranks in its settings {sorted(settings.ranks)}, got {sorted(ranks)}; "
            "its two files do not belong together"
        )
    _check_added(shapes, settings, n_pairs, name)


def _check_added(shapes: Mapping[str, tuple[int, ...]], settings: AdapterSettings, n_pairs: int, name: str) -> None:
    """DoRA has a magnitude, and LoRA with bias a bias, for each pair; others have none."""
    for setting, part in (("use_dora", "lora_magnitude_vector"), ("lora_bias", "lora_B.bias")):
        n_found = sum(f".{part}" in key for key in shapes)
        n_due = n_pairs if settings.lora.get(setting) else 0
        if n_found != n_due:
            raise InputError(
                f"`{name}` must hold {n_due} tensors `{part}`, as `{setting}` in its settings says, got {n_found}; "
                "its two files do not belong together"
            )


CONTRACT_FILE = "screentest_contract.json"
_MAX = 2**20  # bytes


def write_contract(folder: Path, contract: Contract | None) -> None:
    """Put it beside an adapter's files, where one is known."""
    if contract is not None:
        write_json(folder / CONTRACT_FILE, contract)


def read_contract(folder: Path) -> Contract | None:
    """The contract in a folder; None where nobody wrote one down. Raises InputError: the file is none."""
    file = folder / CONTRACT_FILE
    if not file.is_file():
        return None
    if (size := file.stat().st_size) > _MAX:
        raise InputError(
            f"`{file}` must be at most {_MAX:,} bytes, got {size:,}; remove it, or export the adapter again"
        )
    try:
        contract = from_json(Contract, read_json(file))
    except InputError as err:
        raise InputError(f"`{file}` must be a contract as `screentest adapters export` writes it: {err}") from err
    return contract
