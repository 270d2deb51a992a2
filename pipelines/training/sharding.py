"""Tensors that FSDP has spread over processes, whole again and back; a tensor that lies in one place is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor on the CPU; where it is sharded, every process must ask."""
    from torch.distributed.tensor import DTensor

    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()


def spread_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded as another one is; every process holds the whole one already."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        return tensor
    placed = tensor.to(device=like.device, dtype=like.dtype)
    return distribute_tensor(placed, like.device_mesh, like.placements, src_data_rank=None)


def scatter(model: Module) -> None:
    """Give up what has been gathered, where the model is sharded; the next forward pass gathers it again."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def gather_outermost(model: Module) -> None:
    """Gather what no inner module gathers for itself (embeddings, head), for a pass that starts inside the model."""
    from torch.distributed.fsdp import FSDPModule

    if isinstance(model, FSDPModule):
        model.unshard()


def gathered_state(optimizer: Any) -> dict[str, Any]:
    """An optimiser's state in which every tensor is whole."""
    state = optimizer.state_dict()
    gathered = {
        row: {name: whole(value) if hasattr(value, "shape") else value for name, value in values.items()}
        for row, values in state["state"].items()
    }
    return {**state, "state": gathered}


def scattered_state(state: dict[str, Any], optimizer: Any) -> dict[str, Any]:
    """A whole state, each tensor that has its weight's shape sharded as the weight is."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    scattered = {
        row: {
            name: spread_like(value, weights[row]) if getattr(value, "shape", None) == weights[row].shape else value
            for name, value in values.items()
        }
        for row, values in state["state"].items()
    }
    return {**state, "state": scattered}
