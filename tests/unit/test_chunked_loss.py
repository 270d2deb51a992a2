"""A loss over a large vocabulary in chunks is the loss, and never holds float32 logits of more than a chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from certain import sure
from torch.utils._python_dispatch import TorchDispatchMode

from pipelines.training import chunked_loss
from pipelines.training.chunked_loss import in_chunks
from pipelines.training.preference_trainer import _of_target
from pipelines.training.sft_trainer import _summed_nats

POSITIONS, VOCABULARY, CHUNK = 40, 300, 7


class Largest(TorchDispatchMode):
    """Elements of the largest float32 tensor that any operation gives."""

    n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32:
                self.n = max(self.n, tensor.numel())
        return made


def _run(read: Callable[..., torch.Tensor], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, int]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(POSITIONS, VOCABULARY, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(0, VOCABULARY, (POSITIONS,), generator=generator)
    with cast(Any, Largest)() as largest:
        parts = in_chunks(read, logits, targets)
        found = torch.cat([part.reshape(-1) for part in parts])
        found.sum().backward()
    return found.sum().detach(), sure(logits.grad), largest.n


@pytest.mark.parametrize("read", [_summed_nats, _of_target])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_have_loss_and_gradient_of_all(monkeypatch: pytest.MonkeyPatch, read: Any, dtype: torch.dtype) -> None:
    whole, gradient, n_whole = _run(read, dtype)
    monkeypatch.setattr(chunked_loss, "AT_ONCE", CHUNK * VOCABULARY)
    chunked, in_parts, n_chunked = _run(read, dtype)
    torch.testing.assert_close(chunked, whole)
    torch.testing.assert_close(in_parts, gradient, rtol=1e-6, atol=1e-7)
    assert n_whole == POSITIONS * VOCABULARY
    if dtype == torch.bfloat16:  # in float32 the head's own logits are as large
        assert n_chunked == CHUNK * VOCABULARY


def test_a_vocabulary_larger_than_a_chunk_goes_one_position_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_loss, "AT_ONCE", 10)
    assert len(in_chunks(_of_target, torch.randn(3, VOCABULARY), torch.tensor([1, 2, 3]))) == 3
