"""Loading a 4-bit base fetches no code, and says nothing that a user could not act on."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import sys, types
import importlib.machinery
fetcher = types.ModuleType("kernels")
fetcher.__spec__ = importlib.machinery.ModuleSpec("kernels", None)
fetched = []
fetcher.get_kernel = lambda *args, **options: fetched.append(args)
sys.modules["kernels"] = fetcher
if sys.argv[1] == "training":
    from harness.models.quiet import quiet
    with quiet():
        import trl.trainer.sft_trainer
import torch
from harness.models.quantization import nf4_config
config = nf4_config(torch.float32)
assert config.bnb_4bit_quant_type == "nf4" and config.bnb_4bit_use_double_quant
assert "bitsandbytes" in sys.modules
assert not fetched, fetched
assert sys.modules["kernels"] is fetcher
"""


@pytest.mark.parametrize("road", ["loading", "training"])
def test_no_compiled_code_is_fetched_from_a_hub(road: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", _SCRIPT, road]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "kernels" not in done.stderr
