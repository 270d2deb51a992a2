"""Each check of the training audit, on trainings written as the stages write them, with one thing wrong at a time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import tiny_checkpoint, tiny_tokenizer
from preference_data import pair, pairs_folder, prepared_sample
from safetensors.torch import save_file

from harness.experiment.lineage import Training
from harness.reporting.record import AuditRow
from harness.store.prepared import read_prompts, read_summary
from harness.store.tracking import StageResult, Tracking
from harness.types import Adapter, BaseModel, Variant
from pipelines.training import training_audit as audit
from pipelines.training.training_audit import training_audit

BASE = BaseModel(source="tiny", revision=None, digest="b" * 64, family="tiny")
REFERENCE = {"parent": "parent", "n_pairs": 8, "largest_log_ratio": 0.0, "tolerance": 1e-3, "n_tensors": 28}
NOISE = {"alpha": 5.0, "applied": 0.009, "unpacked": 0.02}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> StageResult:
    folder = prepared_sample(tmp_path_factory.mktemp("prepared"), tiny_checkpoint(tmp_path_factory.mktemp("base")))
    return StageResult(
        name="prepare", run_id="r", source_run_id="r", reused=False, folder=folder, digest="d", fingerprint="f",
        seconds=1.0, inputs={},
    )  # fmt: skip


class World:
    """Trainings by adapter name, in the place of the registry."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, prepared: StageResult) -> None:
        self.folder, self.prepared = folder, prepared
        self.trainings: dict[str, Training] = {}
        self.variants: list[Variant] = []
        self.pairs: Path | None = pairs_folder(folder / "pairs")
        monkeypatch.setattr(audit, "training_of", lambda tracking, adapter: self.trainings.get(adapter.name))
        monkeypatch.setattr(audit, "load_tokenizer", lambda base: tiny_tokenizer())
        monkeypatch.setattr(audit, "pairs_behind", lambda tracking, training: self.pairs)

    def add(self, name: str, *, stage: str, record: dict[str, Any], settings: dict[str, Any], weight: float = 0.3,
            digest: str | None = None, parent: str | None = None) -> None:  # fmt: skip
        folder = self.folder / name
        (folder / "adapter").mkdir(parents=True)
        tensors = {"x.lora_A.weight": torch.ones(2, 2), "x.lora_B.weight": torch.full((2, 2), weight)}
        save_file(tensors, folder / "adapter" / "adapter_model.safetensors")
        inputs = {"prepared": self.prepared.digest} | ({} if stage == "sft" else {"pairs": "p" * 64})
        self.trainings[name] = Training(stage=stage, folder=folder, record=record, settings=settings, inputs=inputs)
        adapter = Adapter(name=name, version="1", path="", digest=digest or name, base=BASE, parent=parent)
        said = read_summary(self.prepared.folder).system
        self.variants.append(Variant(name=name, kind="model", base=BASE, adapter=adapter, system=said))

    def sft(self, name: str, *, record: dict[str, Any] | None = None, settings: dict[str, Any] | None = None,
            **more: Any) -> None:  # fmt: skip
        usual = {
            "padding_share": 0.0, "validation_loss_before": 4.0, "validation_loss": 3.7, "best_step": 9,
            "n_planned_steps": 9, "neftune": NOISE, "attention": "sdpa", "n_tokens": 15_900, "n_loss_tokens": 3_000,
            "seed": 0,
        }  # fmt: skip
        asked = {"neftune_alpha": 5.0, "data": {"pack_tokens": 512}, "seed": 0}
        self.add(name, stage="sft", record=usual | (record or {}), settings=asked | (settings or {}), **more)

    def dpo(self, name: str, *, record: dict[str, Any] | None = None, stage: str = "dpo", **more: Any) -> None:
        usual = {
            "reference": REFERENCE,
            "heldout": {"reward_margin": 0.2, "reward_accuracy": 0.8, "kl": 0.01},
            "reply_tokens_before": 9.0, "reply_tokens": 11.0, "n_validation_pairs": 12, "attention": "sdpa",
            "n_pairs": 48, "n_steps": 6, "seed": 0,
        }  # fmt: skip
        settings = {"data": {"pairs_per_pack": 4}, "loss": {"type": stage}, "seed": 0}
        more = {"parent": "parent"} | more
        self.add(name, stage=stage, record=usual | (record or {}), settings=settings, **more)

    def rows(self) -> tuple[AuditRow, ...]:
        return training_audit(Tracking(), self.variants, prepared=self.prepared)

    def failed(self) -> list[str]:
        return [row.label for row in self.rows() if row.is_passed is False]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: StageResult) -> World:
    return World(tmp_path, monkeypatch, prepared)


