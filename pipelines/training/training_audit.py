"""Training audit: whether arms differ in what they should differ in, and in nothing else. Pass, fail or not checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.experiment.lineage import Training, pairs_behind, training_of, windows_behind
from harness.models.bases import load_tokenizer
from harness.models.chat_templates import chat_messages, render
from harness.models.contracts import kept, own_system
from harness.reporting.record import AuditRow
from harness.store.artifacts import digest_json, read_json, read_parquet
from harness.store.prepared import prompts_file
from harness.store.tracking import StageResult, Tracking
from harness.types import Adapter, Prompt, Variant
from pipelines.corpus.windows import read_examples
from pipelines.preferences.held_out import held_out_prompts, near_held_out
from pipelines.preferences.pair_files import read_pairs
from pipelines.training.adapter_files import WEIGHTS

N_ASKED = 32  # training windows whose prompts are rendered again
MAX_PADDING = 0.02
MAX_TOKEN_GAP = 0.01  # budgets end at the last example that fits, so equal budgets differ by a window at most


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedArm:
    """A variant whose adapter was trained here."""

    name: str
    variant: Variant
    adapter: Adapter
    training: Training

    @property
    def record(self) -> Mapping[str, Any]:
        """Its `training.json`."""
        return self.training.record


Arms = Sequence[TrainedArm]


def training_audit(tracking: Tracking, variants: Iterable[Variant], *, prepared: StageResult) -> tuple[AuditRow, ...]:
    """Every check on the variants that were trained here; none of them gives no rows.

    A check that needs two arms to compare is left out where there is one.
    """
    arms = [
        TrainedArm(name=variant.name, variant=variant, adapter=variant.adapter, training=training)
        for variant in variants
        if variant.adapter is not None and (training := training_of(tracking, variant.adapter)) is not None
    ]
    if not arms:
        return ()
    windows, pairs = ([a for a in arms if a.training.is_preference == is_pairs] for is_pairs in (False, True))
    rows = [check(arm) for arm in windows for check in (_padding, _moved, _neftune)]
    rows += [check(arm) for arm in pairs for check in (_reference, _gained)]
    if len(windows) > 1:
        label = "SFT arms pack alike and attend alike"
        rows += [_laid_out_alike(label, windows, "pack_tokens", "tokens"), *_of_one_seed(windows, _same_tokens)]
    if len(pairs) > 1:
        label = "preference arms lay out rows alike and attend alike"
        rows += [_laid_out_alike(label, pairs, "pairs_per_pack", "pairs"), *_of_one_seed(pairs, _same_pairs)]
    rows += [_differs_from_base(arm) for arm in arms]
    rows += [*_seeds(arms), *(_asked_as_trained(tracking, arm, prepared) for arm in arms), _examples_apart(prepared)]
    return (*rows, *(_pairs_apart(tracking, arm, prepared) for arm in pairs))


def adapter_audit(tracking: Tracking, adapters: Sequence[Adapter], *, prepared: StageResult) -> tuple[AuditRow, ...]:
    """The audit of adapters by themselves, as `screentest sft` and `screentest dpo` print it."""
    variants = [
        Variant(name=a.name, kind="model", base=a.base, adapter=a, system=own_system(a, None)) for a in adapters
    ]
    return training_audit(tracking, variants, prepared=prepared)


# ── one arm ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _padding(arm: TrainedArm) -> AuditRow:
    share = arm.record["padding_share"]
    return AuditRow(
        label=f"{arm.name}: padding is at most {MAX_PADDING:.0%} of training tokens",
        is_passed=share <= MAX_PADDING,
        detail=f"{share:.1%} of the positions computed",
    )


def _moved(arm: TrainedArm) -> AuditRow:
    record = arm.record
    return AuditRow(
        label=f"{arm.name}: the adapter moved its validation loss",
        is_passed=record["validation_loss"] < record["validation_loss_before"],
        detail=f"{record['validation_loss_before']:.3f} → {record['validation_loss']:.3f} nats per token at step "
        f"{record['best_step']} of {record['n_planned_steps']}",
    )


def _neftune(arm: TrainedArm) -> AuditRow:
    noise = arm.record["neftune"]
    detail = "off"
    if noise is not None:
        by_pack = arm.training.settings.get("neftune_by", "pack") == "pack"  # of trainings before there was a choice
        detail = f"uniform ± {noise['applied']:.2g} on every embedding coordinate, α = {noise['alpha']:g}" + (
            f" (± {noise['unpacked']:.2g} had the examples not been packed)" if by_pack else ", by example"
        )
    is_wanted = arm.training.settings["neftune_alpha"] is not None
    return AuditRow(
        label=f"{arm.name}: NEFTune noise per token is what the recipe says",
        is_passed=(noise is not None and noise["applied"] > 0) == is_wanted,
        detail=detail,
    )


def _reference(arm: TrainedArm) -> AuditRow:
    seen = arm.record["reference"]
    is_same = seen["parent"] == arm.adapter.parent and seen["n_tensors"] > 0
    return AuditRow(
        label=f"{arm.name}: the reference is the frozen SFT adapter",
        is_passed=is_same and seen["largest_log_ratio"] <= seen["tolerance"],
        detail=f"{seen['n_tensors']} tensors as in the parent's file; largest log-ratio of {2 * seen['n_pairs']} "
        f"replies at step 0: {seen['largest_log_ratio']:.2g} nats",
    )


def _gained(arm: TrainedArm) -> AuditRow:
    heldout = arm.record["heldout"]
    lengths = (arm.record["reply_tokens_before"], arm.record["reply_tokens"])
    said = "" if None in lengths else f", replies {lengths[0]:.1f} → {lengths[1]:.1f} tokens"
    return AuditRow(
        label=f"{arm.name}: chosen replies gained on rejected ones, on pairs held out from training",
        is_passed=heldout["reward_margin"] > 0,
        detail=f"margin {heldout['reward_margin']:.3f}, accuracy {heldout['reward_accuracy']:.0%} of "
        f"{arm.record['n_validation_pairs']} pairs, KL to the reference {heldout['kl']:.3f} nats a token{said}",
    )


def _differs_from_base(arm: TrainedArm) -> AuditRow:
    largest = _largest_update(arm)
    is_new = arm.adapter.parent is None or arm.adapter.parent != arm.adapter.digest
    return AuditRow(
        label=f"{arm.name}: the adapter differs from its base" + ("" if arm.adapter.parent is None else " and parent"),
        is_passed=largest > 0 and is_new,
        detail=f"largest weight of the adapters' output side {largest:.2g}; adapter {arm.adapter.digest[:12]}",
    )


def _largest_update(arm: TrainedArm) -> float:
    """Largest |B|; with B = 0 a LoRA adapter is its base."""
    from safetensors.torch import load_file

    weights = load_file(arm.training.adapter_folder / WEIGHTS)
    return max((float(tensor.abs().max()) for name, tensor in weights.items() if "lora_B" in name), default=0.0)


# ── arms against each other ──────────────────────────────────────────────────────────────────────────────────────────


def _laid_out_alike(label: str, arms: Arms, size: str, unit: str) -> AuditRow:
    return _equal(label, {a.name: f"{a.training.settings['data'][size]} {unit}, {a.record['attention']}" for a in arms})


def _of_one_seed(arms: Arms, check: Callable[[Arms, str], AuditRow]) -> list[AuditRow]:
    """A check of the arms of each training seed: a seed draws its own windows, which no other seed need have."""
    by_seed: dict[int, list[TrainedArm]] = {}
    for arm in arms:
        by_seed.setdefault(arm.record["seed"], []).append(arm)
    named = {seed: f"seed {seed}: " if len(by_seed) > 1 else "" for seed in by_seed}
    return [check(group, named[seed]) for seed, group in by_seed.items() if len(group) > 1]


def _same_tokens(arms: Arms, of_seed: str) -> AuditRow:
    counts = {arm.name: (arm.record["n_tokens"], arm.record["n_loss_tokens"]) for arm in arms}
    gaps = [1 - min(column) / max(column) for column in zip(*counts.values(), strict=True)]
    listed = ", ".join(f"{name} {seen:,} ({loss:,} under loss)" for name, (seen, loss) in counts.items())
    return AuditRow(
        label=f"{of_seed}SFT arms saw as many tokens as each other, to {MAX_TOKEN_GAP:.0%}",
        is_passed=max(gaps) <= MAX_TOKEN_GAP,
        detail=listed,
    )


def _same_pairs(arms: Arms, of_seed: str) -> AuditRow:
    each = {arm.name: (arm.record["n_pairs"], arm.record["n_steps"], arm.training.inputs["pairs"][:8]) for arm in arms}
    said = {name: f"{n} pairs of {digest} in {steps} steps" for name, (n, steps, digest) in each.items()}
    return _equal(f"{of_seed}preference arms saw the same pairs in as many steps", said)


def _seeds(arms: Arms) -> list[AuditRow]:
    """Arms that share everything but the seed must differ in it, and in their weights."""
    groups: dict[str, list[TrainedArm]] = {}
    for arm in arms:
        settings = {key: value for key, value in arm.training.settings.items() if key not in ("seed", "name")}
        groups.setdefault(digest_json([arm.training.stage, settings]), []).append(arm)
    return [_differ(group) for group in groups.values() if len(group) > 1]


def _differ(arms: Arms) -> AuditRow:
    seeds, digests = {arm.record["seed"] for arm in arms}, {arm.adapter.digest for arm in arms}
    return AuditRow(
        label="arms of one recipe differ in seed and in weights",
        is_passed=len(seeds) == len(digests) == len(arms),
        detail=", ".join(f"{arm.name}: seed {arm.record['seed']}, {arm.adapter.digest[:8]}" for arm in arms),
    )


def _equal(label: str, each: Mapping[str, str]) -> AuditRow:
    values = set(each.values())
    detail = values.copy().pop() if len(values) == 1 else ", ".join(f"{name}: {said}" for name, said in each.items())
    return AuditRow(label=label, is_passed=len(values) == 1, detail=detail)


# ── training against generation ──────────────────────────────────────────────────────────────────────────────────────


def _asked_as_trained(tracking: Tracking, arm: TrainedArm, prepared: StageResult) -> AuditRow:
    """Whether generation gives a training window's prompt the token ids that training gave it."""
    label = f"{arm.name}: asked as it was trained, token for token"
    is_same = arm.training.inputs.get("prepared") == prepared.digest
    folder = prepared.folder if is_same else windows_behind(tracking, arm.training)
    if folder is None:
        return AuditRow(label=label, is_passed=None, detail="the windows are not there any more")
    skewed = skewed_prompts(load_tokenizer(arm.adapter.base), folder, system=arm.variant.system, n=N_ASKED)
    aside = kept(arm.adapter.contract, system=arm.variant.system, quantization=arm.variant.quantization)
    said = f"{skewed.n - skewed.n_skewed} of {skewed.n} prompts of training windows have the same token ids"
    return AuditRow(label=label, is_passed=skewed.n_skewed == 0, detail="; ".join((said, *aside)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """Prompts of training windows that generation would ask with other token ids."""

    n: int  # looked at
    n_skewed: int


def skewed_prompts(tokenizer: Any, folder: Path, *, system: str | None, n: int) -> Skew:
    """Render the first prompts of TRAIN as generation does, and compare them with the windows that were trained on."""
    examples = read_examples(folder, "train")
    keys = examples.prompt_ids[:n].to_pylist()
    prompts = {p.id: p for p in read_parquet(prompts_file(folder, "train"), Prompt, where={"id": keys})}
    n_skewed = 0
    for key, example in zip(keys, examples, strict=False):
        asked = render(tokenizer, chat_messages(prompts[key].messages, system=system))
        n_skewed += asked != example.input_ids[: example.n_prompt_tokens]
    return Skew(n=len(keys), n_skewed=n_skewed)


# ── rows and what is held out ────────────────────────────────────────────────────────────────────────────────────────


def _examples_apart(prepared: StageResult) -> AuditRow:
    """`prepare` names the near-duplicates that it took out of TRAIN; none may stand among the training examples."""
    found = {row["prompt_id"] for row in read_json(prepared.folder / "duplicates.json") if row["split"] == "train"}
    examples = read_examples(prepared.folder, "train")
    left = found.intersection(examples.prompt_ids.to_pylist())
    return AuditRow(
        label="no training example is near a row of VALIDATION or TEST",
        is_passed=not left,
        detail=f"{len(found)} near-duplicates were found, {len(left)} of them stand among {len(examples):,} examples",
    )


def _pairs_apart(tracking: Tracking, arm: TrainedArm, prepared: StageResult) -> AuditRow:
    folder = pairs_behind(tracking, arm.training)
    label = f"{arm.name}: no preference row is near a row of VALIDATION or TEST"
    if folder is None:
        return AuditRow(label=label, is_passed=None, detail="the pairs are not there any more")
    pairs = read_pairs(folder)
    near = near_held_out(pairs, held_out_prompts(prepared.folder))
    return AuditRow(label=label, is_passed=not near, detail=f"{len(near)} of {len(pairs):,} rows")
