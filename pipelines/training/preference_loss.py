"""Losses over pairs of replies, from the log-probabilities of policy and reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import sigmoid
from torch.nn.functional import logsigmoid, relu

from pipelines.training.recipe import LossSettings

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PairScores:
    """Log-probabilities of P pairs in nats, chosen first, summed over the tokens of each reply with its end token."""

    policy: Tensor  # (P, 2)
    reference: Tensor  # (P, 2)
    n_tokens: Tensor  # (P, 2)

    @property
    def chosen_log_ratio(self) -> Tensor:
        """log policy − log reference of the chosen replies, (P,)."""
        return self.policy[:, 0] - self.reference[:, 0]

    @property
    def rejected_log_ratio(self) -> Tensor:
        """log policy − log reference of the rejected replies, (P,)."""
        return self.policy[:, 1] - self.reference[:, 1]

    @property
    def gap(self) -> Tensor:
        """How much more the chosen reply gained on the reference than the rejected one, nats, (P,)."""
        return self.chosen_log_ratio - self.rejected_log_ratio


def pair_losses(scores: PairScores, loss: LossSettings) -> Tensor:
    """The loss of each pair, (P,), with δ = `gap`, β and ε = label smoothing.

    - `sigmoid`: −(1−ε) log σ(βδ) − ε log σ(−βδ); DPO (arXiv 2305.18290, equation 7) and, with ε, its conservative
      form for noisy preferences (Mitchell 2023, "A note on DPO with noisy preferences"). TRL 1.16 ignores ε here.
    - `robust`: [−(1−ε) log σ(βδ) + ε log σ(−βδ)] / (1−2ε) (arXiv 2403.00409), unbiased under that noise.
    - `hinge`: max(0, 1 − βδ) (SLiC, arXiv 2305.10425, normalised by the reference as in arXiv 2309.06657).
    - `ipo`: (δ̄ − 1/(2β))² (arXiv 2310.12036, equation 17), with log-ratios a token as TRL takes them.
    - `apo_zero`: 1 − σ(βr₊) + σ(βr₋), `apo_down`: σ(βr₊) + 1 − σ(βδ), of the log-ratios r of chosen and rejected
      (arXiv 2408.06266, equations 7 and 8): the chosen reply is anchored, and cannot sink with the rejected one.
    - `sft`: −log policy(chosen), in nats a reply; the control, which knows no reference.

    `sft_weight` adds −log policy(chosen) a token, so often (RPO, arXiv 2404.19733, equation 1).
    """
    chosen, n_chosen = scores.policy[:, 0], scores.n_tokens[:, 0]
    if loss.type == "sft":
        return -chosen
    losses = _preferring(scores, loss)
    return losses - loss.sft_weight * chosen / n_chosen if loss.sft_weight else losses


def _preferring(scores: PairScores, loss: LossSettings) -> Tensor:
    if loss.type == "ipo":
        n_chosen, n_rejected = scores.n_tokens.unbind(dim=1)
        per_token = scores.chosen_log_ratio / n_chosen - scores.rejected_log_ratio / n_rejected
        return (per_token - 1 / (2 * loss.beta)) ** 2
    pull = loss.beta * scores.gap
    if loss.type == "apo_zero":
        return 1 - sigmoid(loss.beta * scores.chosen_log_ratio) + sigmoid(loss.beta * scores.rejected_log_ratio)
    if loss.type == "apo_down":
        return sigmoid(loss.beta * scores.chosen_log_ratio) + 1 - sigmoid(pull)
    if loss.type == "hinge":
        return relu(1 - pull)
    right, wrong = -logsigmoid(pull), -logsigmoid(-pull)
    smoothing = loss.label_smoothing
    if loss.type == "robust":
        return ((1 - smoothing) * right - smoothing * wrong) / (1 - 2 * smoothing)
    return (1 - smoothing) * right + smoothing * wrong


def token_weights(n_chosen: int, n_rejected: int, ld_alpha: float | None) -> tuple[list[float], list[float]]:
    """What each token of the two replies counts in the sums.

    Length-desensitised DPO (arXiv 2409.06411, section 3): tokens beyond the length of the shorter reply count
    `ld_alpha`, so that a long reply does not move the loss by its length alone. None counts every token fully.
    """
    shared = min(n_chosen, n_rejected)
    beyond = 1.0 if ld_alpha is None else ld_alpha
    return tuple([1.0] * shared + [beyond] * (n - shared) for n in (n_chosen, n_rejected))  # type: ignore[return-value]
