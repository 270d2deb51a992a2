"""TRL's DPOTrainer on rows of pairs, without the work that nobody reads.

TRL 1.16 runs prompt and reply of each side as padded rows of their own; takes entropy, mean logit and top-1 of every
reply token over the whole vocabulary at every step; asks the reference again at every step unless told otherwise, and
then stores its answers in a cache outside the run; rounds the adapter of a 4-bit base to bfloat16. Here what two
replies share is computed once, the reference answers once and its answers lie with the checkpoints, and what is
measured is measured on held-out pairs. What remains TRL's and transformers': the frozen copy of the adapter that is
the reference, the loop, accumulation, clipping, schedule and autocast.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from trl.trainer.dpo_trainer import DPOTrainer

from harness.models.local import LocalModel
from harness.models.protocol import ReplyRequest
from harness.types import Decoding
from pipelines.training.adapter_trainer import AdapterTrainer
from pipelines.training.chunked_loss import in_chunks
from pipelines.training.pair_rows import PairIds, lay_out
from pipelines.training.preference_loss import PairScores, pair_losses
from pipelines.training.recipe import DpoRecipe
from pipelines.training.sharding import gather_outermost, scatter

POLICY, REFERENCE = "default", "ref"  # adapters by the names that PEFT and TRL give them
_KL_POSITIONS = 128  # positions whose distributions over the vocabulary are in memory at once


_DPOTrainer: Any = DPOTrainer  # loosely typed upstream


class PreferenceTrainer(AdapterTrainer, _DPOTrainer):  # type: ignore[misc]
    """Trains on packs of pairs in the given order; the loss is the mean over the pairs of the optimiser step."""

    def __init__(
        self,
        model: Any,
        *,
        recipe: DpoRecipe,
        pairs: Sequence[PairIds],
        packs: Sequence[Sequence[int]],
        validation: Sequence[PairIds],
        **shared: Any,
    ) -> None:
        self.recipe = recipe
        self.pairs, self.packs, self.validation = pairs, packs, validation
        # (pairs, 2) log-probabilities of chosen and rejected, which `ReferenceFirst` gives before the first step
        self.reference: torch.Tensor
        self.validation_reference: torch.Tensor
        super().__init__(model, n_packs=len(packs), **shared)

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset  # pairs are tokenised already, in the one way that the whole project does it

    # ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def collate(self, packs: Sequence[int]) -> dict[str, Any]:
        """The pairs of packs, and what the reference gives them."""
        chosen = [pair for pack in packs for pair in self.packs[pack]]
        return {**self._inputs([self.pairs[i] for i in chosen]), "reference": self.reference[chosen]}

    @property
    def _pairs_per_pass(self) -> int:
        return self.recipe.data.pairs_per_pack * self.packs_per_pass

    def _inputs(self, pairs: Sequence[PairIds], *, is_weighted: bool = True) -> dict[str, Any]:
        row = lay_out(pairs, ld_alpha=self.recipe.loss.ld_alpha if is_weighted else None)
        read = {"targets": row.targets, "sequences": row.sequences, "weights": row.weights}
        n_tokens = sum(pair.n_tokens for pair in pairs)
        return {"model": row.model_inputs(), **read, "lengths": _by_pair(row.lengths), "n_tokens": n_tokens}

    def _logits(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """(L, vocabulary) at the positions that predict reply tokens."""
        asked = inputs["model"]
        mask = asked["attention_mask"].to(self.model.dtype)
        logits: torch.Tensor = model(**{**asked, "attention_mask": mask}).logits[0]
        return logits

    def _sums(self, logits: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        """Log-probability of each reply, weighted by token, (P, 2)."""
        of_target = torch.cat(in_chunks(_of_target, logits, inputs["targets"]))
        sums = torch.zeros(inputs["lengths"].numel(), device=logits.device)
        return _by_pair(sums.index_add(0, inputs["sequences"], of_target * inputs["weights"]))

    # ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def n_items(self, inputs: dict[str, Any]) -> int:
        """Pairs, or the tokens of chosen replies."""
        return self._n_items(inputs["lengths"])

    def _n_items(self, lengths: torch.Tensor) -> int:
        return int(lengths[:, 0].sum()) if self.recipe.loss.type == "sft" else len(lengths)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The recipe's loss, over the pairs of the whole optimiser step."""
        sums = self._sums(self._logits(model, inputs), inputs)
        scores = PairScores(policy=sums, reference=inputs["reference"], n_tokens=inputs["lengths"])
        self._note(scores, counts=inputs["counts"])
        n_items = self.n_items(inputs) if num_items_in_batch is None else num_items_in_batch
        return pair_losses(scores, self.recipe.loss).sum() / n_items

    def _note(self, scores: PairScores, *, counts: bool) -> None:
        """Remember a micro-batch's means for the log: over the rows of all processes."""
        means = _means(scores, beta=self.recipe.loss.beta)
        own = torch.tensor([*means.values(), 1.0], dtype=torch.float64) * counts
        *sums, n_rows = self.processes.total(own).tolist()
        for name, value in zip(means, sums, strict=True):
            self._metrics["train"][name].append(value / n_rows)

    # ── the reference ────────────────────────────────────────────────────────────────────────────────────────────────

    def log_probabilities(self, pairs: Sequence[PairIds], *, adapter: str) -> torch.Tensor:
        """Log-probabilities of chosen and rejected replies under one adapter, (pairs, 2), without gradient."""
        groups = _groups(pairs, self._pairs_per_pass)
        found = torch.zeros(len(pairs), 2)
        with self._asking(adapter):
            for turn in self.processes.turns(len(groups)):
                group = groups[turn.item]
                inputs = self._prepare_inputs(self._inputs([pairs[i] for i in group]))
                sums = self._sums(self._logits(self.model, inputs), inputs)
                if turn.counts:
                    found[list(group)] = sums.cpu()
        return self.processes.total(found)

    def tree_difference(self, pair: PairIds) -> float:
        """How far a pair's tree is from a row of its own for each reply, nats a token: 0 but for rounding."""
        inputs = self._prepare_inputs(self._inputs([pair], is_weighted=False))
        with self._asking(REFERENCE):
            tree = self._sums(self._logits(self.model, inputs), inputs)
            alone = [self._alone(pair.prompt, reply, inputs["targets"].device) for reply in pair.replies]
        return float(((tree - torch.stack(alone)).abs() / inputs["lengths"]).max())

    def _alone(self, prompt: tuple[int, ...], reply: tuple[int, ...], device: torch.device) -> torch.Tensor:
        """Log-probability of a reply in a row of its own, under no mask but the model's."""
        ids = torch.tensor([[*prompt, *reply]], device=device)
        logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=len(reply) + 1).logits[0, :-1].float()
        total: torch.Tensor = logits.log_softmax(dim=1).gather(1, ids[0, len(prompt) :, None]).sum()
        return total

    @contextlib.contextmanager
    def _asking(self, adapter: str) -> Iterator[None]:
        """Evaluate with one of the adapters; policy and gradients are put back."""
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager(), active_adapter(self.model, adapter):
            yield

    # ── validation ───────────────────────────────────────────────────────────────────────────────────────────────────

    def heldout_pairs(self) -> dict[str, float]:
        """The figures of `HeldoutPairs` by name; exact means over pairs and tokens."""
        groups = _groups(self.validation, self._pairs_per_pass)
        sums = torch.zeros(len(self.validation), 2)
        divergence = torch.zeros(len(groups), dtype=torch.float64)
        for turn in self.processes.turns(len(groups)):
            group = groups[turn.item]
            inputs = self._prepare_inputs(self._inputs([self.validation[i] for i in group]))
            with self._asking(POLICY):
                policy = self._logits(self.model, inputs)
                of_pairs = self._sums(policy, inputs)
            with self._asking(REFERENCE):
                of_group = _divergence(policy, self._logits(self.model, inputs))
            if turn.counts:
                sums[list(group)] = of_pairs.cpu()
                divergence[turn.item] = of_group
        return self._measured(self.processes.total(sums), kl=float(self.processes.total(divergence).sum()))

    def _measured(self, sums: torch.Tensor, *, kl: float) -> dict[str, float]:
        """From log-probabilities of all held-out pairs, (pairs, 2), and the divergence summed over their tokens."""
        lengths = torch.tensor([[len(reply) for reply in pair.replies] for pair in self.validation])
        scores = PairScores(policy=sums, reference=self.validation_reference, n_tokens=lengths)
        loss = float(pair_losses(scores, self.recipe.loss).sum()) / self._n_items(lengths)
        return {"loss": loss, "kl": kl / int(lengths.sum()), **_means(scores, beta=self.recipe.loss.beta)}

    def reply_lengths(self) -> dict[str, float]:
        """Mean length of the policy's own replies to held-out prompts, and the share that ran into the cap."""
        asked = {pair.prompt_id: pair for pair in self.validation}.values()
        requests = [
            ReplyRequest(key=pair.prompt_id, messages=pair.chat, adapter=POLICY)
            for pair in list(asked)[: self.recipe.validation.n_replies]
        ]
        if not requests:
            return {}
        cap = self.recipe.validation.max_new_tokens
        gather_outermost(self.model)  # generation enters the base below it
        model = LocalModel(self.model, self.processing_class)
        replies = model.generate(requests, decoding=Decoding(max_new_tokens=cap, seed=self.recipe.seed))
        return {
            "eval_reply_tokens": sum(reply.n_tokens or 0 for reply in replies) / len(replies),
            "eval_cut_off": sum(reply.finish_reason == "length" for reply in replies) / len(replies),
        }

    def measured(self) -> dict[str, float]:
        """Figures of held-out pairs and replies."""
        return {f"eval_{name}": value for name, value in self.heldout_pairs().items()} | self.reply_lengths()


