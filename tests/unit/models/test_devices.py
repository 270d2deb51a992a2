"""A card that torch cannot use is one sentence, told before a CPU does its work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.errors import UnavailableError
from harness.models import devices
from harness.models.devices import gpu_trouble, resolve_device

OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine whose driver names a card; torch is built for CUDA 13.0 and cannot use it."""
    (tmp_path / "0000:01:00.0").mkdir()
    monkeypatch.setattr(devices, "_CARDS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return monkeypatch


def _fails(text: str) -> None:
    raise RuntimeError(text)


def test_an_old_driver_is_named_with_what_it_knows_and_what_torch_wants(card: pytest.MonkeyPatch) -> None:
    card.setattr(torch.cuda, "init", lambda: _fails(OLD))
    found = gpu_trouble()
    assert found is not None
    assert found.startswith("the NVIDIA driver is too old: it knows CUDA 11.4, torch")
    assert "is built for CUDA 13.0; update the driver, or install a torch built for CUDA 11.4" in found
    with pytest.raises(UnavailableError, match="`device` cuda must be there to be used, the NVIDIA driver is too old"):
        resolve_device("cuda")


@pytest.mark.parametrize(
    ("cuda", "error", "hidden", "told"),
    [
        ("13.0", "CUDA unknown error\nmore", None, "torch {} cannot use the NVIDIA card: CUDA unknown error"),
        (None, OLD, None, "there is an NVIDIA card, and torch {} is built for CPUs alone: install a CUDA build"),
        ("13.0", OLD, "", None),
        ("13.0", OLD, "-1", None),
    ],
)
def test_any_other_trouble_is_told_and_a_card_that_is_hidden_on_purpose_is_none(
    card: pytest.MonkeyPatch, cuda: str | None, error: str, hidden: str | None, told: str | None
) -> None:
    card.setattr(torch.version, "cuda", cuda)
    card.setattr(torch.cuda, "init", lambda: _fails(error))
    if hidden is not None:
        card.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert gpu_trouble() == (told and told.format(torch.__version__))


def test_a_card_that_works_and_a_machine_without_one_are_no_trouble(card: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card.setattr(torch.cuda, "init", lambda: None)
    assert gpu_trouble() is None
    card.setattr(devices, "_CARDS", tmp_path / "none")
    card.setattr(torch.cuda, "init", lambda: _fails(OLD))
    assert gpu_trouble() is None
    with pytest.raises(UnavailableError, match="this machine has none"):
        resolve_device("cuda")


def test_doctor_and_session_tell(card: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pipelines.cli.doctor import _device
    from pipelines.cli.session import open_session

    card.setattr(torch.cuda, "init", lambda: _fails(OLD))
    card.setenv("SCREENTEST_HOME", str(tmp_path / "home"))
    assert _device().advice.startswith("the NVIDIA driver is too old")
    open_session()
    assert "the CPU is used: the NVIDIA driver is too old" in " ".join(capsys.readouterr().err.split())
