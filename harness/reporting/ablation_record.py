"""What the report of an ablation shows beyond an evaluation's: arms, seeds, tails, trends, what each arm took.

Standard library only. As in `record`, a number that a reader may quote is an `Estimate`; seconds and traces are plain.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.types import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key with its value as printed."""

    key: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow:
    """One arm: what makes it different, and what it took."""

    name: str
    settings: tuple[Setting, ...]  # of the declared factors
    stages: str  # what it went through, e.g. "SFT, DPO"; "none" for the base
    n_seeds: int  # that were run
    n_lost: int  # that failed
    seconds: float  # of all stages under it, shared ones included, over all seeds
    own_seconds: float  # of stages that no other arm needs
    n_train_tokens: int | None = None  # over all seeds; None where nothing was trained
    adapters: tuple[str, ...] = ()  # registry versions, a seed each


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedEstimate:
    """One contrast with one seed alone: about these two adapters."""

    measure: str
    contrast: str
    seed: int
    estimate: Estimate
    judge_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSpread:
    """How much the training seed moves a contrast."""

    measure: str
    contrast: str
    variance: Estimate  # between seeds
    share: float  # of the variance of one seed's mean, what more films would not remove
    judge_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileRow:
    """Differences of quantiles between the arms of a contrast."""

    measure: str
    contrast: str
    unit: str
    probabilities: tuple[float, ...]
    simultaneous: tuple[Estimate, ...]  # right together with the stated confidence
    judge_id: str | None = None
    label: str = ""  # what they are of; empty: the measure


@dataclass(frozen=True, slots=True, kw_only=True)
class TailRow:
    """Whether the low tail falls more than the peak rises."""

    measure: str
    contrast: str
    low: float  # cuts, in the measure's unit
    high: float
    asymmetry: Estimate  # log-odds: fall of the low tail − rise of the peak; 0 under a common shift
    p_value: float | None
    sensitivity: Estimate  # the same with probits
    low_change: Estimate  # treatment − control in the share at or below `low`
    high_change: Estimate  # treatment − control in the share at or above `high`
    note: str  # how far it reaches, and whether it may claim anything
    label: str = ""  # as in `QuantileRow`


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendRow:
    """Whether a measure rises or falls along the declared order of arms."""

    measure: str
    order: tuple[str, ...]
    estimate: Estimate  # rank correlation with the order
    p_value: float | None
    basis: str  # "films within each seed's mean", "training runs"
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCurves:
    """The loss curves of an arm's trainings, a seed each."""

    arm: str
    stage: str  # "SFT", "DPO", …
    curves: tuple[LossCurve, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How the stages were run."""

    executor: str
    n_workers: int
    n_stages: int  # distinct
    n_reused: int  # of them, done before this command
    n_retries: int
    stage_seconds: float  # of the distinct stages, one after another
    wall_seconds: float  # of this command's stages


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationRecord:
    """The declared design, and what only several arms and seeds can show."""

    factors: tuple[str, ...]
    fixed: tuple[Setting, ...]
    control: str
    seeds: tuple[int, ...]
    decision: str
    arms: tuple[ArmRow, ...]
    by_seed: tuple[SeedEstimate, ...] = ()
    spreads: tuple[SeedSpread, ...] = ()
    quantiles: tuple[QuantileRow, ...] = ()
    tail: tuple[TailRow, ...] = ()
    trends: tuple[TrendRow, ...] = ()
    curves: tuple[ArmCurves, ...] = ()
    work: Work | None = None


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
