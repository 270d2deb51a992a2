"""How many prompts, what can be seen, how surely: planning before anything is run.

Paired scores: variance of a prompt's difference between arms as in Miller (arXiv 2411.00640, on paired differences and
resampling), for clusters such as films:

    Var(d̄) = [ω² (1 + (m − 1) ICC) + σ_A²/K + σ_B²/K] / n

ω: standard deviation of the true difference over prompts, σ: of repeats (draws) within a prompt, K draws, m prompts a
cluster. Tests are t tests with clusters − 1 degrees of freedom, power by the noncentral t, not the normal: with few
clusters that matters. Votes: the sign test's normal formula over decisive votes, divided by the share of decisive
votes, multiplied by 1 + (m − 1) ICC for m votes a rater. From pilot data without a formula: `pilot`.

Whether replies are told from people's, by the AUC of a classifier fitted on other clusters, one reply of each kind a
prompt: the variance of placements is Hanley & McNeil's (1982), (Q₁ − A²) + (Q₂ − A²) over n with Q₁ = A / (2 − A) and
Q₂ = 2A² / (1 + A), times 1 + 2 (1 − A) for what one cluster's fit owes the others: 2 at 0.5, 1 at 1. On real film
dialogue that makes standard errors up to 12 % too wide (docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from scipy import special

from harness.errors import InputError
from harness.stats.intervals import t_quantile
from harness.stats.rows import check_count, check_level, check_positive

MAX_PROMPTS = 10_000_000
BISECTIONS = 50
ALWAYS_TOLD = 0.995  # AUC
BEYOND = 30.0  # standard errors: more than the noncentral t can compute, and power is 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDesign:
    """What is known of paired scores before the run; standard deviations in the unit of the scores."""

    sd_difference: float  # ω: of the true difference over prompts
    sd_repeat: float = 0.0  # of one arm's score over draws of the same prompt
    n_draws: int = 1  # draws per prompt and arm
    prompts_per_cluster: float = 1.0
    icc: float = 0.0  # intraclass correlation of differences within a cluster
    level: float = 0.95
    n_tests: int = 1  # size of the declared family: the first step of Holm

    def __post_init__(self) -> None:
        check_level(self.level)
        check_count("n_draws", self.n_draws)
        check_count("n_tests", self.n_tests)
        if self.sd_difference < 0 or self.sd_repeat < 0 or self.sd_difference + self.sd_repeat == 0:
            raise InputError(
                f"`sd_difference` and `sd_repeat` must be 0 or more and not both 0, got {self.sd_difference} and "
                f"{self.sd_repeat}: take them from a pilot"
            )
        if self.prompts_per_cluster < 1 or not 0 <= self.icc <= 1:
            raise InputError(
                f"`prompts_per_cluster` must be at least 1 and `icc` lie in [0, 1], got {self.prompts_per_cluster} and "
                f"{self.icc}: take them from a pilot"
            )

    @property
    def variance_per_prompt(self) -> float:
        """n · Var(mean difference)."""
        inflated = self.sd_difference**2 * (1 + (self.prompts_per_cluster - 1) * self.icc)
        return inflated + 2 * self.sd_repeat**2 / self.n_draws


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerAnswer:
    """One planning question, answered."""

    n: int  # prompts, votes, or seeds
    n_clusters: int | None
    effect: float  # true difference, or win share among decisive votes
    power: float
    sentence: str


def paired_power(design: PairedDesign, *, effect: float, n_prompts: int) -> PowerAnswer:
    """Probability that a true difference of `effect` is called with `n_prompts` prompts."""
    check_positive("effect", effect)
    check_count("n_prompts", n_prompts, minimum=2)
    power = _power(design, effect, n_prompts)
    clusters = _clusters(design, n_prompts)
    sentence = (
        f"{n_prompts:,} prompts from {clusters:,} clusters show a true difference of {effect:g} with power {power:.0%}."
    )
    return PowerAnswer(n=n_prompts, n_clusters=clusters, effect=effect, power=power, sentence=sentence)


def paired_sample_size(design: PairedDesign, *, effect: float, power: float = 0.8) -> PowerAnswer:
    """Smallest number of prompts that shows a true difference of `effect` with `power`."""
    check_positive("effect", effect)
    check_power(power)
    n = smallest_count(lambda n: _power(design, effect, n) >= power, above=2, limit=MAX_PROMPTS)
    if n is None:
        raise InputError(f"`effect` of {effect:g} would take over {MAX_PROMPTS:,} prompts: ask for a larger one")
    clusters = _clusters(design, n)
    sentence = (
        f"To show a true difference of {effect:g} with power {power:.0%}, judge {n:,} prompts from {clusters:,} "
        "clusters."
    )
    return PowerAnswer(n=n, n_clusters=clusters, effect=effect, power=_power(design, effect, n), sentence=sentence)


def paired_detectable(design: PairedDesign, *, n_prompts: int, power: float = 0.8) -> PowerAnswer:
    """Smallest true difference that `n_prompts` prompts show with `power`."""
    check_count("n_prompts", n_prompts, minimum=2)
    check_power(power)
    effect = smallest_effect(
        lambda effect: _power(design, effect, n_prompts) >= power, high=math.sqrt(design.variance_per_prompt)
    )
    clusters = _clusters(design, n_prompts)
    sentence = (
        f"{n_prompts:,} prompts from {clusters:,} clusters show a true difference of {effect:.3g} or more "
        f"with power {power:.0%}."
    )
    return PowerAnswer(n=n_prompts, n_clusters=clusters, effect=effect, power=power, sentence=sentence)


def votes_sample_size(
    win_share: float,
    *,
    power: float = 0.8,
    tie_share: float = 0.0,
    votes_per_rater: float = 1.0,
    icc: float = 0.0,
    level: float = 0.95,
    n_tests: int = 1,
) -> PowerAnswer:
    """Votes that show a true win share among decisive votes of `win_share` against one half."""
    check_power(power)
    _check_votes(win_share, tie_share, votes_per_rater, icc)
    z = t_quantile(1 - (1 - check_level(level)) / (2 * check_count("n_tests", n_tests)), math.inf)
    spread = math.sqrt(win_share * (1 - win_share))
    decisive = ((z / 2 + t_quantile(power, math.inf) * spread) / abs(win_share - 0.5)) ** 2
    n = math.ceil(decisive / (1 - tie_share) * (1 + (votes_per_rater - 1) * icc) - 1e-9)
    sentence = f"To show that {win_share:.0%} of decisive votes are won, with power {power:.0%}, collect {n:,} votes"
    sentence += f" ({tie_share:.0%} of them ties)." if tie_share else "."
    return PowerAnswer(n=n, n_clusters=None, effect=win_share, power=power, sentence=sentence)


def votes_power(
    win_share: float,
    *,
    n_votes: int,
    tie_share: float = 0.0,
    votes_per_rater: float = 1.0,
    icc: float = 0.0,
    level: float = 0.95,
    n_tests: int = 1,
) -> PowerAnswer:
    """Probability that `n_votes` votes show a true win share of `win_share` among decisive ones."""
    _check_votes(win_share, tie_share, votes_per_rater, icc)
    check_count("n_votes", n_votes)
    z = t_quantile(1 - (1 - check_level(level)) / (2 * check_count("n_tests", n_tests)), math.inf)
    decisive = n_votes * (1 - tie_share) / (1 + (votes_per_rater - 1) * icc)
    reach = math.sqrt(decisive) * abs(win_share - 0.5) - z / 2
    power = float(special.ndtr(reach / math.sqrt(win_share * (1 - win_share))))
    sentence = f"{n_votes:,} votes show a true win share of {win_share:.0%} with power {power:.0%}."
    return PowerAnswer(n=n_votes, n_clusters=None, effect=win_share, power=power, sentence=sentence)


def votes_detectable(
    *,
    n_votes: int,
    power: float = 0.8,
    tie_share: float = 0.0,
    votes_per_rater: float = 1.0,
    icc: float = 0.0,
    level: float = 0.95,
    n_tests: int = 1,
) -> PowerAnswer:
    """Smallest win share above one half, among decisive votes, that `n_votes` votes show with `power`.

    Raises InputError where the votes are so few that even winning all of them shows nothing.
    """
    check_power(power)

    def reached(share: float) -> float:
        return votes_power(
            share,
            n_votes=n_votes,
            tie_share=tie_share,
            votes_per_rater=votes_per_rater,
            icc=icc,
            level=level,
            n_tests=n_tests,
        ).power

    all_won = 1 - 1e-9
    if reached(all_won) < power:
        raise InputError(
            f"`n_votes` must be enough to show that all decisive votes are won, got {n_votes}: collect more"
        )
    share = smallest_effect(lambda share: reached(share) >= power, low=0.5, high=all_won)
    sentence = (
        f"{n_votes:,} votes show a true win share of {share:.1%} or more (or of {1 - share:.1%} or less) with power "
        f"{power:.0%}."
    )
    return PowerAnswer(n=n_votes, n_clusters=None, effect=share, power=power, sentence=sentence)


def smallest_count(is_enough: Callable[[int], bool], *, above: int, limit: int) -> int | None:
    """The smallest number over `above` that is enough, by doubling and halving; None: `limit` is not.

    Enough must stay enough when more is added.
    """
    low, high = above, min(max(1, 2 * above), limit)
    while not is_enough(high):
        if high == limit:
            return None
        low, high = high, min(2 * high, limit)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def smallest_effect(
    is_shown: Callable[[float], bool], *, high: float, low: float = 0.0, bisections: int = BISECTIONS
) -> float:
    """The smallest effect over `low` that is shown, by doubling `high` and halving the distance."""
    while not is_shown(high):
        high *= 2
    for _ in range(bisections):
        middle = (low + high) / 2
        low, high = (low, middle) if is_shown(middle) else (middle, high)
    return high


def _power(design: PairedDesign, effect: float, n_prompts: int) -> float:
    df = max(1, _clusters(design, n_prompts) - 1)
    critical = t_quantile(1 - (1 - design.level) / (2 * design.n_tests), df)
    shift = effect / math.sqrt(design.variance_per_prompt / n_prompts)
    if shift > BEYOND:
        return 1.0
    above = 1 - float(special.nctdtr(df, shift, critical))
    below = float(special.nctdtr(df, shift, -critical)) if shift < 3 else 0.0  # under 1e-6 there, and hard to compute
    return above + below


def _clusters(design: PairedDesign, n_prompts: int) -> int:
    return max(2, math.floor(n_prompts / design.prompts_per_cluster))


def check_power(power: float) -> None:
    """`power` as a probability worth planning for."""
    if not 0.05 < power < 1:
        raise InputError(f"`power` must lie between 0.05 and 1, got {power}: 0.8 is usual")


def _check_votes(win_share: float, tie_share: float, votes_per_rater: float, icc: float) -> None:
    if not 0 < win_share < 1 or win_share == 0.5:
        raise InputError(f"`win_share` must lie in (0, 1) and differ from 0.5, got {win_share}: 0.6 is clear")
    if not 0 <= tie_share < 1 or votes_per_rater < 1 or not 0 <= icc <= 1:
        raise InputError(
            f"`tie_share` must lie in [0, 1), `votes_per_rater` be at least 1 and `icc` lie in [0, 1], got "
            f"{tie_share}, {votes_per_rater} and {icc}: take them from a pilot"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionDesign:
    """What is known before the replies are made."""

    prompts_per_cluster: float = 1.0
    level: float = 0.95
    n_tests: int = 1

    def of(self, auc: float) -> PairedDesign:
        """Rows that vary as placements do at this AUC."""
        if not 0.5 < auc < 1:
            raise InputError(f"`auc` must lie between 0.5 (never told) and 1 (always told), got {auc:g}: 0.6 is little")
        twins = auc / (2 - auc) + 2 * auc**2 / (1 + auc) - 2 * auc**2
        return PairedDesign(
            sd_difference=math.sqrt((3 - 2 * auc) * twins),
            prompts_per_cluster=self.prompts_per_cluster,
            level=self.level,
            n_tests=self.n_tests,
        )


def detection_power(design: DetectionDesign, *, auc: float, n_prompts: int) -> PowerAnswer:
    """Probability that replies which are told with this AUC are shown to be told."""
    found = paired_power(design.of(auc), effect=auc - 0.5, n_prompts=n_prompts)
    sentence = (
        f"{n_prompts:,} prompts from {found.n_clusters:,} clusters show that replies told {auc:.0%} of the time are "
        f"told from people's with power {found.power:.0%}."
    )
    return replace(found, effect=auc, sentence=sentence)


def detection_sample_size(design: DetectionDesign, *, auc: float, power: float = 0.8) -> PowerAnswer:
    """Smallest number of prompts that shows that replies are told with this AUC."""
    found = paired_sample_size(design.of(auc), effect=auc - 0.5, power=power)
    sentence = (
        f"To show with power {power:.0%} that replies told {auc:.0%} of the time are told from people's, take "
        f"{found.n:,} prompts from {found.n_clusters:,} clusters."
    )
    return replace(found, effect=auc, sentence=sentence)


def detection_detectable(design: DetectionDesign, *, n_prompts: int, power: float = 0.8) -> PowerAnswer:
    """Smallest AUC that so many prompts show. Raises InputError: they are so few that nothing shows."""
    check_power(power)

    def is_shown(auc: float) -> bool:
        return detection_power(design, auc=auc, n_prompts=n_prompts).power >= power

    if not is_shown(ALWAYS_TOLD):
        raise InputError(f"`n_prompts` must be enough to show replies that are always told, got {n_prompts}: take more")
    auc = smallest_effect(is_shown, low=0.5, high=ALWAYS_TOLD)
    found = detection_power(design, auc=auc, n_prompts=n_prompts)
    sentence = (
        f"{n_prompts:,} prompts from {found.n_clusters:,} clusters show replies told {auc:.0%} of the time or more "
        f"with power {power:.0%}."
    )
    return replace(found, power=power, sentence=sentence)
