"""What would settle an inconclusive contrast over seeds, in words: so many more seeds, films, or both."""

from __future__ import annotations

import math

from harness.stats.crossed_power import CrossedPlan

MOST_TIMES = 20  # a plan for more than this many times the films or seeds is arithmetic, not advice


def settling_sentence(
    plan: CrossedPlan, *, n_seeds: int, n_films: int, prompts_per_film: float, is_declared: bool
) -> str:
    """How many more seeds, films or both would show the difference 80 % of the time."""
    target = f"a difference of {plan.effect:.3g}" + ("" if is_declared else ", the one seen,")
    if plan.n_seeds == n_seeds or plan.n_films == n_films:
        return (
            f"{n_seeds} seeds on {n_films} films show {target} 80% of the time: this was one of the other times, or "
            "the true difference is smaller."
        )
    ways = []
    if plan.n_seeds is not None and plan.n_seeds <= MOST_TIMES * n_seeds:
        ways.append(f"{plan.n_seeds - n_seeds} more seeds on these {n_films} films")
    if plan.n_films is not None and plan.n_films <= MOST_TIMES * n_films:
        ways.append(f"{_more_films(plan.n_films - n_films, prompts_per_film)} with these {n_seeds} seeds")
    if not ways and plan.n_times is not None and plan.n_times <= MOST_TIMES:
        seeds, films = (plan.n_times - 1) * n_seeds, (plan.n_times - 1) * n_films
        ways.append(f"{seeds} more seeds together with {_more_films(films, prompts_per_film)}")
    if not ways:
        return f"Not {MOST_TIMES} times as many seeds and films would show {target}: ask for a larger difference."
    return f"About {', or '.join(ways)} would show {target} 80% of the time."


def _more_films(n: int, prompts_per_film: float) -> str:
    return f"{n:,} more films ({math.ceil(n * prompts_per_film):,} more prompts)"
