"""Attach an adapter to a base so that the base and its other adapters stay bit for bit as they were, or not at all."""

from __future__ import annotations

import contextlib
import copy
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.doors.adapters import AdapterFiles, open_adapter_files
from harness.errors import InputError, IntegrityError
from harness.models.bases import base_folder
from harness.models.residual import as_plain, doubled
from harness.types import Adapter

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

# What PEFT and torch raise for settings and weights that do not fit a model.
_MISFITS = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, re.error)


def attach(model: Module, files: AdapterFiles, *, name: str, trainable: bool = False) -> Any:
    """Add an adapter's layers and weights; gives the PEFT model around the base.

    Whatever happens, nothing that was there changes: weights are compared before and after, and a failure puts every
    module back.

    Args:
        model: a transformers model, or the PEFT model that an earlier call gave.
        files: from `open_adapter_files`.

    Raises:
        InputError: it does not fit the layers, or would change the base.
        IntegrityError: weights that were there have changed.
    """
    import torch

    weights = files.read_weights()
    before = _fingerprints(model)
    modules = _Modules(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT's hints at what is checked here
            with torch.random.fork_rng(devices=[]):  # some layers draw numbers that are then replaced
                peft = _inject(model, files, name, trainable=trainable)
            _fill(peft, files, name, weights)
        _require_same(model, before, files.name)
    except BaseException as err:
        modules.restore()
        _require_same(model, before, files.name)
        if not isinstance(err, _MISFITS):
            raise
        reason = " ".join(str(err).split())[:300]
        raise InputError(f"`{files.name}` must fit the base model's layers, it does not: {reason}") from err
    if not trainable:
        peft.eval()
    return peft


def require_fit(adapter: Adapter) -> None:
    """Refuse an adapter that does not fit its base; only what the base's weights decide needs them in memory.

    Raises InputError: it does not fit.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    files = open_adapter_files(Path(adapter.path))
    folder = base_folder(adapter.base)
    if files.whole or files.settings.residual:
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False, use_safetensors=True)
    else:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    attach(model, files, name="default")


def _inject(model: Module, files: AdapterFiles, name: str, *, trainable: bool) -> Any:
    """Layers without memory first, so that settings that describe more than the file holds cost nothing."""
    import torch
    from peft import LoraConfig, PeftModel

    there = list(model.parameters())  # kept, so that no other gets the identity of one
    known = {id(parameter) for parameter in there}
    lora = doubled(files.settings.lora) if files.settings.residual else files.settings.lora
    config = LoraConfig(**lora, inference_mode=not trainable)
    # A device of this thread alone: PEFT's `low_cpu_mem_usage` patches torch for all of them. DoRA starts from norms of
    # the base's weights, which bitsandbytes could not unpack there.
    unpacks = config.use_dora and getattr(model, "is_loaded_in_4bit", False)
    with contextlib.nullcontext() if unpacks else torch.device("meta"):
        if isinstance(model, PeftModel):
            peft: Any = model
            peft.add_adapter(name, config)
        else:
            peft = PeftModel(model, config, adapter_name=name)
    empty = [
        (module, key, parameter)
        for module in peft.modules()
        for key, parameter in module._parameters.items()
        if parameter is not None and parameter.is_meta and id(parameter) not in known
    ]
    n_due, n_stored = sum(p.numel() for _, _, p in empty), sum(math.prod(shape) for shape in files.shapes.values())
    if n_due > 2 * n_stored:
        raise InputError(f"`{files.name}` must hold the {n_due:,} weights that its settings describe, got {n_stored:,}")
    for module, key, parameter in empty:
        zeros = torch.zeros(parameter.shape, dtype=torch.float32, device=there[0].device)
        module._parameters[key] = torch.nn.Parameter(zeros, requires_grad=parameter.requires_grad)
    return peft


def _fill(peft: Any, files: AdapterFiles, name: str, weights: dict[str, Tensor]) -> None:
    """Load the weights into the adapter's own layers; a whole matrix that is the base's own is left out."""
    from peft import set_peft_model_state_dict

    own = _own_layers(peft, name)
    for key in sorted(files.whole - own):
        _require_own(peft, key, weights.pop(key), files.name)
    if lost := own - weights.keys():
        raise _misfit(files.name, sorted(lost))
    if files.settings.residual:
        weights = as_plain(peft, weights, name=name, files=files)
    result: Any = set_peft_model_state_dict(peft, weights, adapter_name=name)
    if wrong := [*_missing(peft, name, result.missing_keys), *result.unexpected_keys]:
        raise _misfit(files.name, wrong)


def _missing(peft: Any, name: str, keys: Sequence[str]) -> list[str]:
    """The adapter's own among them; a weight that tied layers share is stored under one of its names."""
    shared = dict(peft.named_parameters(remove_duplicate=False))
    loaded = {id(parameter) for key, parameter in shared.items() if key not in set(keys)}
    own = [key for key in keys if f".{name}." in key or key.endswith(f".{name}")]
    return [key for key in own if id(shared.get(key)) not in loaded]


def _misfit(name: str, keys: list[str]) -> InputError:
    return InputError(
        f"`{name}` must hold a weight for each of its layers and no other, got {len(keys)} that do not fit (first "
        f"`{keys[0]}`); take the adapter that was trained on this base"
    )


def _own_layers(peft: Any, name: str) -> frozenset[str]:
    """Keys of whole layers that PEFT keeps beside the base's (`modules_to_save`)."""
    from peft.utils.other import ModulesToSaveWrapper

    layers: list[tuple[str, Any]] = [(p, m) for p, m in peft.named_modules() if isinstance(m, ModulesToSaveWrapper)]
    return frozenset(f"{path}.{key}" for path, layer in layers for key in layer.adapter_state_dict_load_map(name))


def _require_own(peft: Any, key: str, stored: Tensor, name: str) -> None:
    """PEFT saves embeddings where the vocabulary may have grown, and loads them over the base's.

    Raises InputError: they are not the base's, or belong to nothing.
    """
    bare = _bare_name(key.removeprefix("base_model.model."))
    named = peft.base_model.model.named_parameters(remove_duplicate=False)
    base = next((parameter for path, parameter in named if _bare_name(path) == bare), None)
    if base is None:
        raise _misfit(name, [key])
    narrow = min((base.dtype, stored.dtype), key=lambda dtype: dtype.itemsize)
    if base.shape != stored.shape or not bool((base.detach().cpu().to(narrow) == stored.to(narrow)).all()):
        raise InputError(
            f"`{name}` must leave the base as it is, got a whole `{bare}` of its own, {list(stored.shape)} where the "
            f"base has {list(base.shape)}; merge it into a full checkpoint, or train with `modules_to_save`"
        )


def _bare_name(path: str) -> str:
    return path.replace(".base_layer.", ".").replace(".original_module.", ".")


# ── nothing else changes ─────────────────────────────────────────────────────────────────────────────────────────────


def _fingerprints(model: Module) -> list[tuple[str, Tensor, tuple[Any, ...]]]:
    """Every weight and buffer with what tells whether it is still the same: where it lies, and sums over its bits."""
    return [(name, tensor, _fingerprint(tensor)) for name, tensor in _tensors(model)]


def _tensors(model: Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _fingerprint(tensor: Tensor) -> tuple[Any, ...]:
    """1,024 sums of bits and the rest as it is; in place through `.data` leaves no other trace. 36 GB a second."""
    import torch

    place = (tensor.data_ptr(), tensor.shape, tensor.dtype)
    if tensor.is_meta:
        return place
    bits = tensor.detach().contiguous().view(-1).view(torch.uint8)
    bits = bits.clone() if bits.storage_offset() % 8 else bits
    n_rows = bits.numel() // 8192
    sums = bits[: n_rows * 8192].view(torch.int64).reshape(n_rows, 1024).sum(0)
    return *place, tuple(sums.tolist()), tuple(bits[n_rows * 8192 :].tolist())


def _require_same(model: Module, before: list[tuple[str, Tensor, tuple[Any, ...]]], name: str) -> None:
    there = {id(tensor) for _, tensor in _tensors(model)}
    for key, tensor, print_ in before:
        if id(tensor) not in there or _fingerprint(tensor) != print_:
            raise IntegrityError(
                f"`{name}` must leave the weights of the base and of other adapters as they were, and changed `{key}`; "
                "start again without it, and merge it into a full checkpoint to use it"
            )


class _Modules:
    """A tree of modules as it stands, so that a failed injection can be undone whatever it got to."""

    def __init__(self, model: Module) -> None:
        self._saved = [
            (
                module,
                dict(vars(module)),
                [(v, copy.copy(v)) for v in vars(module).values() if isinstance(v, dict | list | set)],
            )
            for module in model.modules()
        ]
        self._requires_grad = [(parameter, parameter.requires_grad) for parameter in model.parameters()]

    def restore(self) -> None:
        """Put every attribute, submodule and parameter back; weights themselves are not copied."""
        for module, attributes, containers in self._saved:
            vars(module).clear()
            vars(module).update(attributes)
            for held, content in containers:
                held.clear()
                held.extend(content) if isinstance(held, list) else held.update(content)
        for parameter, requires_grad in self._requires_grad:
            parameter.requires_grad = requires_grad
