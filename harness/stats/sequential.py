"""Looking after every prompt without raising the error rate: betting on prompt means.

The unit is one prompt: the mean of its votes from a fixed panel, in [0, 1], ties ½, prompts in random order. A gambler
who bets against "the mean is m" at fair odds cannot expect to grow rich if it is true; her capital is an e-value at
every look (Ville's inequality: it passes 1 / (1 − level) with probability at most 1 − level, ever). The values of m
that have not made her rich form a confidence sequence. Method: the hedged capital process of Waudby-Smith & Ramdas
(2024, "Estimating means of bounded random variables by betting", JRSSB 86:1, arXiv 2010.09686), bets by their
predictable plug-in rule, capped at half of what could be lost.

With `n_prompts` the prompts are a finite set drawn without replacement (the same paper, on finite populations): the
claim is about this panel and this prompt set. Without it, about the population that prompts are drawn from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.errors import InputError
from harness.stats.rows import Floats, check_count, check_level
from harness.types import Estimate

TOO_EARLY = "Too early, or too even, to foresee a decision."
GRID = 1_001  # candidate means 0, 0.001, …, 1; ends are rounded outwards
ROUNDING = 1e-9  # a set whose unseen mean misses [0, 1] by less than this is still possible
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

    def __init__(self, *, level: float = 0.95, null: float = 0.5, n_prompts: int | None = None) -> None:
        self.level = check_level(level)
        if not 0 < null < 1:
            raise InputError(f"`null` must lie between 0 and 1, got {null}: 0.5 is no preference")
        self.null = null
        self.n_prompts = None if n_prompts is None else check_count("n_prompts", n_prompts)
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
        if self.n_prompts is not None and self._n >= self.n_prompts:
            raise InputError(f"`value` must be one of {self.n_prompts} prompts, got one more: raise `n_prompts`")
        self._stake(value, self._conditional_means())
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

    def _conditional_means(self) -> Floats:
        """What the next value must be on average if the mean of the set is m; m itself for a population."""
        if self.n_prompts is None:
            return self._candidates
        left = self.n_prompts - self._n
        means: Floats = (self.n_prompts * self._candidates - self._sum) / left
        return means

    def _stake(self, value: float, expected: Floats) -> None:
        variance = (0.25 + self._squares) / (self._n + 1)
        t = self._n + 1
        bet = math.sqrt(2 * math.log(2 / (1 - self.level)) / (variance * t * math.log(1 + t)))
        possible = (expected >= -ROUNDING) & (expected <= 1 + ROUNDING)
        m = np.clip(expected, 1e-12, 1 - 1e-12)
        gain_up = np.log1p(np.minimum(bet, CAP / m) * (value - m))
        gain_down = np.log1p(-np.minimum(bet, CAP / (1 - m)) * (value - m))
        self._log_up += np.where(possible, gain_up, np.inf)  # a set with this mean cannot exist any more
        self._log_down += np.where(possible, gain_down, np.inf)
        self._log_capital = np.logaddexp(self._log_up, self._log_down) - math.log(2)

    def _shrink(self) -> None:
        """Intersect with the candidates that still stand, each end rounded out by one grid step."""
        standing = np.flatnonzero(self._log_capital[:GRID] < -math.log(1 - self.level))
        if not len(standing):
            return
        step = 1 / (GRID - 1)
        low, high = max(0.0, standing[0] * step - step), min(1.0, standing[-1] * step + step)
        if self.n_prompts is not None:  # what is still unseen bounds the mean of the set for certain
            low = max(low, self._sum / self.n_prompts)
            high = min(high, (self._sum + self.n_prompts - self._n) / self.n_prompts)
        low, high = max(self._low, low), min(self._high, high)
        if low <= high:
            self._low, self._high = low, high

    def _estimate(self) -> Estimate:
        whole = "population" if self.n_prompts is None else f"set of {self.n_prompts} prompts"
        mean = self._sum / self._n if self._n else 0.5
        return Estimate(
            value=mean,
            low=min(self._low, mean),
            high=max(self._high, mean),
            level=self.level,
            n=self._n,
            n_clusters=self._n,
            n_missing=0,
            method=f"betting confidence sequence over prompt means, {whole}",
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
        left = None if self.n_prompts is None else self.n_prompts - self._n
        if left == 0:
            return Advice(action="stop", reason="All prompts have been seen without a decision.", expected_more=None)
        gap = mean - self.null
        variance = (0.25 + self._squares) / (self._n + 1)
        growth = gap**2 / (2 * (variance + gap**2))
        if self._n < 5 or growth < 1e-4:
            return Advice(action="continue", reason=TOO_EARLY, expected_more=None)
        more = max(1, math.ceil((goal - log_e) / growth))
        if left is not None and more > left:
            reason = f"A decision would take about {more} more prompts; only {left} are left."
            return Advice(action="continue", reason=reason, expected_more=more)
        return Advice(
            action="continue", reason=f"About {more} more prompts like these would decide it.", expected_more=more
        )
