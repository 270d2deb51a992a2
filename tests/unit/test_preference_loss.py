"""Losses by hand, and against TRL's own trainer on the same batch."""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fakes import tiny_model
from hypothesis import given
from hypothesis import strategies as st

from pipelines.training.pair_rows import PairIds, lay_out
from pipelines.training.preference_loss import PairScores, pair_losses, token_weights
from pipelines.training.recipe import LossSettings

LENGTHS = ((4, 7), (6, 3), (5, 5))


def settings(kind: str, **changes: Any) -> LossSettings:
    return LossSettings(**{"type": kind, "beta": 0.1, "label_smoothing": 0.0, "ld_alpha": None, **changes})


def gap_of(gap: float, *, n: int = 4) -> PairScores:
    return PairScores(policy=torch.tensor([[gap, 0.0]]), reference=torch.zeros(1, 2), n_tokens=torch.tensor([[n, n]]))


def ids(n_prompt: int, n_chosen: int, n_rejected: int, *, seed: int) -> PairIds:
    rng = torch.Generator().manual_seed(seed)

    def draw(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 259, (n,), generator=rng).tolist())

    return PairIds(
        prompt_id=f"p{seed}", cluster="m0", chat=(), prompt=draw(n_prompt), chosen=draw(n_chosen),
        rejected=draw(n_rejected),
    )  # fmt: skip


PAIRS = [ids(9 + row, *lengths, seed=row) for row, lengths in enumerate(LENGTHS)]


# ── by hand ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "changes", "by_hand"),
    [
        ("sigmoid", {}, math.log(1 + math.exp(-0.2))),  # −log σ(0.1 · 2)
        ("sigmoid", {"label_smoothing": 0.1}, 0.9 * math.log(1 + math.exp(-0.2)) + 0.1 * math.log(1 + math.exp(0.2))),
        ("robust", {"label_smoothing": 0.1},
         (0.9 * math.log(1 + math.exp(-0.2)) - 0.1 * math.log(1 + math.exp(0.2))) / 0.8),
        ("hinge", {}, 0.8),  # 1 − 0.1 · 2
        ("apo_zero", {}, 1 - 1 / (1 + math.exp(-0.2)) + 0.5),  # the chosen one gained 2 nats, the rejected none
        ("sigmoid", {"sft_weight": 3.0}, math.log(1 + math.exp(-0.2)) - 3 * 2 / 4),  # 2 nats over 4 tokens
        ("ipo", {}, (2 / 4 - 5) ** 2),  # log-ratio a token, less 1 / (2 · 0.1)
        ("sft", {}, -2.0),  # −log policy(chosen)
    ],
)  # fmt: skip
def test_a_gap_of_two_nats(kind: str, changes: dict[str, float], by_hand: float) -> None:
    assert float(pair_losses(gap_of(2.0), settings(kind, **changes))) == pytest.approx(by_hand, rel=1e-6)


def test_tokens_beyond_the_shorter_reply_count_less() -> None:
    assert token_weights(2, 4, 0.25) == ([1.0, 1.0], [1.0, 1.0, 0.25, 0.25])
    assert token_weights(4, 2, 0.25) == ([1.0, 1.0, 0.25, 0.25], [1.0, 1.0])
    assert token_weights(2, 3, None) == ([1.0, 1.0], [1.0, 1.0, 1.0])


@given(gap=st.floats(-50, 50), smoothing=st.floats(0, 0.45))
def test_without_smoothing_smoothed_losses_are_plain_and_swapped_sides_mirror(gap: float, smoothing: float) -> None:
    plain = float(pair_losses(gap_of(gap), settings("sigmoid")))
    assert float(pair_losses(gap_of(gap), settings("robust"))) == pytest.approx(plain, abs=1e-5)
    smoothed = float(pair_losses(gap_of(gap), settings("sigmoid", label_smoothing=smoothing)))
    mirrored = float(pair_losses(gap_of(-gap), settings("sigmoid")))
    assert smoothed == pytest.approx((1 - smoothing) * plain + smoothing * mirrored, abs=1e-4)


