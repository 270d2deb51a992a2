"""What a training runs on: device, precision, attention, the base (4-bit or not) and the adapter put on it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import ConfigError, InputError, UnavailableError
from harness.models.bases import base_folder
from harness.models.devices import resolve_device
from harness.models.memory import settle
from harness.models.quantization import never_repacked, nf4_config
from harness.seeding import derive
from harness.types import Adapter, BaseModel
from pipelines.training.processes import launched

if TYPE_CHECKING:
    import torch

    from pipelines.training.recipe import LoraSettings

Attention = Literal["flash_attention_2", "sdpa", "eager"]
LAYOUT_TOLERANCE = {"fp32": 0.01, "bf16": 0.1}  # nats a token between two layouts of one reply; a leak is above it


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Where and how tensors are computed; resolved once, recorded in every summary."""

    device: Literal["cuda", "cpu"]
    precision: Literal["bf16", "fp32"]
    attention: Attention

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of weights and activations."""
        import torch

        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @property
    def is_variable_length(self) -> bool:
        """Whether the attention kernel takes the borders of packed examples as they are."""
        return self.attention == "flash_attention_2"


def resolve_runtime(*, precision: str, attention: str) -> Runtime:
    """Fill in `auto`: bf16 on CUDA and fp32 elsewhere (bf16 is 25 times slower on AVX2); FlashAttention where it is."""
    import torch

    device = resolve_device("auto")
    if device == "cuda" and torch.cuda.device_count() > 1 and launched().n == 1:
        raise UnavailableError(
            f"a training that one process does uses one GPU, got {torch.cuda.device_count()} visible: start it with "
            "`accelerate launch`, or set CUDA_VISIBLE_DEVICES to one"
        )
    resolved: Literal["bf16", "fp32"] = "fp32" if precision == "fp32" else "bf16"
    if precision == "auto" and (device == "cpu" or not torch.cuda.is_bf16_supported()):
        resolved = "fp32"
    has_flash = device == "cuda" and resolved == "bf16" and importlib.util.find_spec("flash_attn") is not None
    if attention == "flash_attention_2" and not has_flash:
        raise UnavailableError(
            f"`attention: flash_attention_2` needs CUDA, bf16 and the package flash-attn, got {device} and {resolved}: "
            f"install screentest[gpu] or say `attention: auto`"
        )
    chosen: Attention = "sdpa"
    if attention == "eager":
        chosen = "eager"
    elif has_flash and attention in ("auto", "flash_attention_2"):
        chosen = "flash_attention_2"
    return Runtime(device=device, precision=resolved, attention=chosen)


def load_base(base: BaseModel, *, runtime: Runtime, quantization: Literal["nf4", "none"]) -> Any:
    """The base model, frozen, on its device; safetensors only, no remote code."""
    import transformers

    settle()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        base_folder(base),
        dtype=runtime.dtype,
        attn_implementation=runtime.attention,
        quantization_config=nf4_config(runtime.dtype) if quantization == "nf4" else None,
        device_map={"": launched().placement(runtime.device)},
        use_safetensors=True,
        trust_remote_code=False,
    )
    return never_repacked(model.requires_grad_(False))


def attach_lora(model: Any, lora: LoraSettings, *, base: BaseModel, seed: int) -> Any:
    """A fresh adapter on the frozen base; float32 weights, the same for the same seed whatever ran before."""
    import torch
    from peft import LoraConfig, get_peft_model

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.scale,
        lora_dropout=lora.dropout,
        target_modules=targets,
        use_dora=lora.dora,
    )
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "lora"))
        try:
            adapted = get_peft_model(model, config)
        except ValueError as err:
            raise ConfigError(
                f"`lora.targets` must name linear layers of the base, got {lora.targets!r}: {err}"
            ) from err
    adapted.peft_config["default"].base_model_name_or_path = portable_name(base)
    adapted.peft_config["default"].revision = base.revision
    return adapted


def attach_adapter(model: Any, adapter: Adapter) -> Any:
    """A trained adapter on its frozen base, trainable again; its files are checked first.

    Raises:
        IntegrityError: they do not have the digest on record.
        InputError: they do not fit the base, or hold more than LoRA matrices (and DoRA's magnitudes).
    """
    from harness.models.adapters import open_verified
    from harness.models.attaching import attach

    files = open_verified(adapter, base=None)
    if (more := files.beyond("use_dora", "use_rslora", "rank_pattern", "alpha_pattern")) is not None:
        raise InputError(
            f"`{adapter.name}` must be LoRA or DoRA to be trained on, got one with `{more}`; "
            "merge it into a full checkpoint and train on that"
        )
    return attach(model, files, name="default", trainable=True)


def require_same_base(parent: Adapter, base: BaseModel) -> None:
    """Refuse a parent that was trained on another base.

    Raises:
        InputError: it was.
    """
    if parent.base.digest != base.digest:
        raise InputError(
            f"`parent` must be an adapter of the recipe's base {base.source} ({base.digest[:12]}), got {parent.name} "
            f"of {parent.base.source} ({parent.base.digest[:12]}); fine-tune that base first, or name its adapter"
        )


def portable_name(base: BaseModel) -> str:
    """How an adapter's files name their base: `embedded`, the hub id, or a folder's last part, never a machine path."""
    is_path = Path(base.source).is_absolute() or Path(base.source).is_dir()
    return Path(base.source).name if is_path else base.source
