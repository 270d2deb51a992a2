"""Kinds of LoRA that PEFT writes: each answers as in plain PEFT and changes nothing else, or is refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import tiny_adapter, tiny_model, tiny_tokenizer

from harness.errors import InputError
from harness.models.bases import resolve_base
from harness.models.local import LocalModel
from harness.models.merging import save_merged
from harness.registry import open_adapter
from harness.types import BaseModel

IDS = torch.tensor([[5, 40, 77, 5, 120, 200, 33, 9], [90, 91, 5, 77, 60, 61, 62, 63]])
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
PLAIN: dict[str, dict[str, Any]] = {
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "mica": {"init_lora_weights": "mica"},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "patterns": {"rank_pattern": {"q_proj": 2, r"layers\.1\.self_attn\.k_proj": 6}, "alpha_pattern": {"v_proj": 3}},
    "rslora-patterns": {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
    "one-layer": {"layers_to_transform": 0},
    "layers": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "regex": {"target_modules": r".*\.layers\.[01]\.(self_attn|mlp)\.(q_proj|down_proj)"},
    "all-linear": {"target_modules": "all-linear", "exclude_modules": ["k_proj"]},
    "default-targets": {"target_modules": None},
    "head": {"modules_to_save": ["lm_head"]},
    "embeddings": {"modules_to_save": ["embed_tokens"]},
    "norms": {"modules_to_save": ["norm", "input_layernorm"]},
    "both": {"modules_to_save": ["embed_tokens", "lm_head"], "use_dora": True},
    "lora-on-embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "lora-on-head": {"target_modules": ["lm_head", "q_proj"]},
    "tokens": {"trainable_token_indices": [5, 77]},
    "bias": {"lora_bias": True},
}
RESIDUAL: dict[str, dict[str, Any]] = {
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
    "pissa-dora": {"init_lora_weights": "pissa", "use_dora": True},
    "olora-rslora": {"init_lora_weights": "olora", "use_rslora": True, "rank_pattern": {"q_proj": 2}},
}
NOT_MERGED = {("lora-on-head", "tied")}  # merging writes into the embeddings too


def _checkpoint(folder: Path, *, tied: bool) -> BaseModel:
    model = tiny_model()
    if not tied:
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() * 1.5)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return resolve_base(str(folder))


def _trained(base: BaseModel, folder: Path, *, step: float = 0.1, **settings: Any) -> Path:
    """An adapter that PEFT wrote after all of its own weights moved."""
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's hints about tied weights
        torch.manual_seed(1)
        model = get_peft_model(_bare(base), LoraConfig(**{"r": 4, "target_modules": ATTENTION, **settings}))
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += step * torch.randn_like(parameter)
        model.save_pretrained(str(folder))
    return folder


def _bare(base: BaseModel) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base.source, dtype=torch.float32).eval()


@torch.no_grad()
def _in_peft(base: BaseModel, folder: Path) -> torch.Tensor:
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: torch.Tensor = PeftModel.from_pretrained(_bare(base), folder).eval()(input_ids=IDS).logits
    return found


def _logits(model: LocalModel, *names: str | None) -> torch.Tensor:
    with model.bank.borrowed():
        found: torch.Tensor = model.bank.forward(names, input_ids=IDS).logits
    return found


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return _checkpoint(tmp_path_factory.mktemp("tied"), tied=True)


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return _checkpoint(tmp_path_factory.mktemp("untied"), tied=False)


@pytest.mark.parametrize("head", ["tied", "untied"])
@pytest.mark.parametrize("kind", [*PLAIN, *RESIDUAL])
def test_a_kind_answers_as_in_peft_and_changes_nothing_else(
    kind: str, head: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base: BaseModel = request.getfixturevalue(head)
    folder = _trained(base, tmp_path / "kind", step=0.02 if kind in RESIDUAL else 0.1, **(PLAIN | RESIDUAL)[kind])
    model = LocalModel.load(base)
    plain = model.add_adapter(tiny_adapter(tmp_path / "plain", base))
    before = [_logits(model, None, None), _logits(model, plain, plain), _logits(model, plain, None)]
    state = torch.get_rng_state()
    name = model.add_adapter(open_adapter(folder))
    assert torch.equal(torch.get_rng_state(), state)
    after = [_logits(model, None, None), _logits(model, plain, plain), _logits(model, plain, None)]
    assert all(map(torch.equal, before, after))
    expected = _in_peft(base, folder)
    assert (expected - before[0]).abs().max() > 1e-2
    # Residual starts: both forms agree to 2e-6 in float64; in float32 PEFT's own answer is off by 7e-6 of its float64.
    close = 1e-5 * (max(1.0, float(expected.abs().max())) if kind in RESIDUAL else 1.0)
    torch.testing.assert_close(_logits(model, name, name), expected, atol=close, rtol=1e-5)
    if model.bank.can_mix(name):
        torch.testing.assert_close(_logits(model, name, None)[0], expected[0], atol=close, rtol=1e-5)
    model.bank.remove(name)
    assert all(map(torch.equal, before, [_logits(model, None, None), _logits(model, plain, plain)]))
    first = LocalModel.load(base)  # an empty bank takes another way
    name = first.add_adapter(open_adapter(folder))
    torch.testing.assert_close(_logits(first, name, name), expected, atol=close, rtol=1e-5)
    assert torch.equal(_logits(first, None, None), before[0])


def test_steps_of_a_mixed_batch_are_what_each_row_is_alone_whatever_comes_between(
    tied: BaseModel, tmp_path: Path
) -> None:
    model = LocalModel.load(tied)
    first = model.add_adapter(tiny_adapter(tmp_path / "first", tied))
    alone = {name: _logits(model, name, name) for name in (None, first)}

    def is_right(*names: str | None) -> bool:
        logits = model.bank.forward(names, input_ids=IDS).logits
        return torch.allclose(logits, torch.stack([alone[name][i] for i, name in enumerate(names)]), atol=1e-5)

    with model.bank.borrowed():
        assert is_right(first, None)
        assert is_right(first, None)
        second = model.add_adapter(open_adapter(_trained(tied, tmp_path / "second", target_modules=["down_proj"])))
        assert is_right(first, None)
        assert is_right(None, first)
        model.bank.forward([second, second], input_ids=IDS)
        assert is_right(first, None)
        model.bank.remove(second)
        assert is_right(None, first)
    assert torch.equal(_logits(model, first, first), alone[first])


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """Wide enough for blocks of 64 weights."""
    from transformers import LlamaForCausalLM

    folder = tmp_path_factory.mktemp("wide")
    config = tiny_model().config
    config.hidden_size, config.intermediate_size, config.head_dim = 128, 128, 32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return resolve_base(str(folder))


@pytest.mark.parametrize("kind", ["rslora", "dora", "patterns", "head", "pissa"])
@pytest.mark.parametrize("precision", ["bfloat16", "nf4"])
def test_a_kind_answers_as_in_peft_on_a_base_of_fewer_bits(
    kind: str, precision: str, wide: BaseModel, tmp_path: Path
) -> None:
    from peft import PeftModel

    adapter = open_adapter(_trained(wide, tmp_path / "kind", step=0.02, **(PLAIN | RESIDUAL)[kind]))
    load: Any = {"dtype": "bfloat16"} if precision == "bfloat16" else {"quantization": "nf4"}
    model = LocalModel.load(wide, **load)
    model.add_adapter(open_adapter(_trained(wide, tmp_path / "other")))
    before = _logits(model, None, None)
    if (precision, kind) == ("nf4", "pissa"):
        with pytest.raises(InputError, match="a quantised base"):
            model.add_adapter(adapter)
    else:
        name = model.add_adapter(adapter)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            bare = LocalModel.load(wide, **load).bank._bare
            expected = PeftModel.from_pretrained(bare, adapter.path).eval()(input_ids=IDS).logits
        found = _logits(model, name, name)
        if kind == "pissa":  # PEFT rounds what it leaves of the base to bfloat16
            assert (found - expected).abs().max() < 0.1 * (expected - before).abs().max()
        else:
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(_logits(model, None, None), before)


@pytest.mark.parametrize("start", ["pissa_niter_4", "loftq", "lora_ga", "corda"])
def test_a_start_that_cannot_be_computed_again_is_refused(tied: BaseModel, tmp_path: Path, start: str) -> None:
    import json

    folder = _trained(tied, tmp_path / "kind")
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"init_lora_weights": start}))
    with pytest.raises(InputError, match="path_initial_model_for_weight_conversion"):
        open_adapter(folder)


def test_pissa_that_did_not_start_on_this_base_is_refused(tied: BaseModel, tmp_path: Path) -> None:
    folder = _trained(tied, tmp_path / "far", step=3, init_lora_weights="pissa")
    model = LocalModel.load(tied)
    before = _logits(model, None, None)
    with pytest.raises(InputError, match="computed again"):
        model.add_adapter(open_adapter(folder))
    assert torch.equal(_logits(model, None, None), before)


@pytest.mark.parametrize("kind", ["dora", "rslora-patterns", "pissa", "head", "embeddings", "lora-on-head", "tokens"])
@pytest.mark.parametrize("head", ["tied", "untied"])
def test_a_merged_checkpoint_answers_as_the_adapter_or_is_refused(
    kind: str, head: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base: BaseModel = request.getfixturevalue(head)
    adapter = open_adapter(_trained(base, tmp_path / "kind", step=0.02, **(PLAIN | RESIDUAL)[kind]))
    if (kind, head) in NOT_MERGED:
        with pytest.raises(InputError, match="must answer the same once it is merged"):
            save_merged(adapter, tmp_path / "merged")
        return
    save_merged(adapter, tmp_path / "merged")
    with torch.no_grad():
        found = _bare(resolve_base(str(tmp_path / "merged")))(input_ids=IDS).logits
    torch.testing.assert_close(found, _in_peft(base, tmp_path / "kind"), atol=1e-4, rtol=1e-4)


def test_whole_embeddings_are_left_out_where_they_are_the_bases_own_and_refused_where_not(
    tied: BaseModel, untied: BaseModel, tmp_path: Path
) -> None:
    """PEFT saves them when it thinks that the vocabulary grew, and loads them over the base's."""
    from peft import LoraConfig, get_peft_model

    for number, (base, moved) in enumerate([(tied, False), (untied, False), (tied, True), (untied, True)]):
        model = get_peft_model(_bare(base), LoraConfig(r=4, target_modules=ATTENTION, init_lora_weights=False))
        if moved:
            model.get_input_embeddings().weight.data[5] += 0.3
        model.save_pretrained(str(tmp_path / str(number)), save_embedding_layers=True)
        local = LocalModel.load(base)
        before = _logits(local, None, None)
        adapter = open_adapter(tmp_path / str(number))
        if moved:
            with pytest.raises(InputError, match=r"a whole `(model\.embed_tokens|lm_head)\.weight` of its own"):
                local.add_adapter(adapter)
        else:
            name = local.add_adapter(adapter)
            expected = _in_peft(base, tmp_path / str(number))
            torch.testing.assert_close(_logits(local, name, name), expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(_logits(local, None, None), before)


def test_a_vocabulary_that_grew_is_refused(tied: BaseModel, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    bare = _bare(tied)
    bare.resize_token_embeddings(264)
    settings: Any = {"r": 4, "target_modules": ATTENTION, "init_lora_weights": False}
    more: Any
    for number, more in enumerate([{}, {"modules_to_save": ["embed_tokens", "lm_head"]}]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = get_peft_model(bare, LoraConfig(**settings, **more))
            model.save_pretrained(str(tmp_path / str(number)), save_embedding_layers=not more)
        bare = model.unload()
        local = LocalModel.load(tied)
        with pytest.raises(InputError, match=r"264.*259"):
            local.add_adapter(open_adapter(tmp_path / str(number)))


def test_folders_of_trl_come_in_with_their_pickles_beside_them(tied: BaseModel, tmp_path: Path) -> None:
    """Output folder and checkpoint of SFTTrainer, as they are: training_args.bin, optimizer.pt, rng_state.pth."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    out = tmp_path / "trl"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = SFTTrainer(
            model=_bare(tied),
            args=SFTConfig(
                output_dir=str(out),
                max_steps=1,
                save_steps=1,
                learning_rate=0.1,
                use_cpu=True,
                report_to="none",
                bf16=False,
                per_device_train_batch_size=1,
                disable_tqdm=True,
                dataset_num_proc=None,
            ),
            train_dataset=Dataset.from_list([{"prompt": "hello there", "completion": " you"}] * 2),
            processing_class=tiny_tokenizer(),
            peft_config=LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=ATTENTION, lora_dropout=0.05),
        )
        trainer.train()
        trainer.save_model(str(out))
    for folder in (out, out / "checkpoint-1"):
        assert (folder / "training_args.bin").is_file()
        local = LocalModel.load(tied)
        name = local.add_adapter(open_adapter(folder))
        expected = _in_peft(tied, folder)
        torch.testing.assert_close(_logits(local, name, name), expected, atol=1e-5, rtol=1e-5)
        assert (expected - _logits(local, None, None)).abs().max() > 1e-3
