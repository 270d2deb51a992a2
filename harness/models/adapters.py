"""LoRA adapters on one base in memory: verified, loaded from safetensors, switched or mixed inside a batch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts import digest_folder
from harness.errors import InputError, IntegrityError
from harness.models.protocol import adapter_name
from harness.models.quantization import import_bitsandbytes
from harness.types import Adapter, BaseModel

if TYPE_CHECKING:
    from torch.nn import Module

_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
ADAPTER_FILES = (_CONFIG, _WEIGHTS)  # what an adapter is; PEFT, people and hubs put READMEs and more beside them
_EXECUTABLE = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".py")
_NOT_MIXABLE = ("use_dora", "modules_to_save", "trainable_token_indices", "alora_invocation_tokens", "arrow_config")
_UNKNOWN = "\x00unknown"
_BASE = "__base__"  # PEFT's name for a row without adapter


def adapter_digest(folder: Path) -> str:
    """sha256 over an adapter's two files: the same in a bare folder and in the registry, whatever lies beside them."""
    every = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return digest_folder(folder, leave_out=[name for name in every if name not in ADAPTER_FILES])


class AdapterBank:
    """The adapters of one base model, by the names that requests use.

    PEFT modules must not have dots in their names, so each adapter gets an internal one.
    """

    def __init__(self, model: Module) -> None:
        """Wrap a transformers model, or a PEFT model whose adapters keep their names."""
        with contextlib.suppress(ImportError):
            import_bitsandbytes()  # PEFT imports it where it is, and it would fetch code
        from peft import PeftModel

        self._peft: Any = model if isinstance(model, PeftModel) else None
        self._bare: Any = model.get_base_model() if self._peft is not None else model  # type: ignore[operator]
        self._internal: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        self._mixable: dict[str, bool] = {}
        self._n_loaded = 0
        self._current: str | None = _UNKNOWN  # what `_switch` left active; switching walks over every module
        if self._peft is not None:
            for name, config in self._peft.peft_config.items():
                self._internal[name] = name
                self._mixable[name] = _is_mixable(config.to_dict())

    @property
    def names(self) -> tuple[str, ...]:
        """The names that requests may use."""
        return tuple(self._internal)

    def add(self, adapter: Adapter, *, base: BaseModel | None, name: str | None = None) -> str:
        """Verify and load an adapter; adding the same one again does nothing.

        Raises:
            IntegrityError: its files do not have the digest on record.
            InputError: it is no LoRA adapter in safetensors, or belongs to another base.
        """
        name = name or adapter_name(adapter)
        if name in self._internal:
            if self._digests.get(name) == adapter.digest:
                return name
            raise InputError(f"`{name}` must name one adapter, got a second with other weights; give it another name")
        folder = Path(adapter.path)
        config = _read_config(folder)
        _validate(adapter, folder, config, base)
        internal = f"adapter_{self._n_loaded}"
        self._n_loaded += 1
        self._load(folder, internal, shown=name)
        self._internal[name], self._digests[name] = internal, adapter.digest
        self._mixable[name] = _is_mixable(config)
        return name

    def remove(self, name: str) -> None:
        """Let go of an adapter's weights; not while the model is borrowed.

        Raises:
            InputError: no such adapter was added.
        """
        internal = self._internal[self.require(name)]
        others = [other for other in self._internal.values() if other != internal]
        if others:  # PEFT warns when it has to choose another active one itself
            self._peft.set_adapter(others[0], inference_mode=True)
        self._peft.delete_adapter(internal)
        for known in (self._internal, self._digests, self._mixable):
            known.pop(name, None)
        self._current = _UNKNOWN

    def can_mix(self, name: str | None) -> bool:
        """Whether rows of this adapter may share a batch with rows of others; DoRA's may not."""
        return name is None or self._mixable[self.require(name)]

    def require(self, name: str) -> str:
        """The name itself.

        Raises:
            InputError: no such adapter was added.
        """
        if name not in self._internal:
            known = ", ".join(f"`{n}`" for n in self._internal) or "none"
            raise InputError(f"`adapter` must name an added adapter (there are: {known}), got `{name}`; add it first")
        return name

    def forward(self, adapters: Sequence[str | None], **inputs: Any) -> Any:
        """One forward pass in which row i goes through `adapters[i]` (None is the bare base)."""
        if self._peft is None:
            return self._bare(**inputs)
        distinct = set(adapters)
        if len(distinct) == 1:
            self._switch(adapters[0])
            return self._bare(**inputs)
        self._switch(next(a for a in adapters if a is not None))  # turns the layers on
        names = [_BASE if a is None else self._internal[a] for a in adapters]
        return self._peft(**inputs, adapter_names=names)

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[None]:
        """Evaluate without gradients, and leave the model as it was found: a trainer may own it."""
        import torch

        root = self._bare if self._peft is None else self._peft
        modules = [m for m in root.modules() if m.training]
        trainable = [p for p in root.parameters() if p.requires_grad]
        active = None if self._peft is None else self._peft.active_adapter
        self._current = _UNKNOWN  # its owner may have switched since
        for module in modules:
            module.training = False
        try:
            with torch.no_grad() if modules or trainable else torch.inference_mode():
                yield
        finally:
            if self._peft is not None:
                self._peft.base_model.enable_adapter_layers()
                if active in self._peft.peft_config:  # it may have been removed since it was made active
                    self._peft.set_adapter(active)
                for parameter in root.parameters():
                    parameter.requires_grad = False
            for parameter in trainable:
                parameter.requires_grad = True
            for module in modules:
                module.training = True

    def _switch(self, name: str | None) -> None:
        if name == self._current:
            return
        self._current = name
        if name is None:
            self._peft.base_model.disable_adapter_layers()
            return
        self._peft.base_model.enable_adapter_layers()
        self._peft.set_adapter(self._internal[name], inference_mode=True)

    def _load(self, folder: Path, internal: str, *, shown: str) -> None:
        from peft import LoraConfig, PeftModel

        config = LoraConfig.from_pretrained(str(folder))
        config.inference_mode = True
        device = str(next(self._bare.parameters()).device)
        try:
            if self._peft is None:
                self._peft = PeftModel(self._bare, config, adapter_name=internal)
            else:
                self._peft.add_adapter(internal, config)
            result = self._peft.load_adapter(str(folder), internal, torch_device=device)
        except (ValueError, RuntimeError) as err:  # PEFT's for unknown target modules, torch's for other shapes
            reason = " ".join(str(err).split())[:300]
            raise InputError(f"`{shown}` must fit the base model's layers, it does not: {reason}") from err
        if result.missing_keys or result.unexpected_keys:
            keys = [*result.missing_keys, *result.unexpected_keys]
            raise InputError(
                f"`{shown}` must hold a weight for each of its layers and no other, got {len(keys)} that do not fit "
                f"(first `{keys[0]}`); take the adapter that was trained on this base"
            )
        self._peft.eval()


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = folder / _CONFIG
    if not path.is_file():
        raise InputError(f"`{folder}` must hold `{_CONFIG}`, got none; give a folder that PEFT has saved")
    config: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def _validate(adapter: Adapter, folder: Path, config: Mapping[str, Any], base: BaseModel | None) -> None:
    """Check format, digest and base before anything is loaded."""
    if not (folder / _WEIGHTS).is_file():
        raise InputError(f"`{folder}` must hold `{_WEIGHTS}`, got none; save the adapter as safetensors")
    executable = sorted(p.name for p in folder.rglob("*") if p.suffix in _EXECUTABLE)
    if executable:
        raise InputError(f"`{folder}` must hold no file that can execute, got `{executable[0]}`; delete it")
    if config.get("peft_type") != "LORA":
        raise InputError(f"`{adapter.name}` must be a LoRA adapter, got `{config.get('peft_type')}`; merge it instead")
    if config.get("bias", "none") != "none" or config.get("layer_replication"):
        raise InputError(
            f"`{adapter.name}` must leave the base untouched when it is off, got one that trains biases or repeats "
            "layers; merge it into a full checkpoint instead"
        )
    found = adapter_digest(folder)
    if found != adapter.digest:
        raise IntegrityError(
            f"`{folder}` must have the digest on record {adapter.digest[:12]}…, got {found[:12]}…; "
            "restore the files or register the adapter again"
        )
    if base is not None and base.digest != adapter.base.digest:
        raise InputError(
            f"`{adapter.name}` must run on its own base `{adapter.base.source}` ({adapter.base.digest[:12]}…), "
            f"got `{base.source}` ({base.digest[:12]}…); load that base"
        )


def _is_mixable(config: Mapping[str, Any]) -> bool:
    return not any(config.get(key) for key in _NOT_MIXABLE)
