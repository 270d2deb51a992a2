"""What a process has held at most is its own, not that of the process which started it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from stories import REPOSITORY

from harness.models.memory import peak_bytes, peak_of_stages
from harness.settings import Settings
from harness.store.tracking import Tracking

BYTES = 400_000_000


def test_a_child_of_a_large_process_counts_its_own_memory_alone():
    held = np.ones(BYTES, dtype=np.uint8)
    mine = peak_bytes()
    assert mine >= held.nbytes
    words = "from harness.models.memory import peak_bytes; print(peak_bytes())"
    child = subprocess.run([sys.executable, "-c", words], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert 0 < int(child.stdout) < BYTES


def test_the_peak_stays_when_memory_is_given_back():
    np.ones(BYTES, dtype=np.uint8)
    before = peak_bytes()
    assert before >= BYTES
    assert peak_bytes() >= before


@pytest.mark.skipif(sys.platform != "linux", reason="Linux names processes in bytes")
def test_a_process_whose_name_is_cut_within_a_character_is_counted():
    words = (
        "from pathlib import Path; from harness.models.memory import peak_bytes; "
        "Path('/proc/self/comm').write_bytes('ray::SFT none · 1'.encode()); print(peak_bytes())"
    )
    child = subprocess.run([sys.executable, "-c", words], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert int(child.stdout) > 0


def test_without_stages_the_peak_is_this_process_own(tmp_path):
    tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(tmp_path)}))
    assert peak_of_stages(tracking, []) == peak_bytes()
