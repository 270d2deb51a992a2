"""Traces of training: points of a curve. A trace has no interval, and no claim rests on it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One logged value of a loss curve."""

    step: float  # in `LossCurve.x_unit`
    value: float  # nats per token


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCurve:
    """The trace of one training run. A trace has no interval, and no claim rests on it."""

    name: str  # the run or variant
    train: tuple[CurvePoint, ...] = ()
    validation: tuple[CurvePoint, ...] = ()
    x_unit: str = "steps"  # or "tokens"
    unit: str = "Nats per token"  # of the loss
    best_step: float | None = None  # the checkpoint that was kept
