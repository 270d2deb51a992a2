from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from fakes import tiny_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from harness.doors.adapters import adapter_digest
from harness.errors import InputError, IntegrityError
from harness.models.attaching import require_fit
from harness.models.bases import resolve_base
from harness.models.local import LocalModel
from harness.registry import open_adapter
from harness.types import Adapter, BaseModel


@pytest.fixture
def adapter(tmp_path: Path, tiny_adapters: tuple[Adapter, ...]) -> Adapter:
    """A copy that a test may spoil."""
    folder = shutil.copytree(tiny_adapters[0].path, tmp_path / "copy")
    return dataclasses.replace(tiny_adapters[0], path=str(folder))


def _resealed(adapter: Adapter) -> Adapter:
    return dataclasses.replace(adapter, digest=adapter_digest(Path(adapter.path)))


def _with_config(adapter: Adapter, **changes: object) -> Adapter:
    path = Path(adapter.path) / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return _resealed(adapter)


def test_adding_twice_is_adding_once(tiny_base: BaseModel, adapter: Adapter) -> None:
    model = LocalModel.load(tiny_base)
    assert model.add_adapter(adapter) == model.add_adapter(adapter)
    assert len(model.adapters) == 1
    with pytest.raises(InputError, match="must name one adapter"):
        model.add_adapter(dataclasses.replace(adapter, digest="0" * 64), name=model.adapters[0])


def test_a_changed_file_is_refused(tiny_base: BaseModel, adapter: Adapter) -> None:
    config = Path(adapter.path) / "adapter_config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(IntegrityError, match="must have the digest on record"):
        LocalModel.load(tiny_base).add_adapter(adapter)


@pytest.mark.parametrize("name", ["training_args.bin", "adapter_model.bin", "optimizer.pt", "code.py", "deep/x.pkl"])
def test_what_lies_beside_an_adapter_is_neither_read_nor_digested(
    tiny_base: BaseModel, adapter: Adapter, name: str
) -> None:
    path = Path(adapter.path) / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to("/nowhere")  # whoever opened it would fail
    assert adapter_digest(Path(adapter.path)) == adapter.digest
    assert LocalModel.load(tiny_base).add_adapter(adapter)


def test_pickled_weights_alone_are_refused(tiny_base: BaseModel, adapter: Adapter) -> None:
    weights = Path(adapter.path) / "adapter_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(InputError, match=r"pickled adapter_model.bin is never loaded; .*save_pretrained\(new\)"):
        LocalModel.load(tiny_base).add_adapter(_resealed(adapter))


@pytest.mark.parametrize(
    ("changes", "reason"), [({"peft_type": "IA3"}, "must be a LoRA"), ({"bias": "all"}, "must be `none`")]
)
def test_another_kind_of_adapter_is_refused(
    tiny_base: BaseModel, adapter: Adapter, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        LocalModel.load(tiny_base).add_adapter(_with_config(adapter, **changes))


def test_a_load_that_fails_leaves_every_module_and_weight_as_it_was(
    tiny_base: BaseModel, adapter: Adapter, tiny_adapters: tuple[Adapter, ...]
) -> None:
    """Half of the layers have been wrapped when PEFT meets one that it cannot wrap."""
    wrong = _with_config(adapter, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "input_layernorm"])
    model = LocalModel.load(tiny_base)
    for names in ((), ("a",), ("a", "b")):
        for name, known in zip(names, tiny_adapters, strict=False):
            model.add_adapter(known, name=name)
        before = _state(model)
        with pytest.raises(InputError, match="must fit the base model's layers"):
            model.add_adapter(wrong)
        assert _state(model) == before
        assert model.adapters == names


def _state(model: LocalModel) -> list[tuple[str, str, list[str]]]:
    """Modules by name with their class and attributes, and the weights in them."""
    root = model.bank._peft if model.adapters else model.bank._bare
    modules = [(name, type(m).__name__, sorted(vars(m))) for name, m in root.named_modules()]
    return modules + [(n, str(id(p)), [str(p.requires_grad), str(p.tolist())]) for n, p in root.named_parameters()]


