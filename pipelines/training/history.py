"""Reading the trainer's log history: the one record that a checkpoint carries and a resumed run continues."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

History = Sequence[Mapping[str, float]]

METRICS = {
    "loss": "train/loss",  # nats per loss token, mean over the steps since the last entry
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/grad_norm",  # before clipping
    "eval_loss": "validation/loss",  # nats per loss token; of a preference training, its own loss per pair
    "eval_bits_per_byte": "validation/bits_per_byte",
    **{
        f"{mode}{key}": f"{'validation' if mode else 'train'}/{key}"
        for mode in ("", "eval_")
        for key in (
            "reward_margin",  # beta times (log-ratio of chosen minus log-ratio of rejected), nats, mean over pairs
            "reward_accuracy",  # share of pairs whose chosen reply gained more on the reference than the rejected
            "chosen_log_ratio",  # policy over reference, nats a reply
            "rejected_log_ratio",
        )
    },
    "eval_kl": "validation/kl",  # KL(policy, reference) in nats a token, at the tokens of held-out replies
    "eval_reply_tokens": "validation/reply_tokens",  # mean length of replies generated to held-out prompts
    "eval_cut_off": "validation/cut_off",  # share of these that ran into the cap
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One logged value."""

    name: str  # "train/loss", "validation/loss", …
    step: int  # optimiser steps done
    value: float


def curve_points(history: History) -> Iterator[CurvePoint]:
    """Every logged value under our names, in the order logged."""
    for entry in history:
        for key, name in METRICS.items():
            if key in entry:
                yield CurvePoint(name=name, step=int(entry["step"]), value=float(entry[key]))


def validations(history: History) -> dict[int, Mapping[str, float]]:
    """The entries with a validation loss, by step."""
    return {int(entry["step"]): entry for entry in history if "eval_loss" in entry}


def best_step(history: History) -> int:
    """The step of the lowest validation loss, the earliest of equals; a loss that is no number is never best."""
    entries = validations(history)
    return min(entries, key=lambda step: (_or_infinite(entries[step]["eval_loss"]), step))


def _or_infinite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
