"""Looking after every prompt without raising the error rate: betting on prompt means.

The unit is one prompt: the mean of its votes from a fixed panel, in [0, 1], ties ½, prompts in random order. A gambler
who bets against "the mean is m" at fair odds cannot expect to grow rich if it is true; her capital is an e-value at
every look (Ville's inequality: it passes 1 / (1 − level) with probability at most 1 − level, ever). The values of m
that have not made her rich form a confidence sequence. Method: the hedged capital process of Waudby-Smith & Ramdas
(2024, "Estimating means of bounded random variables by betting", JRSSB 86:1, arXiv 2010.09686), bets by their
predictable plug-in rule, capped at half of what could be lost.

The claim is about this panel and the population that prompts are drawn from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.errors import InputError
from harness.stats.rows import MOST_TIMES, check_level
from harness.types import Estimate

TOO_EARLY = "Too early, or too even, to foresee a decision."
GRID = 1_001  # candidate means 0, 0.001, …, 1; ends are rounded outwards
CAP = 0.5  # share of the capital that one prompt may cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Whether to collect more."""

    action: Literal["stop", "continue"]
    reason: str  # one sentence
    expected_more: int | None  # prompts until a decision if things go on as they are; None: not foreseeable


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What may be said after the prompts so far; valid at every look."""

    e_value: float  # evidence against the null now
    p_value: float  # anytime-valid: 1 / largest e-value so far
    estimate: Estimate  # mean with its confidence sequence
    advice: Advice


class BettingSequence:
    """Anytime-valid test and confidence sequence for the mean of prompt means in [0, 1]; an update is O(1)."""

    def __init__(self, *, level: float = 0.95, null: float = 0.5) -> None:
        self.level = check_level(level)
        if not 0 < null < 1:
            raise InputError(f"`null` must lie between 0 and 1, got {null}: 0.5 is no preference")
        self.null = null
        self._candidates = np.append(np.linspace(0.0, 1.0, GRID), null)  # [grid + 1]: the null is the last
        self._log_up = np.zeros(GRID + 1)  # log capital of betting on "higher than m"
        self._log_down = np.zeros(GRID + 1)
        self._log_capital = np.zeros(GRID + 1)
        self._n, self._sum, self._squares, self._best = 0, 0.0, 0.0, 0.0
        self._low, self._high = 0.0, 1.0

    def update(self, value: float) -> Look:
        """Take the next prompt's mean vote; returns what may be said now."""
        if not 0 <= value <= 1:
            raise InputError(f"`value` must be a prompt's mean vote in [0, 1], got {value}: score ties as 0.5")
        self._stake(value)
        self._n += 1
        self._sum += value
        mean = (0.5 + self._sum) / (self._n + 1)
        self._squares += (value - mean) ** 2
        self._best = max(self._best, float(self._log_capital[-1]))
        self._shrink()
        return self.look()

    def look(self) -> Look:
        """What may be said now, without a new prompt."""
        log_e = float(self._log_capital[-1])
        return Look(
            e_value=math.exp(min(log_e, 700.0)),
            p_value=min(1.0, math.exp(-self._best)),
            estimate=self._estimate(),
            advice=self._advise(log_e),
        )

    def _stake(self, value: float) -> None:
        variance = (0.25 + self._squares) / (self._n + 1)
        t = self._n + 1
        bet = math.sqrt(2 * math.log(2 / (1 - self.level)) / (variance * t * math.log(1 + t)))
        m = np.clip(self._candidates, 1e-12, 1 - 1e-12)
        gain_up = np.log1p(np.minimum(bet, CAP / m) * (value - m))
        gain_down = np.log1p(-np.minimum(bet, CAP / (1 - m)) * (value - m))
        self._log_up += gain_up
        self._log_down += gain_down
        self._log_capital = np.logaddexp(self._log_up, self._log_down) - math.log(2)

    def _shrink(self) -> None:
        """Intersect with the candidates that still stand, each end rounded out by one grid step."""
        standing = np.flatnonzero(self._log_capital[:GRID] < -math.log(1 - self.level))
        if not len(standing):
            return
        step = 1 / (GRID - 1)
        low, high = max(0.0, standing[0] * step - step), min(1.0, standing[-1] * step + step)
        low, high = max(self._low, low), min(self._high, high)
        if low <= high:
            self._low, self._high = low, high

    def _estimate(self) -> Estimate:
        mean = self._sum / self._n if self._n else 0.5
        return Estimate(
            value=mean,
            low=min(self._low, mean),
            high=max(self._high, mean),
            level=self.level,
            n=self._n,
            n_clusters=self._n,
            n_missing=0,
            method="betting confidence sequence over prompt means, population",
            notes=("valid at every look", "about these raters"),
            row="prompt",
            cluster="prompt",
        )

    def _advise(self, log_e: float) -> Advice:
        goal = -math.log(1 - self.level)
        mean = self._sum / self._n if self._n else 0.5
        if self._best >= goal:
            side = "above" if mean > self.null else "below"
            return Advice(action="stop", reason=f"The mean is {side} {self.null:g}, at any look.", expected_more=0)
        gap = mean - self.null
        variance = (0.25 + self._squares) / (self._n + 1)
        growth = gap**2 / (2 * (variance + gap**2))
        more = max(1.0, (goal - log_e) / growth) if growth else math.inf
        if self._n < 5 or more > MOST_TIMES * self._n:
            return Advice(action="continue", reason=TOO_EARLY, expected_more=None)
        n_more = math.ceil(more)
        reason = f"About {n_more:,} more prompts like these would decide it."
        return Advice(action="continue", reason=reason, expected_more=n_more)
