"""TRL's SFTTrainer on packed rows, without the work that nobody reads.

TRL 1.16 projects *every* position through the head on a CPU (prompts too) and takes entropy and top-1 of each over the
whole vocabulary, at every step; rounds the adapter of a 4-bit base to bfloat16; writes a model card, the tokenizer and
its own pickled arguments into each checkpoint; counts floating-point operations; and reports its use over the network.
Here logits exist only where there is loss, adapters stay float32, a checkpoint holds what a resume needs, and nothing
is sent. What remains TRL's and transformers': the loop, accumulation, clipping, schedule and autocast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from trl.trainer.sft_trainer import SFTTrainer

from harness.errors import ConfigError, SplitError
from harness.types import Example, Split
from pipelines.training.adapter_trainer import AdapterTrainer
from pipelines.training.chunked_loss import in_chunks
from pipelines.training.modeling import LAYOUT_TOLERANCE
from pipelines.training.neftune import NoiseLength, noise_bounds, noisy
from pipelines.training.packing import Examples, Pack, flatten

_SFTTrainer: Any = SFTTrainer  # loosely typed upstream


class PackedSFTTrainer(AdapterTrainer, _SFTTrainer):  # type: ignore[misc]
    """Trains on packs in the given order, some to a pass; the loss is the mean over trained tokens of the step."""

    def __init__(
        self,
        model: Any,
        *,
        examples: Examples,
        packs: Sequence[Pack],
        validation: Examples,
        validation_packs: Sequence[Pack],
        is_variable_length: bool,
        neftune: tuple[float | None, NoiseLength],
        **shared: Any,
    ) -> None:
        self.neftune_alpha, self.neftune_by = neftune
        self.examples, self.packs = examples, packs
        self.validation, self.validation_packs = validation, validation_packs
        self.is_variable_length = is_variable_length
        super().__init__(model, n_packs=len(packs), **shared)
        self.width = self.model.get_input_embeddings().embedding_dim

    def collate(self, packs: Sequence[int]) -> dict[str, Any]:
        """The examples of packs, end to end."""
        return self._inputs([_take(self.examples, self.packs[pack], split="train") for pack in packs])

    def _inputs(self, packs: Sequence[Sequence[Example]]) -> dict[str, Any]:
        examples = [example for pack in packs for example in pack]
        flat = flatten(examples)
        asked = flat.model_inputs(is_variable_length=self.is_variable_length)
        asked["logits_to_keep"] = flat.loss_positions
        n_tokens = sum(len(example.input_ids) for example in examples)
        return {"model": asked, "targets": flat.targets, "n_tokens": n_tokens, "noise": self._bounds(packs)}

    def _bounds(self, packs: Sequence[Sequence[Example]]) -> torch.Tensor | None:
        """Half-width of each token's noise; None without NEFTune."""
        alpha = self.neftune_alpha
        if alpha is None:
            return None
        lengths = [[len(example.input_ids) for example in pack] for pack in packs]
        return torch.cat([noise_bounds(alpha, own, width=self.width, by=self.neftune_by) for own in lengths])

    def n_items(self, inputs: dict[str, Any]) -> int:
        """Trained tokens."""
        return len(inputs["targets"])

    def noise(self, inputs: dict[str, Any]) -> float:
        """NEFTune's bound, summed over the tokens of the row."""
        return 0.0 if inputs["noise"] is None else float(inputs["noise"].double().sum())

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Negative log-likelihood of completion tokens, in nats, over the loss tokens of the whole optimiser step."""
        with noisy(self.model.get_input_embeddings(), inputs["noise"]):
            logits = model(**inputs["model"]).logits[0]  # (L, vocabulary)
        nats = torch.stack(in_chunks(_summed_nats, logits, inputs["targets"])).sum()
        return nats / (self.n_items(inputs) if num_items_in_batch is None else num_items_in_batch)

    def heldout_loss(self) -> dict[str, float]:
        """Loss on the fixed validation packs, a token and a byte of the replies; no noise, no dropout."""
        self.model.eval()
        size = self.packs_per_pass
        passes = [self.validation_packs[i : i + size] for i in range(0, len(self.validation_packs), size)]
        found = torch.zeros(len(passes), 3, dtype=torch.float64)  # nats, tokens, bytes
        with torch.no_grad(), self.compute_loss_context_manager():
            for turn in self.processes.turns(len(found)):
                packs = [_take(self.validation, pack, split="validation") for pack in passes[turn.item]]
                inputs = self._prepare_inputs(self._inputs(packs))
                nats = float(self.compute_loss(self.model, inputs, num_items_in_batch=1))
                n_bytes = sum(example.n_completion_bytes for pack in packs for example in pack)
                if turn.counts:
                    found[turn.item] = torch.tensor([nats, self.n_items(inputs), n_bytes], dtype=torch.float64)
        nats, n_tokens, n_bytes = self.processes.total(found).sum(dim=0).tolist()
        return {"eval_loss": nats / n_tokens, "eval_bits_per_byte": nats / math.log(2) / n_bytes}

    def _require_isolation(self) -> None:
        """Packing holds examples apart by attention's mask: layers of another kind know nothing of it."""
        pack = next((pack for pack in self.validation_packs if len(pack.rows) > 1), None)
        if pack is None:
            return
        both = _take(self.validation, replace(pack, rows=pack.rows[:2]), split="validation")
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            asked = [self._prepare_inputs(self._inputs([examples])) for examples in (both, both[:1], both[1:])]
            together, *alone = (float(self.compute_loss(self.model, one, num_items_in_batch=1)) for one in asked)
        apart = abs(together - sum(alone)) / self.n_items(asked[0])
        if not apart <= LAYOUT_TOLERANCE["bf16" if self.args.bf16 else "fp32"]:
            raise ConfigError(
                "`base` must give packed examples what it gives each alone, got losses "
                f"{apart:.3g} nats a token apart; take a base whose layers all attend, or another `attention`"
            )

    def measured(self) -> dict[str, float]:
        """Held-out loss.

        Raises:
            ConfigError: before the first step, examples that share a row see each other under this base.
        """
        if self.state.global_step == 0:
            self._require_isolation()
        return self.heldout_loss()


def _summed_nats(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits, targets, reduction="sum")


def _take(examples: Examples, pack: Pack, *, split: Split) -> list[Example]:
    """The examples of a pack; of no other split than the one that may stand here."""
    taken = [examples[row] for row in pack.rows]
    for example in taken:
        if example.split != split:
            raise SplitError(
                f"`{example.prompt_id}` must be of the {split} split here, got {example.split}: prepare again"
            )
    return taken
