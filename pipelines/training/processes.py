"""The processes that train one adapter together: `accelerate launch` starts them, the first leads, the others follow.

What a recipe says must hold for any number of them: an optimiser step takes the same packs, divided; the loss is the
mean over the trained tokens of all of them; files are written by the first alone. A process that runs alone is a group
of one, in which every function here does nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    import torch

Sharding = Literal["none", "ddp", "fsdp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One item of this process's share."""

    item: int  # its number
    counts: bool  # False where the items did not divide: the work is done to keep step, its result is worth nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """Where this process stands among those that train together."""

    rank: int = 0
    n: int = 1
    local_rank: int = 0  # on its machine: which GPU is its own
    is_sharded: bool = False  # whether weights are spread over the processes (FSDP) or copied to each (DDP)

    @property
    def is_first(self) -> bool:
        """Whether this process logs, writes and registers."""
        return self.rank == 0

    @property
    def sharding(self) -> Sharding:
        """How weights lie."""
        return "none" if self.n == 1 else "fsdp" if self.is_sharded else "ddp"

    def placement(self, device: str) -> str:
        """The device of this process."""
        return device if self.n == 1 or device == "cpu" else f"{device}:{self.local_rank}"

    def divide(self, packs_per_step: int) -> int:
        """Packs of one optimiser step that are this process's.

        Raises:
            ConfigError: they do not divide, and the step would not be the recipe's.
        """
        if packs_per_step % self.n:
            raise ConfigError(
                f"`optimizer.packs_per_step` must divide among {self.n} processes, got {packs_per_step}: start a "
                "number of processes that divides it, so that a step stays what the recipe says"
            )
        return packs_per_step // self.n

    def turns(self, n_items: int) -> Iterator[Turn]:
        """This process's share of numbered items; every process takes equally many turns, since FSDP needs all."""
        for begin in range(0, n_items, self.n):
            item = begin + self.rank
            yield Turn(item=min(item, n_items - 1), counts=item < n_items)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over processes, on the CPU; alone, the values as they are."""
        values = values.detach().cpu()
        if self.n > 1:
            import torch.distributed as dist

            dist.all_reduce(values)
        return values

    def least(self, value: int) -> int:
        """The smallest of what the processes have."""
        import torch

        if self.n == 1:
            return value
        values = torch.zeros(self.n, dtype=torch.long)
        values[self.rank] = value
        return int(self.total(values).min())

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.n > 1:
            import torch

            self.total(torch.zeros(1))

    @contextlib.contextmanager
    def first_then_others(self) -> Iterator[None]:
        """The first process runs the block alone, then all others do."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()


def launched() -> Processes:
    """Where this process stands, by what its launcher has put into the environment."""
    return Processes(
        rank=int(os.environ.get("RANK", "0")),
        n=int(os.environ.get("WORLD_SIZE", "1")),
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        is_sharded=os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true",
    )


def join(device: Literal["cuda", "cpu"], *, packs_per_step: int, quantization: str) -> Processes:
    """Meet the others, all of which call this with the same arguments.

    Raises:
        ConfigError: the recipe cannot be trained by so many processes, or not sharded.
        UnavailableError: this process has no GPU of its own.
    """
    processes = launched()
    processes.divide(packs_per_step)
    if processes.sharding == "fsdp" and quantization == "nf4":
        raise ConfigError(
            "`quantization` must be none to be sharded, got nf4: a 4-bit base lies whole on every GPU; start without "
            "`--use_fsdp`"
        )
    if processes.n > 1:
        _meet(processes, device)
    return processes


def _meet(processes: Processes, device: Literal["cuda", "cpu"]) -> None:
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        return
    if device == "cuda":
        if processes.local_rank >= torch.cuda.device_count():
            raise UnavailableError(
                f"each process needs a GPU of its own, got process {processes.local_rank} for "
                f"{torch.cuda.device_count()} visible: start as many processes as there are GPUs"
            )
        torch.cuda.set_device(processes.local_rank)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")


def leave() -> None:
    """Part from the others; nothing where none were joined."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
