from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import tiny_checkpoint
from preference_data import pair, pairs_folder, parent_of, prepared_sample, recipe
from safetensors.torch import load_file
from training_data import largest_difference, weights

from harness.errors import ConfigError, InputError, IntegrityError, SplitError
from harness.models.bases import load_tokenizer, resolve_base
from harness.store.prepared import read_prompts
from harness.types import Adapter, PreferencePair, Split
from pipelines import dpo
from pipelines.preferences.training_order import PairPlan, plan_pairs
from pipelines.training.summary import DpoSummary


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A tiny base, a corpus, an adapter to go on from and pairs."""

    base: Path
    prepared: Path
    parent: Adapter
    pairs: Path

    def train(self, folder: Path, **changes: Any) -> DpoSummary:
        return dpo.run(
            recipe(self.base, **changes), prepared=self.prepared, pairs=self.pairs, parent=self.parent, folder=folder
        )

    def plan(self, pairs: Sequence[PreferencePair]) -> PairPlan:
        return plan_pairs(
            pairs, tokenizer=load_tokenizer(resolve_base(str(self.base))), prepared=self.prepared,
            settings=recipe(self.base).data, n_validation=5, seed=0,
        )  # fmt: skip


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    made = tmp_path_factory.mktemp("lesson")
    base = tiny_checkpoint(made / "base")
    return Lesson(
        base=base, prepared=prepared_sample(made / "prepared", base), parent=parent_of(made / "parent", base),
        pairs=pairs_folder(made / "pairs"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(lesson: Lesson, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    lesson.train(folder)
    return folder


def curve(record: dict[str, Any], name: str) -> dict[int, float]:
    return {point["step"]: point["value"] for point in record["curves"] if point["name"] == name}


# ── what a training leaves ───────────────────────────────────────────────────────────────────────────────────────────


def test_it_learns_the_preference(trained: Path, lesson: Lesson) -> None:
    record = json.loads((trained / "training.json").read_text())
    assert record["heldout"]["reward_margin"] > 0.1
    assert record["heldout"]["reward_accuracy"] == 1.0
    assert record["parent"] == lesson.parent.digest
    assert record["n_pairs"] == 20
    assert record["n_validation_pairs"] == 5
    assert weights(trained).keys() == load_file(Path(lesson.parent.path) / "adapter_model.safetensors").keys()


def test_the_policy_starts_as_the_reference(trained: Path) -> None:
    """At step 0 every log-ratio is 0: the loss is log 2, margin and divergence are 0 (arXiv 2305.18290)."""
    record = json.loads((trained / "training.json").read_text())
    assert record["reference"]["largest_log_ratio"] == 0
    assert record["reference"]["n_tensors"] == 28  # 7 linear layers in each of 2 blocks, two matrices each
    assert curve(record, "validation/loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert curve(record, "train/loss")[1] == pytest.approx(math.log(2), abs=1e-6)
    for name in ("reward_margin", "chosen_log_ratio", "rejected_log_ratio", "kl"):
        assert curve(record, f"validation/{name}")[0] == 0
    assert curve(record, "validation/reward_accuracy")[0] == 0.5  # all ties
    assert curve(record, "validation/kl")[record["n_steps"]] > 0


def test_held_out_figures_are_those_of_the_saved_adapter(trained: Path, lesson: Lesson) -> None:
    """Loss, margin and divergence, recomputed with transformers and PEFT alone, each reply in a row of its own."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from pipelines.preferences.pair_files import read_pairs

    plan = lesson.plan(read_pairs(lesson.pairs))

    def logps(folder: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(lesson.base), folder).eval()
        found = []
        for ids in plan.validation:
            for reply in (ids.chosen, ids.rejected):
                row = torch.tensor([(*ids.prompt, *reply)])
                with torch.no_grad():
                    at = torch.log_softmax(model(row).logits[0, len(ids.prompt) - 1 : -1], dim=-1)
                found.append((at, at.gather(1, torch.tensor(reply)[:, None]).sum()))
        return found

    policy, reference = logps(trained / "adapter"), logps(Path(lesson.parent.path))
    ratios = torch.stack([p[1] - r[1] for p, r in zip(policy, reference, strict=True)])
    gaps = ratios[0::2] - ratios[1::2]
    divergence = [(p[0].exp() * (p[0] - r[0])).sum() for p, r in zip(policy, reference, strict=True)]
    n_tokens = sum(len(p[0]) for p in policy)
    heldout = json.loads((trained / "training.json").read_text())["heldout"]
    assert heldout["reward_margin"] == pytest.approx(0.1 * float(gaps.mean()), abs=1e-4)
    assert heldout["loss"] == pytest.approx(float(-torch.nn.functional.logsigmoid(0.1 * gaps).mean()), abs=1e-5)
    assert heldout["kl"] == pytest.approx(float(sum(divergence)) / n_tokens, abs=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss__type": "ipo"},
        {"loss__ld_alpha": 0.3},
        {"loss__type": "sft"},
        {"quantization": "nf4"},
        {"gradient_checkpointing": True},
        {"validation__keep": "best"},
    ],
    ids=str,
)
def test_every_setting_trains(changes: dict[str, Any], lesson: Lesson, tmp_path: Path) -> None:
    summary = lesson.train(tmp_path, **changes)
    assert summary.heldout.reward_margin > 0
    assert summary.validation_loss < summary.validation_loss_before
    assert all(tensor.dtype == torch.float32 for tensor in weights(tmp_path).values())


