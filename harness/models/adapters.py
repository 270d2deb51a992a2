"""LoRA adapters on one base in memory: verified, loaded from safetensors, switched or mixed inside a batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.doors.adapters import AdapterFiles, open_adapter_files
from harness.doors.adapters import adapter_digest as adapter_digest  # where scripts of earlier versions look for it
from harness.errors import InputError, IntegrityError, UnavailableError
from harness.models.attaching import attach
from harness.models.bases import resolve_base
from harness.models.cache_rows import is_plain
from harness.models.graphs import StepGraphs
from harness.models.protocol import adapter_name
from harness.models.quantization import import_bitsandbytes
from harness.types import Adapter, BaseModel

if TYPE_CHECKING:
    from torch.nn import Module

_NOT_MIXABLE = ("use_dora", "modules_to_save", "trainable_token_indices")
_UNKNOWN = "\x00unknown"
_BASE = "__base__"  # PEFT's name for a row without adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """An adapter in memory."""

    internal: str  # its name in PEFT
    digest: str | None  # None: it came with the model
    can_mix: bool  # whether rows of it may stand beside rows of others


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
        self.graphs = StepGraphs()
        self._addresses: list[int] = []  # of the weights when the model was last let go
        self._bare: Any = model.get_base_model() if self._peft is not None else model  # type: ignore[operator]
        self.config: Any = self._bare.config
        first = next(model.parameters())
        self.device, self.dtype = str(first.device), first.dtype
        self.is_plain = is_plain(self.config)
        self._held: dict[str, _Held] = {}
        self._n_loaded = 0
        self._is_spoilt = False
        self._whole_layers: list[Any] = []
        self._mixing = contextlib.ExitStack()
        self._mixed_names: list[str] | None = None  # of each row, while PEFT's hooks for them are up
        self._current: str | None = _UNKNOWN  # what `_switch` left active; switching walks over every module
        if self._peft is not None:
            for name, config in self._peft.peft_config.items():
                self._held[name] = _Held(internal=name, digest=None, can_mix=_can_mix(config.to_dict()))

    @property
    def names(self) -> tuple[str, ...]:
        """The names that requests may use."""
        return tuple(self._held)

    def add(self, adapter: Adapter, *, base: BaseModel | None, name: str | None = None) -> str:
        """Verify and load an adapter; adding the same one again does nothing.

        Raises:
            IntegrityError: its files do not have the digest on record.
            InputError: it is no LoRA adapter in safetensors, or belongs to another base.
        """
        name = name or adapter_name(adapter)
        if name in self._held:
            if self._held[name].digest == adapter.digest:
                return name
            raise InputError(f"`{name}` must name one adapter, got a second with other weights; give it another name")
        from peft.utils.other import AuxiliaryTrainingWrapper

        files = open_verified(adapter, base=base)
        internal = f"adapter_{self._n_loaded}"
        self._n_loaded += 1
        self.graphs.drop()
        self._unmix()  # the layers that come have no hook
        try:
            self._peft = attach(self._bare if self._peft is None else self._peft, files, name=internal)
        except IntegrityError:
            self._is_spoilt = True
            raise
        self._whole_layers = [m for m in self._peft.modules() if isinstance(m, AuxiliaryTrainingWrapper)]
        self._current = _UNKNOWN
        self._held[name] = _Held(internal=internal, digest=adapter.digest, can_mix=_can_mix(files.settings.lora))
        return name

    def know(self, internal: str, *, name: str, digest: str) -> None:
        """Give an adapter of the model's own another name, under which requests and `add` find it."""
        self._held[name] = replace(self._held[internal], digest=digest)

    def remove(self, name: str) -> None:
        """Let go of an adapter's weights; not while the model is borrowed.

        Raises InputError: no such adapter was added.
        """
        internal = self._held[self.require(name)].internal
        self.graphs.drop()
        self._unmix()
        others = [other.internal for other in self._held.values() if other.internal != internal]
        if others:  # PEFT warns when it has to choose another active one itself
            self._peft.set_adapter(others[0], inference_mode=True)
        self._peft.delete_adapter(internal)
        del self._held[name]
        self._current = _UNKNOWN

    def can_mix(self, name: str | None) -> bool:
        """Whether rows of this adapter may share a batch with rows of others; DoRA's may not."""
        return name is None or self._held[self.require(name)].can_mix

    def require(self, name: str) -> str:
        """The name itself. Raises InputError: no such adapter was added."""
        if name not in self._held:
            known = ", ".join(f"`{n}`" for n in self._held) or "none"
            raise InputError(f"`adapter` must name an added adapter (there are: {known}), got `{name}`; add it first")
        return name

    def forward(self, adapters: Sequence[str | None], **inputs: Any) -> Any:
        """One forward pass in which row i goes through `adapters[i]` (None is the bare base)."""
        if self._is_spoilt:
            raise IntegrityError("the base's weights were changed by an adapter that was refused; load the base again")
        if self._peft is None:
            return self._bare(**inputs)
        if len(set(adapters)) == 1:
            self._unmix()
            self._switch(adapters[0])
        else:
            self._mix(adapters)
        return self._bare(**inputs)

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[None]:
        """Evaluate without gradients, and leave the model as it was found: a trainer may own it."""
        import torch

        root = self._bare if self._peft is None else self._peft
        modules = [m for m in root.modules() if m.training]
        weights = list(root.parameters())
        trainable = [p for p in weights if p.requires_grad]
        active = None if self._peft is None else self._peft.active_adapter
        self._current = _UNKNOWN  # its owner may have switched since
        if self.graphs.has_steps and self._addresses != [p.data_ptr() for p in weights]:
            self.graphs.drop()
        for module in modules:
            module.training = False
        try:
            with torch.no_grad() if modules or trainable else torch.inference_mode():
                yield
        finally:
            if modules:  # its owner trains it, and needs the memory
                self.graphs.drop()
            self.graphs.rest()
            self._addresses = [p.data_ptr() for p in weights] if self.graphs.has_steps else []
            self._unmix()
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

    def _mix(self, adapters: Sequence[str | None]) -> None:
        """PEFT's hooks for a mixed batch, put up once for all steps of the same rows: a tenth of a step's time."""
        names = [_BASE if a is None else self._held[a].internal for a in adapters]
        if names == self._mixed_names:
            return
        self._unmix()
        self._switch(next(a for a in adapters if a is not None))  # turns the layers on
        self._mixing.enter_context(self._whole_layers_off())
        self._mixing.enter_context(self._peft._enable_peft_forward_hooks(adapter_names=names))
        self._mixed_names = names

    def _unmix(self) -> None:
        self._mixed_names = None
        self._mixing.close()

    @contextlib.contextmanager
    def _whole_layers_off(self) -> Iterator[None]:
        """PEFT looks for each row's own copy in `modules_to_save`; adapters that have one are never mixed."""
        for layer in self._whole_layers:
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self._whole_layers:
                layer.enable_adapters(True)

    def _switch(self, name: str | None) -> None:
        if name == self._current:
            return
        self._current = name
        if name is None:
            self._peft.base_model.disable_adapter_layers()
            return
        self._peft.base_model.enable_adapter_layers()
        self._peft.set_adapter(self._held[name].internal, inference_mode=True)


