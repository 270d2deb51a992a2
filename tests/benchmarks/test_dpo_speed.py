"""DPO's speed as ratios measured in one run: our trainer over the loop that one would write by hand.

Both take the same pairs with the reference's log-probabilities computed before.
`pytest tests/benchmarks/test_dpo_speed.py -s` prints the table of docs/training.md.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from preference_data import pairs_folder
from torch.nn.functional import logsigmoid

from harness.config import load_yaml
from harness.models.bases import load_tokenizer, resolve_base
from harness.registry import open_adapter
from harness.seeding import stream
from harness.store.prepared import read_prompts
from harness.types import Adapter, PreferencePair
from pipelines import dpo
from pipelines.corpus import prepare
from pipelines.corpus.prepare import PrepareConfig
from pipelines.preferences.training_order import PairPlan, plan_pairs
from pipelines.training.adapter_files import save_adapter
from pipelines.training.modeling import attach_adapter, attach_lora, load_base, resolve_runtime
from pipelines.training.pair_rows import PairIds
from pipelines.training.recipe import DpoRecipe, LoraSettings

pytestmark = [pytest.mark.model, pytest.mark.slow]

RECIPE = Path(__file__).resolve().parents[2] / "experiments" / "recipes" / "dpo" / "embedded.yaml"
N_PAIRS = 8  # two rows: one optimiser step
ROUNDS = 2  # interleaved; the best of each counts, since other work on the machine only ever slows


def short_recipe() -> DpoRecipe:
    recipe = load_yaml(RECIPE, DpoRecipe)
    few = {"every_steps": 100, "n_pairs": 1, "n_replies": 0}
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"n_pairs": N_PAIRS}),
            "validation": recipe.validation.model_copy(update=few),
        }
    )


def sample_pairs(prepared: Path) -> list[PreferencePair]:
    """Human replies against replies to other prompts: lengths as real pairs have them, without generating any."""
    prompts = [p for p in read_prompts(prepared, "train") if p.reference]
    order = stream(0, "benchmark").permutation(len(prompts)).tolist()
    taken = [prompts[i] for i in order[: 3 * N_PAIRS]]
    return [
        PreferencePair(
            prompt=prompt, chosen=prompt.reference or "", rejected=other.reference or "", margin=None,
            preferred_by="reference",
        )
        for prompt, other in itertools.pairwise(taken)
        if prompt.reference != other.reference
    ]  # fmt: skip


def fresh_parent(recipe: DpoRecipe, folder: Path) -> Adapter:
    base = resolve_base(recipe.base.source)
    model = load_base(base, runtime=resolve_runtime(precision="fp32", attention="sdpa"), quantization="nf4")
    lora = LoraSettings(rank=16, scale=32, dropout=0.0, targets="all-linear", dora=False)
    save_adapter(attach_lora(model, lora, base=base, seed=0), folder)
    return open_adapter(folder, base=base)


def padded(pairs: Sequence[PairIds]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, attention mask and reply mask of chosen rows, then rejected rows, padded on the right."""
    rows = [(p.prompt, p.chosen) for p in pairs] + [(p.prompt, p.rejected) for p in pairs]
    longest = max(len(prompt) + len(reply) for prompt, reply in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    seen, is_reply = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (prompt, reply) in enumerate(rows):
        ids[row, : len(prompt) + len(reply)] = torch.tensor([*prompt, *reply])
        seen[row, : len(prompt) + len(reply)] = 1
        is_reply[row, len(prompt) : len(prompt) + len(reply)] = 1
    return ids, seen, is_reply


def log_probabilities(model: Any, pairs: Sequence[PairIds]) -> torch.Tensor:
    ids, seen, is_reply = padded(pairs)
    logits = model(input_ids=ids, attention_mask=seen, use_cache=False).logits[:, :-1]
    token = logits.log_softmax(dim=-1).gather(2, ids[:, 1:, None])[:, :, 0]
    found: torch.Tensor = (token * is_reply[:, 1:]).sum(dim=1)
    return found


def bare_loop(recipe: DpoRecipe, plan: PairPlan, parent: Adapter) -> float:
    """Pairs per second by hand: two padded rows a pair, all logits, logistic loss, clip, step."""
    base = resolve_base(recipe.base.source)
    model = load_base(base, runtime=resolve_runtime(precision="fp32", attention="sdpa"), quantization="nf4")
    model = attach_adapter(model, parent).train()
    rows = [[plan.train[i] for i in pack] for pack in plan.packs]
    with torch.no_grad():
        reference = [log_probabilities(model, pairs) for pairs in rows]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=recipe.optimizer.learning_rate)
    began = time.perf_counter()
    for number, (pairs, known) in enumerate(zip(rows, reference, strict=True), start=1):
        chosen, rejected = (log_probabilities(model, pairs) - known).chunk(2)
        loss = -logsigmoid(recipe.loss.beta * (chosen - rejected)).mean()
        (loss / recipe.optimizer.packs_per_step).backward()
        if number % recipe.optimizer.packs_per_step == 0 or number == len(rows):
            torch.nn.utils.clip_grad_norm_(trainable, recipe.optimizer.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
    return sum(map(len, rows)) / (time.perf_counter() - began)


def test_a_dpo_step_is_as_fast_as_a_bare_loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = short_recipe()
    prepared = tmp_path / "prepared"
    prepare.run(PrepareConfig(corpus="sample"), folder=prepared)
    pairs = sample_pairs(prepared)
    folder, parent = pairs_folder(tmp_path / "pairs", pairs), fresh_parent(recipe, tmp_path / "parent")
    tokenizer = load_tokenizer(resolve_base(recipe.base.source))
    plan = plan_pairs(
        pairs, tokenizer=tokenizer, prepared=prepared, settings=recipe.data, n_validation=1, seed=recipe.seed
    )  # what `dpo.run` plans
    rounds = iter(range(1000))

    def ours() -> float:
        summary = dpo.run(recipe, prepared=prepared, pairs=folder, parent=parent, folder=tmp_path / f"{next(rounds)}")
        assert summary.n_pairs == len(plan.train) == N_PAIRS
        return summary.pairs_per_second

    contenders: dict[str, Callable[[], float]] = {"bare loop": lambda: bare_loop(recipe, plan, parent), "ours": ours}
    best = {name: 0.0 for name in contenders}
    for _ in range(ROUNDS):
        for name, measure in contenders.items():
            best[name] = max(best[name], measure())
    with capsys.disabled():
        for name, rate in best.items():
            print(f"\n{name:10} {rate:6.2f} pairs/s  {rate / best['bare loop']:.2f} of the bare loop", end="")
        print()
    assert best["ours"] >= 0.8 * best["bare loop"]
