"""What a process has held at most is its own; where memory runs out, a sentence says what helps and what is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stories import REPOSITORY

from harness.errors import ScreentestError, StageError, UnavailableError
from harness.experiment.session import Session
from harness.models.memory import is_out_of_memory, peak_bytes, peak_of_stages, told_in_a_sentence, what_helps
from harness.settings import Settings
from harness.store.tracking import Tracking

BYTES = 400_000_000


def test_a_child_of_a_large_process_counts_its_own_memory_alone_and_the_peak_stays_when_it_is_given_back() -> None:
    held = np.ones(BYTES, dtype=np.uint8)
    mine = peak_bytes()
    assert mine >= held.nbytes
    words = (  # Linux cuts a name after 15 bytes, here within a character
        "from pathlib import Path; from harness.models.memory import peak_bytes; comm = Path('/proc/self/comm'); "
        "comm.exists() and comm.write_bytes('ray::SFT none · 1'.encode()); print(peak_bytes())"
    )
    child = subprocess.run([sys.executable, "-c", words], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert 0 < int(child.stdout) < BYTES
    del held
    assert peak_bytes() > mine - BYTES / 2  # the kernel counts it roughly


def test_without_stages_the_peak_is_this_process_own(tmp_path: Path) -> None:
    tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(tmp_path)}))
    assert peak_of_stages(tracking, []) == peak_bytes()


# ── memory that runs out ─────────────────────────────────────────────────────────────────────────────────────────────

SHORT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.16 GiB. GPU 0 has a total capacity of 7.79 GiB")
SFT = {"quantization": "none", "gradient_checkpointing": False, "data": {"pack_tokens": 512}}
DPO = {
    "quantization": "nf4", "gradient_checkpointing": True,
    "data": {"pairs_per_pack": 2, "max_tokens": 512, "n_pairs": None},
}  # fmt: skip


@pytest.mark.parametrize(
    ("given_settings", "helps"),
    [
        (SFT, "set `gradient_checkpointing: true`, or set `quantization: nf4`, or lower `data.pack_tokens` (512 "),
        (DPO, "lower `data.pairs_per_pack` (2 pairs of a row), or lower `data.max_tokens` (512 tokens of a pair), or"),
        ({"decoding": {"max_new_tokens": 2048}}, "lower `decoding.max_new_tokens` (2,048 tokens of a reply), or end"),
        ({"data": {"pairs_per_pack": 1}}, "end what else holds memory there, or take a smaller base"),
    ],
)
def test_the_settings_that_help_are_those_of_the_stage(given_settings: dict[str, Any], helps: str) -> None:
    assert what_helps(given_settings).startswith(helps)


KEYS = st.sampled_from(["data", "decoding", "pack_tokens", "max_new_tokens", "rows_per_step", "quantization"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text()


@given(st.recursive(LEAVES, lambda values: st.dictionaries(KEYS, values)))
@settings(max_examples=40, deadline=None)
def test_any_settings_give_a_sentence(found: Any) -> None:
    assert what_helps(found if isinstance(found, dict) else {"data": found}).endswith("or take a smaller base")


@pytest.mark.parametrize("error", [SHORT, MemoryError(), RuntimeError("CUDA error: out of memory")])
def test_a_stage_that_runs_out_of_memory_says_what_is_kept_and_the_next_attempt_finds_it(
    tmp_path: Path, error: Exception
) -> None:
    session = Session(tracking=Tracking(Settings.from_environment({"SCREENTEST_HOME": str(tmp_path)})))

    def work(stage: Any, _: Any) -> None:
        mark = stage.folder / "checkpoints" / "checkpoint-1200" / "complete.json"
        if mark.exists():
            return
        mark.parent.mkdir(parents=True)
        mark.write_text("{}")
        raise error

    asked: Any = {"label": "SFT", "revision": 1, "config": SFT, "inputs": {}, "work": work}
    with pytest.raises(StageError) as caught:
        session.stage("sft", **asked)
    assert str(caught.value).startswith("`SFT` must fit the memory of this machine, it ran out: set `gradient_ch")
    assert str(caught.value).endswith(
        "; the checkpoint of step 1,200 is kept: unchanged settings go on from it, changed ones begin anew"
    )
    assert not session.stage("sft", **asked).reused


def test_other_errors_of_a_device_and_of_us_are_told_apart(tmp_path: Path) -> None:
    def raised(error: Exception) -> Exception:
        try:
            with told_in_a_sentence("Generate", settings={}, folder=tmp_path):
                raise error
        except (ScreentestError, RuntimeError) as err:
            return err

    image = raised(RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore"))
    assert isinstance(image, UnavailableError)
    assert str(image).startswith("`Generate` needs a GPU that this torch can use: CUDA error: no kernel image")
    assert "more" not in str(image)
    assert "what is done so far is kept" in str(raised(SHORT))
    shapes = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert raised(shapes) is shapes


def test_what_counts_as_memory_running_out() -> None:
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