@given(low=st.floats(-40, 40), step=st.floats(0.01, 20))
def test_a_larger_gap_never_costs_more(low: float, step: float) -> None:
    for kind in ("sigmoid", "hinge"):
        assert float(pair_losses(gap_of(low + step), settings(kind))) <= float(pair_losses(gap_of(low), settings(kind)))


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_two_replies_share_stands_once_and_each_has_the_logits_it_has_alone() -> None:
    alike = PairIds(
        prompt_id="a", cluster="m0", chat=(), prompt=(5, 6, 7, 8), chosen=(9, 10, 11), rejected=(9, 10, 12, 2)
    )
    row, model = lay_out([alike], ld_alpha=None), tiny_model()
    assert row.input_ids.numel() == 4 + 2 + 1 + 2  # the prompt, how both begin, and how each goes on
    with torch.no_grad():
        shared = model(**row.model_inputs()).logits[0]
        for index, reply in enumerate(alike.replies):
            alone = model(torch.tensor([(*alike.prompt, *reply)])).logits[0, 3:-1]
            assert torch.allclose(shared[row.sequences == index], alone, atol=2e-4)


# ── against TRL ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Trl:
    """TRL 1.16's own loss on padded rows, with what it needs of a trainer and nothing else."""

    def __init__(self, model: Any, loss: LossSettings) -> None:
        from trl.trainer.dpo_trainer import DPOTrainer

        self.compute: Any = DPOTrainer._compute_loss
        self.model = model
        gather = SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)
        for name, value in {
            "accelerator": gather, "aux_loss_enabled": False, "ld_alpha": loss.ld_alpha, "precompute_ref_logps": True,
            "loss_types": [loss.type], "loss_weights": [1.0], "beta": loss.beta,
            "label_smoothing": loss.label_smoothing,
            "f_divergence_type": "reverse_kl", "f_alpha_divergence_coef": 0.5, "use_weighting": False,
            "ref_model": None,
            "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
            "_total_train_tokens": 0, "_tp_size": 1,
        }.items():  # fmt: skip
            setattr(self, name, value)

    def loss(self, pairs: list[PairIds], reference: torch.Tensor) -> float:
        from trl.trainer.dpo_trainer import DataCollatorForPreference

        rows = [
            {"prompt_ids": list(p.prompt), "chosen_ids": list(p.chosen), "rejected_ids": list(p.rejected),
             "ref_chosen_logps": float(r[0]), "ref_rejected_logps": float(r[1])}
            for p, r in zip(pairs, reference, strict=True)
        ]  # fmt: skip
        batch = DataCollatorForPreference(pad_token_id=0)(rows)
        with torch.no_grad():
            return float(self.compute(self, self.model, batch, False))


@pytest.mark.parametrize(
    "loss",
    [
        settings("sigmoid"),
        settings("sigmoid", ld_alpha=0.3),
        settings("hinge"),
        settings("ipo"),
        settings("apo_zero"),
        settings("apo_down"),
        settings("robust", label_smoothing=0.1),
        settings("sft"),
    ],
    ids=lambda loss: f"{loss.type}-{loss.label_smoothing}-{loss.ld_alpha}",
)
def test_the_loss_is_trls_own(loss: LossSettings) -> None:
    from trl.trainer.utils import add_fused_lm_head

    model = tiny_model()
    reference = torch.tensor([[-20.0, -30.5], [-25.0, -12.0], [-21.0, -22.0]])
    row = lay_out(PAIRS, ld_alpha=loss.ld_alpha)
    with torch.no_grad():
        logits = model(**row.model_inputs()).logits[0]
    logp = logits.log_softmax(dim=1).gather(1, row.targets[:, None])[:, 0] * row.weights
    sums = torch.zeros(6).index_add(0, row.sequences, logp)
    policy, lengths = (torch.stack(values.chunk(2), dim=1) for values in (sums, row.lengths))
    scores = PairScores(policy=policy, reference=reference, n_tokens=lengths)
    ours = pair_losses(scores, loss).sum() / (lengths[:, 0].sum() if loss.type == "sft" else 3)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    assert float(ours) == pytest.approx(Trl(model, loss).loss(PAIRS, reference), rel=1e-5)