def test_arms_that_differ_as_they_should_pass_every_check(world: World) -> None:
    world.sft("plain", record={"neftune": None}, settings={"neftune_alpha": None})
    world.sft("noisy")
    world.sft("noisy-1", record={"seed": 1}, settings={"seed": 1})
    world.dpo("preferred")
    world.dpo("control", stage="chosen_sft")
    rows = world.rows()
    assert [row for row in rows if row.is_passed is not True] == []
    labels = " | ".join(row.label for row in rows)
    for part in ("pack alike and attend alike", "as many tokens as each other", "same pairs in as many steps",
                 "differ in seed and in weights", "near a row of VALIDATION", "frozen SFT adapter"):  # fmt: skip
        assert part in labels


@pytest.mark.parametrize(
    ("wrong", "label"),
    [
        ({"record": {"padding_share": 0.1}}, "other: padding is at most 2% of training tokens"),
        ({"record": {"validation_loss": 4.2}}, "other: the adapter moved its validation loss"),
        ({"record": {"neftune": None}}, "other: NEFTune noise per token is what the recipe says"),
        ({"record": {"attention": "eager"}}, "SFT arms pack alike and attend alike"),
        ({"settings": {"data": {"pack_tokens": 256}}}, "SFT arms pack alike and attend alike"),
        ({"record": {"n_tokens": 12_000}}, "SFT arms saw as many tokens as each other, to 1%"),
        ({"record": {"n_loss_tokens": 2_000}}, "SFT arms saw as many tokens as each other, to 1%"),
        ({"weight": 0.0}, "other: the adapter differs from its base"),
    ],
    ids=str,
)
def test_one_wrong_thing_in_an_sft_arm_fails_its_check_alone(wrong: dict[str, Any], label: str, world: World) -> None:
    world.sft("one")
    settings = {"learning_rate": 2} | wrong.pop("settings", {})  # so that the two are not one recipe's seeds
    world.sft("other", settings=settings, **wrong)
    assert world.failed() == [label]


@pytest.mark.parametrize(
    ("wrong", "label"),
    [
        ({"largest_log_ratio": 0.5}, "dpo: the reference is the frozen SFT adapter"),
        ({"parent": "somebody"}, "dpo: the reference is the frozen SFT adapter"),
        ({"n_tensors": 0}, "dpo: the reference is the frozen SFT adapter"),
    ],
    ids=str,
)
def test_another_reference_fails(wrong: dict[str, Any], label: str, world: World) -> None:
    world.dpo("dpo", record={"reference": REFERENCE | wrong})
    assert world.failed() == [label]


def test_a_preference_arm_that_is_its_parent_or_saw_other_pairs_fails(world: World) -> None:
    itself = REFERENCE | {"parent": "same"}
    world.dpo("same", parent="same", digest="same", record={"reference": itself})
    world.dpo("fewer", stage="chosen_sft", record={"n_steps": 5})
    assert world.failed() == [
        "preference arms saw the same pairs in as many steps",
        "same: the adapter differs from its base and parent",
    ]


def test_seeds_that_gave_one_adapter_fail(world: World) -> None:
    world.sft("first", digest="same")
    world.sft("second", record={"seed": 1}, settings={"seed": 1}, digest="same")
    assert world.failed() == ["arms of one recipe differ in seed and in weights"]


def test_a_preference_row_near_test_fails_and_lost_pairs_are_not_checked(world: World) -> None:
    held = next(p for p in read_prompts(world.prepared.folder, "test") if p.reference)
    near = [pair(0), replace(pair(1), prompt=replace(pair(1).prompt, id=held.id))]
    world.dpo("dpo")
    world.pairs = pairs_folder(world.folder / "near", near)
    assert world.failed() == ["dpo: no preference row is near a row of VALIDATION or TEST"]
    world.pairs = None
    assert [row.is_passed for row in world.rows() if "preference row" in row.label] == [None]


def test_a_near_duplicate_left_among_the_training_examples_fails(world: World, tmp_path: Path) -> None:
    import shutil

    from pipelines.corpus.windows import read_examples

    folder = tmp_path / "dirty"
    shutil.copytree(world.prepared.folder, folder)
    left = read_examples(folder, "train")[0].prompt_id
    (folder / "duplicates.json").write_text(json.dumps([{"prompt_id": left, "split": "train"}]))
    world.prepared = replace(world.prepared, folder=folder)
    world.sft("sft")
    assert world.failed() == ["no training example is near a row of VALIDATION or TEST"]