@pytest.mark.parametrize(
    ("apart", "together"),
    [
        ({"data__pairs_per_pack": 1, "optimizer__packs_per_step": 4},
         {"data__pairs_per_pack": 4, "optimizer__packs_per_step": 1}),
        ({"optimizer__packs_per_pass": 1}, {"optimizer__packs_per_pass": 2}),
    ],
    ids=["pairs of a row", "packs of a pass"],
)  # fmt: skip
def test_pairs_that_share_a_pass_train_as_pairs_by_themselves(
    apart: dict[str, Any], together: dict[str, Any], lesson: Lesson, tmp_path: Path
) -> None:
    """Four pairs a step, together or not: the same gradient, so the same adapter to rounding."""
    for name, changes in (("apart", apart), ("together", together)):
        summary = lesson.train(tmp_path / name, **changes, data__epochs=1)
        assert summary.packs_per_pass == changes.get("optimizer__packs_per_pass", 1)
    assert largest_difference(tmp_path / "apart", tmp_path / "together") < 1e-3


def test_a_base_whose_attention_follows_no_tree_is_refused(lesson: Lesson, tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "base", kind="qwen2")
    config = json.loads((folder / "config.json").read_text())
    config |= {"use_sliding_window": True, "sliding_window": 4, "layer_types": ["sliding_attention"] * 2}
    (folder / "config.json").write_text(json.dumps(config))
    parent = parent_of(tmp_path / "parent", folder)
    with pytest.raises(ConfigError, match=r"what a row of its own gives it, got log-probabilities .* nats"):
        replace(lesson, base=folder, parent=parent).train(tmp_path / "out")


def test_the_control_differs_from_dpo_in_its_loss_alone(lesson: Lesson) -> None:
    chosen = recipe(lesson.base)
    control = chosen.as_control()
    differing = {key for key, value in control.model_dump().items() if value != chosen.model_dump()[key]}
    assert differing == {"name", "loss"}
    assert control.loss.type == "sft"


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_parent_of_another_base_is_refused(lesson: Lesson, tmp_path: Path) -> None:
    other = tiny_checkpoint(tmp_path / "other", seed=1)
    stranger = parent_of(tmp_path / "stranger", other)
    with pytest.raises(InputError, match="`parent` must be an adapter of the recipe's base"):
        replace(lesson, parent=stranger).train(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_parent_whose_files_were_altered_is_refused(lesson: Lesson, tmp_path: Path) -> None:
    altered = replace(lesson, parent=replace(lesson.parent, digest="0" * 64))
    with pytest.raises(IntegrityError, match="must have the digest on record"):
        altered.train(tmp_path)


def test_a_policy_must_start_as_the_reference(lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.training import preference_trainer

    real = preference_trainer.active_adapter

    def wrong(model: Any, name: str) -> Any:  # the bare base answers in the reference's place: the usual mistake
        return model.disable_adapter() if name == preference_trainer.REFERENCE else real(model, name)

    monkeypatch.setattr(preference_trainer, "active_adapter", wrong)
    with pytest.raises(IntegrityError, match="at step 0 every log-ratio must be 0, got"):
        lesson.train(tmp_path)


def test_a_reference_with_other_weights_than_the_parents_file_is_refused(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = parent_of(tmp_path / "other", lesson.base, seed=5)
    real = vars(dpo)["attach_adapter"]
    monkeypatch.setattr(dpo, "attach_adapter", lambda model, adapter: real(model, other))
    with pytest.raises(IntegrityError, match="must have the 28 tensors of the parent adapter, got 0 that are the same"):
        lesson.train(tmp_path / "out")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_pairs_near_a_held_out_row_are_refused(split: Split, lesson: Lesson, tmp_path: Path) -> None:
    held = max(read_prompts(lesson.prepared, split), key=lambda prompt: len((prompt.reference or "").split()))
    near = pair(1, rejected=f"{held.reference} Well?")
    folder = pairs_folder(tmp_path / "pairs", [pair(0), near])
    with pytest.raises(SplitError, match=f"`p1` has nearly the same reply as `{held.id}` of {split}"):
        replace(lesson, pairs=folder).train(tmp_path / "out")
    itself = pair(2, prompt=replace(pair(2).prompt, id=held.id))
    with pytest.raises(SplitError, match=f"`{held.id}` is `{held.id}` of {split}"):
        replace(lesson, pairs=pairs_folder(tmp_path / "own", [itself])).train(tmp_path / "out")


def test_too_few_films_to_hold_any_out_are_refused(lesson: Lesson, tmp_path: Path) -> None:
    folder = pairs_folder(tmp_path / "pairs", [pair(row) for row in (0, 6, 12)])  # one film
    with pytest.raises(
        ConfigError, match=r"`validation.n_pairs` must leave clusters to train on, got 5 for 3 pairs of 1"
    ):
        replace(lesson, pairs=folder).train(tmp_path / "out")


# ── the plan ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_held_out_pairs_are_of_films_of_their_own_and_long_pairs_are_counted(lesson: Lesson) -> None:
    plan = lesson.plan([*(pair(row) for row in range(30)), pair(31, chosen="x" * 300)])
    assert plan.n_too_long == 1
    assert {p.cluster for p in plan.train} & {p.cluster for p in plan.validation} == set()
    seen = [row for pack in plan.packs for row in pack]
    assert sorted(seen) == sorted([*range(20), *range(20)])  # two epochs of 20 pairs
    assert seen[:20] != seen[20:]
    assert len({p.cluster for p in plan.train}) == 5
