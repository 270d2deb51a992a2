"""Sequences for other units: one decisive vote a prompt (beta-binomial), and paired score differences (asymptotic)."""

from __future__ import annotations

import math
from collections.abc import Hashable

from harness.errors import InputError
from harness.stats.rows import check_count, check_level
from harness.stats.sequential import TOO_EARLY, Advice, Look
from harness.types import Estimate

MIN_DIFFERENCES = 30  # before this the asymptotic sequence says nothing
MAX_FORESEEN = 1_000_000  # differences: a decision further off is not foreseen


class DecisiveVotes:
    """Anytime-valid test of P(win | decisive) = ½ from one decisive vote a prompt.

    Beta-binomial e-value with uniform prior, 2ⁿ B(wins + 1, losses + 1). It needs independent votes: a prompt that
    comes twice is refused, since with repeated prompts or raters its type I error reaches 16–40 %. Several raters may
    each vote on different prompts if prompts are handed out at random; the claim is then about that panel.
    """

    def __init__(self, *, level: float = 0.95) -> None:
        self.level = check_level(level)
        self._seen: set[Hashable] = set()
        self._wins = self._losses = 0
        self._best = 0.0
        self._low, self._high = 0.0, 1.0

    def update(self, prompt: Hashable, won: bool) -> Look:
        """Take the decisive vote on a new prompt (ties are left out beforehand)."""
        if prompt in self._seen:
            raise InputError(
                f"`prompt` must come once, got {prompt!r} again: bet on prompt means with `BettingSequence` instead"
            )
        self._seen.add(prompt)
        self._wins, self._losses = self._wins + bool(won), self._losses + (not won)
        self._best = max(self._best, self._log_e(0.5))
        self._low, self._high = self._end(self._low), self._end(self._high)
        return self.look()

    def look(self) -> Look:
        """What may be said now."""
        n = self._wins + self._losses
        share = self._wins / n if n else 0.5
        estimate = Estimate(
            value=share,
            low=min(self._low, share),
            high=max(self._high, share),
            level=self.level,
            n=n,
            n_clusters=n,
            n_missing=0,
            method="beta-binomial confidence sequence, one decisive vote a prompt",
            notes=("valid at every look", "P(win | decisive)"),
            row="prompt",
            cluster="prompt",
        )
        log_e = self._log_e(0.5)
        return Look(
            e_value=math.exp(min(700.0, log_e)),
            p_value=min(1.0, math.exp(-self._best)),
            estimate=estimate,
            advice=self._advise(log_e, share, n),
        )

    def _log_e(self, p: float) -> float:
        """Log e-value against P(win) = p."""
        wins, losses = self._wins, self._losses
        if (p <= 0 and wins) or (p >= 1 and losses):
            return math.inf
        against = (wins * math.log(p) if wins else 0.0) + (losses * math.log(1 - p) if losses else 0.0)
        return math.lgamma(wins + 1) + math.lgamma(losses + 1) - math.lgamma(wins + losses + 2) - against

    def _end(self, end: float) -> float:
        """Move an end of the interval inwards to where the e-value is 1 / (1 − level); it stays if already inside."""
        goal, inside = -math.log(1 - self.level), self._wins / (self._wins + self._losses)
        if self._log_e(end) < goal:
            return end
        outside = end
        for _ in range(50):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if self._log_e(middle) < goal else (inside, middle)
        return outside

    def _advise(self, log_e: float, share: float, n: int) -> Advice:
        goal = -math.log(1 - self.level)
        if self._best >= goal:
            side = "more" if share > 0.5 else "less"
            return Advice(action="stop", reason=f"It wins {side} than half, at any look.", expected_more=0)
        growth = math.log(2) + sum(part * math.log(part) for part in (share, 1 - share) if part > 0)
        if n < 5 or growth < 1e-4:
            return Advice(action="continue", reason=TOO_EARLY, expected_more=None)
        more = max(1, math.ceil((goal - log_e) / growth))
        return Advice(action="continue", reason=f"About {more} more decisive votes like these.", expected_more=more)


class DifferenceSequence:
    """Asymptotic confidence sequence for the mean of paired score differences; one value a cluster or prompt.

    mean ± sd √(2 (nρ² + 1) / (n²ρ²) · log(√(nρ² + 1) / (1 − level))), with ρ tuned to be tightest near `tightest_at`
    (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, arXiv 2103.06476). Asymptotic: no claim for few
    differences, none at all before 30.
    """

    def __init__(self, *, tightest_at: int = 200, level: float = 0.95) -> None:
        self.level = check_level(level)
        check_count("tightest_at", tightest_at, minimum=2)
        spent = -2 * math.log(1 - level)
        self._rho2 = (spent + math.log(spent) + 1) / tightest_at
        self._n, self._mean, self._squares = 0, 0.0, 0.0

    def update(self, difference: float) -> Estimate:
        """Take the next difference; no interval before 30 of them."""
        if not math.isfinite(difference):
            raise InputError(f"`difference` must be finite, got {difference}: leave out prompts with a missing score")
        self._n += 1
        step = difference - self._mean
        self._mean += step / self._n
        self._squares += step * (difference - self._mean)
        return self.look()

    def look(self) -> Estimate:
        """The mean with its confidence sequence now."""
        n, half = self._n, None
        if n >= MIN_DIFFERENCES:
            half = self._half_width(n)
        return Estimate(
            value=self._mean,
            low=None if half is None else self._mean - half,
            high=None if half is None else self._mean + half,
            level=self.level,
            n=n,
            n_clusters=n,
            n_missing=0,
            method="asymptotic confidence sequence of paired differences",
            notes=(f"no interval before {MIN_DIFFERENCES}" if half is None else "asymptotic: no finite-sample claim",),
            row="difference",
            cluster="difference",
        )

    def advice(self) -> Advice:
        """Stop once the interval excludes 0; else how many differences like these would still be needed."""
        n, gap = self._n, abs(self._mean)
        if n >= MIN_DIFFERENCES and self._half_width(n) < gap:
            side = "above" if self._mean > 0 else "below"
            return Advice(action="stop", reason=f"The mean difference is {side} 0, asymptotically.", expected_more=0)
        if n < MIN_DIFFERENCES or self._half_width(MAX_FORESEEN) >= gap:
            return Advice(action="continue", reason=TOO_EARLY, expected_more=None)
        low, high = n, MAX_FORESEEN
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._half_width(middle) < gap else (middle, high)
        return Advice(
            action="continue", reason=f"About {high - n} more differences like these.", expected_more=high - n
        )

    def _half_width(self, n: int) -> float:
        """Of the interval after `n` differences that scatter as those so far."""
        scale = n * self._rho2 + 1
        width = 2 * scale / (n**2 * self._rho2) * math.log(math.sqrt(scale) / (1 - self.level))
        return math.sqrt(self._squares / max(1, self._n) * width)
