"""The adapters' door with files that lie, are damaged or absurd: `AdapterFiles` or one sentence, nothing else."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from harness.doors.adapters import AdapterFiles, adapter_digest, open_adapter_files
from harness.errors import InputError

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "base_model_name_or_path": "embedded",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj"],
    "auto_mapping": {"base_model_class": "os.system", "parent_library": "os"},
    "runtime_config": {"ephemeral_gpu_offload": True},
    "some_future_setting": None,
    "another_future_setting": [],
}
PAIR = {f"{LAYER}.lora_A.weight": np.ones((4, 6), np.float32), f"{LAYER}.lora_B.weight": np.ones((8, 4), np.float32)}


def _folder(folder: Path, tensors: dict[str, Any] = PAIR, /, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def _raw(folder: Path, header: object, data: bytes = b"", *, length: int | None = None) -> Path:
    """A safetensors file whose header says whatever it is told to."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = struct.pack("<Q", len(text) if length is None else length)
    (_folder(folder) / "adapter_model.safetensors").write_bytes(size + text + data)
    return folder


def _tensor(dtype: str, shape: list[int], *offsets: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def test_an_ordinary_folder_is_read_without_its_code_names(tmp_path: Path) -> None:
    found = open_adapter_files(_folder(tmp_path / "film"))
    assert found == AdapterFiles(
        name="film", folder=tmp_path / "film", digest=adapter_digest(tmp_path / "film"), settings=found.settings,
        shapes={f"{LAYER}.lora_A.weight": (4, 6), f"{LAYER}.lora_B.weight": (8, 4)},
    )  # fmt: skip
    assert found.settings.lora == {key: CONFIG[key] for key in list(CONFIG)[1:5]}
    assert (found.settings.base, found.settings.residual, found.beyond()) == ("embedded", None, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"r": "8"}, "`r` of `a` must be a whole number"),
        ({"r": 4.0}, "`r` of `a` must be a whole number"),
        ({"r": True}, "`r` of `a` must be a whole number"),
        ({"r": -4}, "`r` of `a` must be a whole number"),
        ({"r": 10**30}, "`r` of `a` must be a whole number"),
        ({"r": 60000}, "of the ranks in its settings"),
        ({"rank_pattern": {"q_proj": 40000}}, "of the ranks in its settings"),
        ({"lora_alpha": 0}, "`lora_alpha` of `a` must be a number above 0"),
        ({"lora_alpha": float("nan")}, "a number must be finite"),
        ({"lora_alpha": float("inf")}, "a number must be finite"),
        ({"alpha_pattern": {"q_proj": 0}}, "`alpha_pattern` of `a`"),
        ({"alpha_pattern": ["q_proj"]}, "`alpha_pattern` of `a`"),
        ({"lora_dropout": 1}, "`lora_dropout` of `a`"),
        ({"use_dora": "yes"}, "`use_dora` of `a`"),
        ({"use_dora": True}, "must hold 1 tensors `lora_magnitude_vector`"),
        ({"lora_bias": True}, "must hold 1 tensors `lora_B.bias`"),
        ({"target_modules": "(a+)+$"}, "`target_modules` of `a`"),
        ({"target_modules": "(" * 4000}, "`target_modules` of `a`"),
        ({"target_modules": ".*" * 20}, "`target_modules` of `a`"),
        ({"target_modules": {"q": 1}}, "`target_modules` of `a`"),
        ({"rank_pattern": {"(a|a)*b": 4}}, "`rank_pattern` of `a`"),
        ({"modules_to_save": ["a|b"]}, "`modules_to_save` of `a`"),
        ({"layers_to_transform": [-1]}, "`layers_to_transform` of `a`"),
        ({"trainable_token_indices": {"embed_tokens": "5"}}, "`trainable_token_indices` of `a`"),
        ({"base_model_name_or_path": ["x"]}, "`base_model_name_or_path` of `a`"),
        ({"base_model_name_or_path": "a\0b"}, "`base_model_name_or_path` must be text"),
        ({"bias": "lora_only"}, "`bias` of `a` must be `none`"),
        ({"task_type": "SEQ_CLS"}, "`task_type` of `a` must be CAUSAL_LM"),
        ({"peft_type": ["LORA"]}, "must be a LoRA adapter"),
        ({"init_lora_weights": "unheard of"}, "`init_lora_weights` of `a`"),
        ({"init_lora_weights": {"pissa": 1}}, "`init_lora_weights` of `a`"),
        ({"some_future_setting": "on"}, "`some_future_setting` of `a` must be off"),
        *[
            ({key: value}, f"`{key}` of `a` must be off")
            for key, value in {
                "layer_replication": [[0, 1]],
                "alora_invocation_tokens": [1],
                "use_qalora": True,
                "kasa_config": {"rank": 1},
                "target_parameters": ["experts"],
                "ensure_weight_tying": True,
                "megatron_config": {"x": 1},
            }.items()
        ],
    ],
)
def test_a_setting_that_is_wrong_or_not_known_is_refused(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(InputError) as caught:
        open_adapter_files(_folder(tmp_path / "a", **changes))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"null", b"{", b"\xff\xfe{}", b'{"r": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"r": ' + b"9" * 5000 + b"}", b" " * (5 * 2**20),
    ],
    ids=["empty", "list", "null", "torn", "utf-16", "deep", "digits", "large"],
)  # fmt: skip
def test_a_damaged_configuration_is_one_sentence(tmp_path: Path, text: bytes) -> None:
    (_folder(tmp_path / "a") / "adapter_config.json").write_bytes(text)
    with pytest.raises(InputError):
        open_adapter_files(tmp_path / "a")


