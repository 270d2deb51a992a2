"""Preference pairs as token ids, and several of them as one row in which what two replies share stands once.

TRL runs a pair as two padded rows, each with the whole prompt. Prompts are four fifths of a film dialogue's tokens.
Here prompt, chosen and rejected form a tree in one row (`harness.models.tree`): a token sees its own ancestors alone
and has its own depth as position, so every logit is what it would be in a row of its own, for a little over half the
work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.models.chat_templates import ChatMessage, chat_messages, render, reply_ids
from harness.models.tree import additive, build_packs, visibility
from harness.types import PreferencePair
from pipelines.training.preference_loss import token_weights

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class PairIds:
    """One pair as token ids; both replies end with the end token."""

    prompt_id: str
    cluster: str
    chat: tuple[ChatMessage, ...]  # the complete chat, system message included
    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def replies(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Chosen, then rejected."""
        return self.chosen, self.rejected

    @property
    def n_tokens(self) -> int:
        """Tokens of both sequences, the prompt counted twice, as without sharing."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def longest(self) -> int:
        """Tokens of the longer sequence."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """P pairs as one row of N nodes; L reply tokens carry loss. Sequences: chosen 0 … P−1, then rejected P … 2P−1."""

    input_ids: Tensor  # (1, N)
    position_ids: Tensor  # (1, N)
    attention_mask: Tensor  # (1, 1, N, N), 0 where a node may look, else −inf
    loss_positions: Tensor  # (L,) nodes whose logits predict a reply token
    targets: Tensor  # (L,) the tokens that they predict
    sequences: Tensor  # (L,) which sequence a token belongs to
    weights: Tensor  # (L,) what it counts in its sequence's sum
    lengths: Tensor  # (2P,) reply tokens of each sequence

    def model_inputs(self) -> dict[str, Any]:
        """Keyword arguments for a forward pass that gives logits at loss positions alone."""
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": self.attention_mask,
            "logits_to_keep": self.loss_positions,
            "use_cache": False,
        }


def tokenise(tokenizer: PreTrainedTokenizerBase, pair: PreferencePair, *, system: str | None, end_id: int) -> PairIds:
    """A pair in the form in which generation asks and SFT has taught."""
    chat = tuple(chat_messages(pair.prompt.messages, system=system))
    return PairIds(
        prompt_id=pair.prompt.id,
        cluster=pair.prompt.cluster,
        chat=chat,
        prompt=render(tokenizer, chat),
        chosen=(*reply_ids(tokenizer, pair.chosen), end_id),
        rejected=(*reply_ids(tokenizer, pair.rejected), end_id),
    )


def lay_out(pairs: Sequence[PairIds], *, ld_alpha: float | None) -> PairRow:
    """The row of these pairs."""
    import torch

    prompts = [pair.prompt for pair in pairs] * 2
    replies = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    (pack,) = build_packs([p + r for p, r in zip(prompts, replies, strict=True)], limit=sum(p.n_tokens for p in pairs))
    paths = {branch.index: branch.path for branch in pack.branches}
    positions: list[int] = []
    sequences: list[int] = []
    for index, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        positions += paths[index][len(prompt) - 1 : -1]
        sequences += [index] * len(reply)
    weights = [token_weights(len(pair.chosen), len(pair.rejected), ld_alpha) for pair in pairs]
    counted = [weight for side in (0, 1) for both in weights for weight in both[side]]
    return PairRow(
        input_ids=torch.tensor([pack.tokens]),
        position_ids=torch.tensor([pack.depths]),
        attention_mask=additive(visibility(pack, n_prefix=0, device="cpu"), torch.float32),
        loss_positions=torch.tensor(positions),
        targets=torch.tensor([token for reply in replies for token in reply]),
        sequences=torch.tensor(sequences),
        weights=torch.tensor(counted),
        lengths=torch.tensor([len(reply) for reply in replies]),
    )
