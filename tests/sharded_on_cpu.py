"""Run the command line under FSDP on CPUs, for a test.

accelerate 1.15 turns FSDP on for accelerators alone (`AcceleratorState.__init__` lists their kinds; MULTI_CPU is none
of them) and else trains without a word as DDP. torch's `fully_shard` itself runs on CPUs with gloo. So the one thing
that is changed here is the kind that accelerate reads; wrapping, sharding, gathering and clipping are theirs.
"""

from __future__ import annotations

from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from pipelines.cli import main

_begin: Any = AcceleratorState.__init__


def _as_accelerators(self: AcceleratorState, *args: Any, **kwargs: Any) -> None:
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    _begin(self, *args, **kwargs)


if __name__ == "__main__":
    AcceleratorState.__init__ = _as_accelerators  # type: ignore[method-assign]
    main()
