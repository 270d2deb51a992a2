"""TRL's SFTTrainer on packed rows, without the work that nobody reads.

TRL 1.16 projects *every* position through the head on a CPU (prompts too) and takes entropy and top-1 of each over the
whole vocabulary, at every step; rounds the adapter of a 4-bit base to bfloat16; writes a model card, the tokenizer and
its own pickled arguments into each checkpoint; counts floating-point operations; and reports its use over the network.
Here logits exist only where there is loss, adapters stay float32, a checkpoint holds what a resume needs, and nothing
is sent. What remains TRL's and transformers': the loop, accumulation, clipping, schedule, NEFTune and autocast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy
from trl.trainer.sft_trainer import SFTTrainer

from harness.errors import SplitError
from harness.types import Example, Split
from pipelines.packing import Examples, FlatPack, Pack, flatten
from pipelines.training.lean import LeanTrainer, trainable_weights
from pipelines.training.meter import Meter
from pipelines.training.neftune import noise_bound
from pipelines.training.processes import Processes


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldoutLoss:
    """Loss of replies on held-out films."""

    nats: float  # summed over loss tokens, end tokens included
    n_tokens: int  # loss tokens
    n_bytes: int  # UTF-8 bytes of the replies

    @property
    def nats_per_token(self) -> float:
        """Mean over loss tokens."""
        return self.nats / self.n_tokens

    @property
    def bits_per_byte(self) -> float:
        """Comparable across tokenizers."""
        return self.nats / math.log(2) / self.n_bytes


_SFTTrainer: Any = SFTTrainer  # loosely typed upstream


class PackedSFTTrainer(LeanTrainer, _SFTTrainer):  # type: ignore[misc]
    """Trains on packs in the given order, one a micro-batch; the loss is the mean over trained tokens of the step."""

    def __init__(
        self,
        model: Any,
        *,
        args: Any,
        tokenizer: Any,
        examples: Examples,
        packs: Sequence[Pack],
        validation: Examples,
        validation_packs: Sequence[Pack],
        is_variable_length: bool,
        meter: Meter,
        processes: Processes,
        callbacks: Sequence[Any],
    ) -> None:
        self.examples, self.packs = examples, packs
        self.validation, self.validation_packs = validation, validation_packs
        self.is_variable_length = is_variable_length
        self.meter, self.processes = meter, processes
        trainable = trainable_weights(model)
        super().__init__(
            model,
            args=args,
            data_collator=self._collate,
            train_dataset=Dataset.from_list(self.rows(len(packs))),
            eval_dataset=Dataset.from_dict({"pack": list(range(len(validation_packs)))}),
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
        self.keep_precision(trainable)
        self.require_sharding()
        self.width = self.model.get_input_embeddings().embedding_dim

    def _collate(self, rows: Sequence[dict[str, int]]) -> dict[str, Any]:
        """The one pack of a micro-batch as tensors."""
        (row,) = rows
        examples = _take(self.examples, self.packs[row["pack"]], split="train")
        n_tokens = sum(len(example.input_ids) for example in examples)
        place = {"place": row["place"], "counts": row["counts"]}
        return {**self._inputs(flatten(examples)), **place, "n_tokens": n_tokens}

    def _inputs(self, flat: FlatPack) -> dict[str, Any]:
        inputs = flat.model_inputs(is_variable_length=self.is_variable_length)
        return {**inputs, "logits_to_keep": flat.loss_positions, "targets": flat.targets}

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        own = sum(len(inputs["targets"]) for inputs in batch_samples if inputs["counts"])
        return self.processes.total(torch.tensor(own)).to(device)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Negative log-likelihood of completion tokens, in nats, over the loss tokens of the whole optimiser step."""
        targets = inputs.pop("targets")
        logits = model(**inputs).logits[0]  # (L, vocabulary)
        nats = cross_entropy(logits.float(), targets, reduction="sum")
        return nats / (len(targets) if num_items_in_batch is None else num_items_in_batch)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One pack forward and backward, and what it adds to the tally."""
        n_positions, n_tokens = inputs["input_ids"].numel(), inputs.pop("n_tokens")
        n_loss_tokens = len(inputs["targets"])
        place, counts = inputs.pop("place"), inputs.pop("counts")
        alpha = self.args.neftune_noise_alpha
        bound = 0.0 if alpha is None else noise_bound(alpha, n_tokens=n_positions, width=self.width)
        self.seed_row(place)
        loss: torch.Tensor = super().training_step(model, inputs, self.divisor(num_items_in_batch, counts=counts))
        own = torch.tensor([n_positions, n_tokens, n_loss_tokens, n_tokens * bound], dtype=torch.float64)
        self.meter.count(self.processes.total(own * counts).tolist())
        return loss

    def heldout_loss(self) -> HeldoutLoss:
        """Loss on the fixed validation packs; no noise, no dropout."""
        self.model.eval()
        found = torch.zeros(len(self.validation_packs), 3, dtype=torch.float64)  # nats, tokens, bytes
        with torch.no_grad(), self.compute_loss_context_manager():
            for turn in self.processes.turns(len(found)):
                examples = _take(self.validation, self.validation_packs[turn.item], split="validation")
                flat = flatten(examples)
                inputs = self._prepare_inputs(self._inputs(flat))
                nats = float(self.compute_loss(self.model, inputs, num_items_in_batch=1))
                n_bytes = sum(example.n_completion_bytes for example in examples)
                if turn.counts:
                    found[turn.item] = torch.tensor([nats, len(flat.targets), n_bytes], dtype=torch.float64)
        nats, n_tokens, n_bytes = self.processes.total(found).sum(dim=0).tolist()
        return HeldoutLoss(nats=nats, n_tokens=int(n_tokens), n_bytes=int(n_bytes))

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Held-out loss in the log; exact over tokens, where the default averages batches of different length."""
        with self.meter.paused():
            loss = self.heldout_loss()
            metrics = {"eval_loss": loss.nats_per_token, "eval_bits_per_byte": loss.bits_per_byte}
            self.log(metrics)
            self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def _take(examples: Examples, pack: Pack, *, split: Split) -> list[Example]:
    """The examples of a pack; of no other split than the one that may stand here."""
    taken = [examples[row] for row in pack.rows]
    for example in taken:
        if example.split != split:
            raise SplitError(
                f"`{example.prompt_id}` must be of the {split} split here, got {example.split}: prepare again"
            )
    return taken