def open_verified(adapter: Adapter, *, base: BaseModel | None) -> AdapterFiles:
    """An adapter's files, checked against the digest on record and the base they are for.

    Raises:
        IntegrityError: they do not have that digest.
        InputError: it is no adapter that can be loaded, or belongs to another base.
    """
    files = open_adapter_files(Path(adapter.path))
    if files.digest != adapter.digest:
        raise IntegrityError(
            f"`{adapter.path}` must have the digest on record {adapter.digest[:12]}…, got {files.digest[:12]}…; "
            "restore the files or register the adapter again"
        )
    if base is not None and base.digest != adapter.base.digest:
        raise InputError(
            f"`{adapter.name}` must run on its own base `{adapter.base.source}` ({adapter.base.digest[:12]}…), "
            f"got `{base.source}` ({base.digest[:12]}…); load that base"
        )
    return files


def bound_base(files: AdapterFiles, *, given: BaseModel | None) -> BaseModel:
    """The base of an adapter: the one that its configuration names, else the one given; both must be the same.

    A base that is named and cannot be found has moved: a folder may then be given in its place.

    Raises InputError: none is named and none given, the named one is not there, or the given one is another.
    """
    source, revision = files.settings.base, files.settings.revision
    if source is None:
        if given is None:
            raise InputError(f"`{files.name}` must name its base in adapter_config.json, got none; give --base")
        return given
    try:
        named = resolve_base(source, revision=revision, is_local=given is not None)
    except (InputError, UnavailableError) as err:
        if given is None:
            raise InputError(
                f"`{files.name}` must have its base where adapter_config.json says, which is not so ({err}); "
                "give the base itself with --base"
            ) from err
        if not Path(given.source).is_dir() and given.source != source:
            raise _contradiction(files, given, f"{source}`") from err
        return given
    if given is not None and given.digest != named.digest:
        raise _contradiction(files, given, f"{named.source}` ({named.digest[:12]})")
    return named


def _contradiction(files: AdapterFiles, given: BaseModel, named: str) -> InputError:
    return InputError(
        f"`--base` must be the base that `{files.name}` names, `{named}, got `{given.source}` ({given.digest[:12]}); "
        "leave it out, or correct base_model_name_or_path in adapter_config.json"
    )


def _can_mix(config: Mapping[str, Any]) -> bool:
    return not any(config.get(key) for key in _NOT_MIXABLE)
