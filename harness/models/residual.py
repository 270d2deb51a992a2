"""PiSSA and OLoRA as plain LoRA: their first values, which PEFT takes out of the base, are taken out of the adapter.

Such an adapter belongs to the base less its first values: W − s·B₀A₀ + s·BA (PiSSA, arXiv 2404.02948, section 3; OLoRA,
2406.01775). B₀A₀ follows from W, so the same sum is W + s·[B, −B₀][A; A₀]: plain LoRA of twice the rank, on W as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.doors.adapters import AdapterFiles
from harness.doors.adapters.allowed_settings import CONVERSION
from harness.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDING = 1e-6  # of the largest singular value: how far two float32 decompositions differ
_MOST_UNSURE = (
    1e-4  # square of the share of what was learned, or of a hundredth of the first values, that may be unsure
)
_MOST_MOVED = 1.0  # square, of the first values' norm: what moved further did not start there


def doubled(lora: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of twice the rank at the same scale."""
    factor = math.sqrt(2) if lora.get("use_rslora") else 2
    return {
        **lora,
        "r": 2 * lora.get("r", 8),
        "lora_alpha": factor * lora.get("lora_alpha", 8),
        "rank_pattern": {key: 2 * rank for key, rank in lora.get("rank_pattern", {}).items()},
        "alpha_pattern": {key: factor * alpha for key, alpha in lora.get("alpha_pattern", {}).items()},
    }


def as_plain(peft: Any, weights: Mapping[str, Tensor], *, name: str, files: AdapterFiles) -> dict[str, Tensor]:
    """The same adapter as plain LoRA on the base that is in memory.

    Raises InputError: the first values cannot be computed again, or are not those that the adapter started from.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    plain = dict(weights)
    moved = norm = unsure = 0.0
    for path, layer in peft.named_modules():
        key_a, key_b = f"{path}.lora_A.weight", f"{path}.lora_B.weight"
        if not isinstance(layer, LoraLayer) or key_a not in weights:
            continue
        a, b = weights[key_a].float(), weights[key_b].float()
        start = _first_values(layer, files, rank=a.shape[0], scale=layer.scaling[name])
        first = start.b @ start.a
        moved += float((b @ a - first).square().sum())
        norm += float(first.square().sum())
        unsure += start.unsure**2
        factors = _balanced(torch.cat([a, start.a]), torch.cat([b, -start.b], dim=1))
        plain |= {key_a: factors.a, key_b: factors.b}
    if not unsure <= _MOST_UNSURE * max(moved, _MOST_UNSURE * norm):
        raise _refused(files, "weights of the base from which they do not follow for certain")
    if not moved < _MOST_MOVED * norm:
        raise _refused(files, "first values that are further from its weights than from nothing")
    return plain


@dataclass(frozen=True, slots=True)
class _Factors:
    a: Tensor  # rank × inputs
    b: Tensor  # outputs × rank
    unsure: float = 0.0  # norm of what rounding leaves open of their product


def _balanced(a: Tensor, b: Tensor) -> _Factors:
    """The same product from small factors: the difference of two large ones is lost to rounding at every token."""
    import torch
    from torch.nn.functional import pad

    left, core_left = torch.linalg.qr(b.double())
    right, core_right = torch.linalg.qr(a.T.double())
    u, s, vh = torch.linalg.svd(core_left @ core_right.T)
    root, n_lost = s.sqrt(), a.shape[0] - len(s)
    small_a, small_b = (root[:, None] * vh[: len(s)]) @ right.T, left @ (u[:, : len(s)] * root)
    return _Factors(pad(small_a, (0, 0, 0, n_lost)).float(), pad(small_b, (0, n_lost)).float())


def _first_values(layer: Any, files: AdapterFiles, *, rank: int, scale: float) -> _Factors:
    """What PEFT starts the adapter of one layer with, in float32."""
    import torch

    base = layer.get_base_layer()
    fan_in_first = bool(getattr(layer, "fan_in_fan_out", False))
    is_olora = files.settings.residual == "olora"
    if not isinstance(base, torch.nn.Linear) and not (fan_in_first and not is_olora):
        raise _refused(files, f"a layer of another kind ({type(base).__name__})")
    if base.weight.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise _refused(files, "a quantised base")
    weight = base.weight.detach().float()
    weight = weight.T if fan_in_first else weight
    if is_olora:
        q, r = torch.linalg.qr(weight)
        sizes, a, b = r.diagonal()[:rank].abs(), r[:rank], q[:, :rank]
        unsure = float(a.norm() * sizes.max() / sizes.min())
    else:
        u, s, vh = torch.linalg.svd(weight, full_matrices=False)
        root = (s[:rank] / scale).sqrt()
        a, b = root[:, None] * vh[:rank], u[:, :rank] * root
        gap = s[rank - 1] - s[rank] if rank < len(s) else s[rank - 1]
        unsure = float(s[rank - 1] / scale * s[0] / gap)
    return _Factors(a.cpu(), b.cpu(), unsure=_ROUNDING * unsure)


def _refused(files: AdapterFiles, found: str) -> InputError:
    return InputError(
        f"`{files.name}` starts from values that were taken out of the base ({files.settings.residual}) and must be "
        f"computed again, got {found}; {CONVERSION}"
    )