def test_a_base_that_was_changed_while_loading_is_not_used_again(
    tiny_base: BaseModel, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place through `.data`, which leaves no trace in PyTorch; as OLoRA does it."""
    import peft

    model = LocalModel.load(tiny_base)

    def spoil(root: torch.nn.Module, *_: object, **__: object) -> None:
        next(root.parameters()).data -= 1e-3

    monkeypatch.setattr(peft, "set_peft_model_state_dict", spoil)
    for _ in range(2):
        with pytest.raises(IntegrityError, match="must leave the weights of the base"):
            model.add_adapter(adapter)
    with model.bank.borrowed(), pytest.raises(IntegrityError, match="load the base again"):
        model.bank.forward([None], input_ids=torch.tensor([[5]]))


def test_another_base_is_refused(tiny_base: BaseModel, adapter: Adapter, tmp_path: Path) -> None:
    other = resolve_base(str(tiny_checkpoint(tmp_path / "other", seed=9)))
    with pytest.raises(InputError, match="must run on its own base"):
        LocalModel.load(other).add_adapter(adapter)


@pytest.mark.parametrize("changes", [{"r": 5}, {"target_modules": ["q_proj"]}, {"target_modules": ["nobody"]}])
def test_weights_that_do_not_fit_the_layers_are_refused(
    tiny_base: BaseModel, adapter: Adapter, changes: dict[str, object]
) -> None:
    with pytest.raises(InputError, match=r"must fit the base model's|must hold a weight for each|of the ranks in"):
        LocalModel.load(tiny_base).add_adapter(_with_config(adapter, **changes))


def test_a_folder_without_config_is_refused(tiny_base: BaseModel, tmp_path: Path) -> None:
    empty = Adapter(name="x", version=None, path=str(tmp_path), digest="", base=tiny_base)
    with pytest.raises(InputError, match=r"with adapter_config.json, got none"):
        LocalModel.load(tiny_base).add_adapter(empty)


HOSTILE: dict[str, st.SearchStrategy[object]] = {
    "target_modules": st.sampled_from(
        [["q_proj"], [], "all-linear", ".*", "embed_tokens", ["norm"], ["lm_head"], ["rotary_emb"], ["0"], ["weight"]]
    ),
    "exclude_modules": st.sampled_from([["q_proj"], ".*", "all-linear"]),
    "modules_to_save": st.sampled_from([["lm_head"], ["embed_tokens"], ["layers"], ["nobody"], ["q_proj"], ["model"]]),
    "layers_to_transform": st.sampled_from([0, [0, 1], [99], []]),
    "layers_pattern": st.sampled_from(["layers", "nobody", ["layers"]]),
    "trainable_token_indices": st.sampled_from([[0], [10**6], {"nobody": [0]}, {"q_proj": [0]}, [], {}]),
    "rank_pattern": st.sampled_from([{"q_proj": 3}, {".*": 4}, {"nobody": 1}]),
    "use_dora": st.booleans(),
    "lora_bias": st.booleans(),
    "fan_in_fan_out": st.booleans(),
    "init_lora_weights": st.sampled_from(["pissa", "olora", "eva", "mica", False]),
}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.fixed_dictionaries({}, optional=HOSTILE))
def test_whatever_the_settings_say_the_base_and_others_stay_bit_for_bit(
    tiny_base: BaseModel, adapter: Adapter, tiny_adapters: tuple[Adapter, ...], changes: dict[str, object]
) -> None:
    original = (Path(adapter.path) / "adapter_config.json").read_text()
    model = LocalModel.load(tiny_base)
    model.add_adapter(tiny_adapters[2], name="dora")
    before, weights = _state(model), {id(p): p.tolist() for p in model.bank._peft.parameters()}
    try:
        name = model.add_adapter(_with_config(adapter, **changes))
    except InputError:
        assert _state(model) == before
    else:
        model.bank.remove(name)
        after = {id(p): p.tolist() for p in model.bank._peft.parameters()}
        assert all(after[key] == values for key, values in weights.items())
    finally:
        (Path(adapter.path) / "adapter_config.json").write_text(original)


def test_a_base_given_by_hand_must_be_the_one_that_is_named(
    tiny_base: BaseModel, adapter: Adapter, tmp_path: Path
) -> None:
    folder = Path(adapter.path)
    other = resolve_base(str(tiny_checkpoint(tmp_path / "other", seed=9)))
    moved = resolve_base(str(shutil.copytree(tiny_base.source, tmp_path / "moved")))
    assert open_adapter(folder).base == open_adapter(folder, base=moved).base == tiny_base
    with pytest.raises(InputError, match="`--base` must be the base that `copy` names"):
        open_adapter(folder, base=other)
    _with_config(adapter, base_model_name_or_path="/gone/base")
    with pytest.raises(InputError, match="give the base itself with --base"):
        open_adapter(folder)
    assert open_adapter(folder, base=moved).base == moved
    _with_config(adapter, base_model_name_or_path="somebody/some-model")
    assert open_adapter(folder, base=moved).base == moved  # a copy of it, for all that can be known
    with pytest.raises(InputError, match="got `somebody/else`"):
        open_adapter(folder, base=dataclasses.replace(other, source="somebody/else", revision="1" * 40))
    _with_config(adapter, base_model_name_or_path=None)
    with pytest.raises(InputError, match="must name its base"):
        open_adapter(folder)


def test_import_refuses_what_does_not_fit_without_loading_the_base(tiny_base: BaseModel, adapter: Adapter) -> None:
    require_fit(adapter)
    weights = Path(adapter.path) / "adapter_model.safetensors"
    tensors = load_file(weights)
    for strange in (
        "base_model.model.nobody.lora_{}.weight",
        "base_model.model.model.layers.7.mlp.up_proj.lora_{}.weight",
    ):
        save_file(tensors | {strange.format(side): torch.ones(4, 4) for side in "AB"}, weights)
        with pytest.raises(InputError, match="must hold a weight for each of its layers and no other"):
            require_fit(_resealed(adapter))