@contextlib.contextmanager
def active_adapter(model: Any, name: str) -> Iterator[None]:
    """Run with another adapter, then go back to the policy, which alone is trainable."""
    if name == POLICY:
        yield
        return
    # PEFT marks as trainable the tensors that it finds, and FSDP forgets marks on gathered ones.
    scatter(model)
    model.set_adapter(name, inference_mode=True)
    try:
        yield
    finally:
        scatter(model)
        model.set_adapter(POLICY)


def _by_pair(values: torch.Tensor) -> torch.Tensor:
    """Values of sequences, (2P,) with the chosen ones first, by pair, (P, 2)."""
    return torch.stack(values.chunk(2), dim=1)


def _of_target(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Log-probability of each target, nats."""
    return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(dim=1)


def _groups(pairs: Sequence[PairIds], size: int) -> list[range]:
    """Row numbers of pairs that are asked together."""
    return [range(begin, min(begin + size, len(pairs))) for begin in range(0, len(pairs), size)]


def _means(scores: PairScores, *, beta: float) -> dict[str, float]:
    gap = scores.gap.detach()
    wins = (gap > 0).float() + 0.5 * (gap == 0).float()
    return {
        "reward_margin": float(beta * gap.mean()),
        "reward_accuracy": float(wins.mean()),
        "chosen_log_ratio": float(scores.chosen_log_ratio.detach().mean()),
        "rejected_log_ratio": float(scores.rejected_log_ratio.detach().mean()),
    }


def _divergence(policy: torch.Tensor, reference: torch.Tensor) -> float:
    """KL(policy, reference) summed over positions, nats."""
    total = 0.0
    for p, q in zip(torch.split(policy, _KL_POSITIONS), torch.split(reference, _KL_POSITIONS), strict=True):
        log_p, log_q = p.float().log_softmax(dim=1), q.float().log_softmax(dim=1)
        total += float((log_p.exp() * (log_p - log_q)).sum())
    return total