A = f"{LAYER}.lora_A.weight"


@pytest.mark.parametrize(
    ("header", "data", "length"),
    [
        ({A: _tensor("F32", [4, 6], 0, 96)}, b"", None),  # truncated
        ({A: _tensor("F32", [4, 6], 0, 96)}, bytes(200), None),  # more than it says
        ({A: _tensor("F32", [4, 6], 0, 96), "b": _tensor("F32", [4, 6], 0, 96)}, bytes(96), None),  # overlapping
        ({A: _tensor("F32", [2**40, 2**40], 0, 96)}, bytes(96), None),  # a product that overflows
        ({A: _tensor("F32", [4, -6], 0, 96)}, bytes(96), None),
        ({A: _tensor("F32", [4, 6], 96, 0)}, bytes(96), None),
        ({A: _tensor("I64", [4, 3], 0, 96)}, bytes(96), None),
        ({A: _tensor("F8_E4M3", [4, 24], 0, 96)}, bytes(96), None),
        ({A: _tensor("O", [4, 6], 0, 96)}, bytes(96), None),
        ({A: "F32"}, b"", None),
        (b"\x80\x04pickle", b"", None),
        (b"[" * 100_000, b"", None),
        (b"{}", b"", 2**62),
        (b"{}", b"", 99_999_999),
        (b"{}", b"", None),
        (b'{"%s": {}, "%s": {}}' % (A.encode(), A.encode()), b"", None),
    ],
)
def test_a_safetensors_header_that_lies_is_one_sentence(
    tmp_path: Path, header: object, data: bytes, length: int | None
) -> None:
    with pytest.raises(InputError):
        open_adapter_files(_raw(tmp_path / "a", header, data, length=length))


@pytest.mark.parametrize(
    "tensors",
    [
        {A: PAIR[A]},
        PAIR | {A: np.ones((4, 6, 1), np.float32)},
        PAIR | {A: np.ones((2, 6), np.float32)},
        PAIR | {A: np.ones((4, 0), np.float32)},
        PAIR | {"model.layers.0.lora_A.weight": np.ones((4, 4), np.float32)},
        PAIR | {f"{LAYER}.lora_B.bias": np.ones(8, np.float32)},
        PAIR | {f"{LAYER}.lora_magnitude_vector": np.ones(8, np.float32)},
        {"base_model.model.lm_head.weight": np.ones((8, 4), np.float32)},
    ],
)
def test_matrices_that_make_no_pairs_are_refused(tmp_path: Path, tensors: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        open_adapter_files(_folder(tmp_path / "a", tensors))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, kind: Any) -> None:
    for wrong in (np.nan, np.inf, -np.inf, 1e300 if kind is np.float64 else np.inf):
        spoilt = PAIR[A].astype(kind)
        spoilt[3, 5] = wrong
        with pytest.raises(InputError, match="must hold finite weights"):
            open_adapter_files(_folder(tmp_path / "a", PAIR | {A: spoilt})).read_weights()


@pytest.mark.parametrize(
    "pattern",
    [
        r".*\.layers\.(0|1|17)\.(self_attn|mlp)\.(q|v)_proj",
        r"(?:.*?(?:language|text).*?(?:self_attn|attn|mlp).*?(?:q_proj|down_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:mlp))",
        r"^(?!.*vision)(model\.)?layers\.\d+\.\w+\.q_proj$",
    ],
)
def test_regular_expressions_that_trainers_write_are_taken(tmp_path: Path, pattern: str) -> None:
    assert (
        open_adapter_files(_folder(tmp_path / "a", target_modules=pattern)).settings.lora["target_modules"] == pattern
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        *("peft_type", "r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "rank_pattern", "bias"),
        *("alpha_pattern", "modules_to_save", "layers_to_transform", "layers_pattern", "trainable_token_indices"),
        *("use_dora", "use_rslora", "lora_bias", "fan_in_fan_out", "init_lora_weights", "task_type", "revision"),
        *("base_model_name_or_path", "loftq_config", "auto_mapping", "layer_replication", "of the future"),
    ]
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(KEYS, JSON, min_size=1, max_size=3))
def test_any_configuration_opens_or_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with contextlib.suppress(InputError):
        open_adapter_files(_folder(tmp_path / "a", **changes))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_of_weights_open_or_are_refused(tmp_path: Path, data: st.DataObject) -> None:
    file = _folder(tmp_path / "a") / "adapter_model.safetensors"
    raw = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw)
    with contextlib.suppress(InputError):
        open_adapter_files(tmp_path / "a").read_weights()
