"""What no statistic may swallow: every public function refuses it with advice, or says what it cannot give."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from certain import rng

from harness import stats
from harness.errors import InputError
from harness.types import Estimate

N = 180
FILMS = [i // 3 for i in range(N)]  # 60 films: enough for every method
_noise = np.random.default_rng(5)
A, B = np.round(_noise.normal(3, 1, size=N), 3), np.round(_noise.normal(2.5, 1, size=N), 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One function with its columns of numbers and its labels apart, so that each can be spoiled."""

    call: Callable[..., Any]  # (numbers, clusters) -> result
    numbers: tuple[Any, ...]
    takes_nan: bool = False  # NaN means not marked here
    one_cluster: str = "no interval"  # or "refused"


CASES = {
    "paired_contrast": Case(call=lambda x, c: stats.paired_contrast(*x, clusters=c), numbers=(A, B)),
    "contrast_of_differences": Case(call=lambda x, c: stats.contrast_of_differences(*x, clusters=c), numbers=(A - B,)),
    "sign_flip": Case(call=lambda x, c: stats.sign_flip(*x, clusters=c, rng=rng()), numbers=(A, B)),
    "mean_estimate": Case(call=lambda x, c: stats.mean_estimate(*x, clusters=c, rng=rng()), numbers=(A,)),
    "proportion_estimate": Case(call=lambda x, c: stats.proportion_estimate(*x, clusters=c), numbers=(A > 3,)),
    "log_odds_ratio": Case(call=lambda x, c: stats.log_odds_ratio(*x, clusters=c), numbers=(A > 3, B > 3)),
    "quantile_estimate": Case(call=lambda x, c: stats.quantile_estimate(x[0], 0.5, clusters=c), numbers=(A,)),
    "concordance": Case(call=lambda x, c: stats.concordance(*x, clusters=c), numbers=(A, B)),
    "roc_auc": Case(
        call=lambda x, c: stats.roc_auc(*x, positive_clusters=c, negative_clusters=c), numbers=(A, B)
    ),
    "quantile_contrasts": Case(
        call=lambda x, c: stats.quantile_contrasts(*x, clusters=c, rng=rng()), numbers=(A, B), one_cluster="refused"
    ),
    "tail_asymmetry": Case(
        call=lambda x, c: stats.tail_asymmetry(*x, clusters=c, low=2.5, high=3.5), numbers=(A, B)
    ),
    "spearman": Case(call=lambda x, c: stats.spearman(*x, clusters=c, rng=rng()), numbers=(A, B)),
    "pearson": Case(call=lambda x, c: stats.pearson(*x, clusters=c, rng=rng()), numbers=(A, B)),
    "bland_altman": Case(call=lambda x, c: stats.bland_altman(*x, clusters=c), numbers=(A, B)),
    "rater_contrast": Case(
        call=lambda x, c: stats.rater_contrast(*x, raters=c, prompts=np.arange(len(c)) % 3).people, numbers=(A - B,)
    ),
    "seed_contrast": Case(
        call=lambda x, c: stats.seed_contrast(*x, seeds=c, clusters=np.arange(len(c)) % 3), numbers=(A - B,)
    ),
    "seed_pilot": Case(
        call=lambda x, c: stats.seed_pilot(*x, seeds=np.arange(len(c)) % 3, clusters=c),
        numbers=(A - B,),
        one_cluster="refused",
    ),
    "crossed_mean": Case(
        call=lambda x, c: stats.crossed_mean(*x, first=c, second=np.arange(len(c)) % 3, names=("a", "b")), numbers=(A,)
    ),
    "crossed_share": Case(
        call=lambda x, c: stats.crossed_share(*x, first=c, second=np.arange(len(c)) % 3, names=("a", "b")),
        numbers=(A > B,),
    ),
    "pilot_power": Case(
        call=lambda x, c: stats.pilot_power(*x, clusters=c, effect=1, n_clusters=9, rng=rng()),
        numbers=(A - B,),
        one_cluster="refused",
    ),
    "pilot_sample_size": Case(
        call=lambda x, c: stats.pilot_sample_size(*x, clusters=c, effect=1, rng=rng()),
        numbers=(A - B,),
        one_cluster="refused",
    ),
    "pilot_detectable": Case(
        call=lambda x, c: stats.pilot_detectable(*x, clusters=c, n_clusters=9, rng=rng()),
        numbers=(A - B,),
        one_cluster="refused",
    ),
    "kendall_within": Case(call=lambda x, c: stats.kendall_within(*x, clusters=c), numbers=(A, B)),
    "alternative_annotator": Case(
        call=lambda x, c: stats.alternative_annotator(x[0], {"a": B, "b": B, "c": A}, clusters=c, epsilon=0.1),
        numbers=(A,),
    ),
    "page_trend": Case(
        call=lambda x, c: stats.page_trend(x[0], [i % 3 for i in range(N)], [0, 1, 2], clusters=c, rng=rng()),
        numbers=(A,),
    ),
    "seed_components": Case(
        call=lambda x, c: stats.seed_components(*x, seeds=[i % 3 for i in range(N)], clusters=c),
        numbers=(A,),
        one_cluster="refused",
    ),
    "powered_mean": Case(
        call=lambda x, c: stats.powered_mean(*x, probabilities=1.0, clusters=c), numbers=(A, B), takes_nan=True
    ),
    "krippendorff_alpha": Case(
        call=lambda x, c: stats.krippendorff_alpha(
            np.column_stack([x[0] > 3, x[1] > 3]), scale="nominal", clusters=c, rng=rng()
        ),
        numbers=(A, B),
        takes_nan=True,
    ),
    "fleiss_kappa": Case(
        call=lambda x, c: stats.fleiss_kappa(np.column_stack([x[0] > 3, x[1] > 3]), clusters=c, rng=rng()),
        numbers=(A, B),
        takes_nan=True,
    ),
    "cohens_kappa": Case(
        call=lambda x, c: stats.cohens_kappa(list(x[0] > 3), list(x[1] > 3), clusters=c, rng=rng()),
        numbers=(A, B),
        takes_nan=True,
    ),
    "repeatability": Case(
        call=lambda x, c: stats.repeatability(list(x[0]), list(x[1]), clusters=c), numbers=(A, A), takes_nan=True
    ),
}  # fmt: skip

# Not a table of rows and clusters: designs, votes, single values. Each has its own tests of misuse beside its others.
ELSEWHERE = {
    "adjust", "binomial_p_value", "clusters_to_settle", "find_unconnected", "fit_strengths",
    "is_reachable", "jonckheere", "paired_detectable", "paired_power", "paired_sample_size",
    "read_votes", "require_reachable", "seed_shares", "seeds_detectable", "seeds_power", "seeds_sample_size",
    "smallest_effect_in_units", "verdict", "votes_detectable", "votes_power", "votes_sample_size", "wilson_interval",
    "win_rate", "within_range", "fit_rankings",
}  # fmt: skip
FUNCTIONS = sorted(name for name in stats.__all__ if name[0].islower())


def test_every_public_function_is_misused_here_or_beside_its_own_tests() -> None:
    assert CASES.keys() | ELSEWHERE == set(FUNCTIONS)
    assert not CASES.keys() & ELSEWHERE


@pytest.mark.parametrize("name", CASES)
def test_the_case_itself_works(name: str) -> None:
    result = CASES[name].call(CASES[name].numbers, FILMS)
    found = estimates(result)
    assert found or isinstance(result, float | stats.PowerAnswer | stats.SeedDesign)
    assert all(estimate.has_interval for estimate in found)


@pytest.mark.parametrize("name", CASES)
def test_columns_of_different_length_are_refused(name: str) -> None:
    case = CASES[name]
    with pytest.raises(InputError, match=r"aligned|must hold"):
        case.call(case.numbers, FILMS[:-1])
    if len(case.numbers) == 2:
        with pytest.raises((InputError, ValueError), match=r"aligned|dimension"):
            case.call((case.numbers[0][:-1], case.numbers[1]), FILMS)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.takes_nan])
def test_not_a_number_is_refused_and_never_left_out_in_silence(name: str) -> None:
    case = CASES[name]
    for place in range(len(case.numbers)):
        numbers = [np.array(column, dtype=float) for column in case.numbers]
        numbers[place][3] = math.nan
        with pytest.raises(InputError, match="must be finite, got 1 of 180"):
            case.call(numbers, FILMS)


@pytest.mark.parametrize("name", CASES)
def test_a_row_without_a_label_is_refused(name: str) -> None:
    case = CASES[name]
    clusters: Sequence[Hashable] = [None, *FILMS[1:]]
    with pytest.raises(InputError, match="must be a label on every row"):
        case.call(case.numbers, clusters)


@pytest.mark.parametrize("name", CASES)
def test_one_cluster_gives_no_interval_or_is_refused(name: str) -> None:
    case = CASES[name]
    if case.one_cluster == "refused":
        with pytest.raises(InputError, match="clusters"):
            case.call(case.numbers, ["only"] * N)
        return
    for estimate in estimates(case.call(case.numbers, ["only"] * N)):
        assert not estimate.has_interval
        assert any("one " in note or "no interval" in note for note in estimate.notes), estimate.notes


def estimates(result: Any) -> list[Estimate]:
    """Every estimate inside a result."""
    if isinstance(result, Estimate):
        return [result]
    if isinstance(result, tuple):
        return [one for part in result for one in estimates(part)]
    fields = getattr(result, "__dataclass_fields__", {})
    return [one for field in fields for one in estimates(getattr(result, field))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures_have_few_positionals_and_demand_a_stream_of_chance(name: str) -> None:
    parameters = inspect.signature(getattr(stats, name)).parameters.values()
    positional = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    # Three where three columns or names are one thing: a vote, a pair of variants, arms in their order.
    three = {
        "read_votes": ["left", "right", "winner"],
        "win_rate": ["votes", "variant", "opponent"],
        "page_trend": ["values", "arms", "order"],
        "jonckheere": ["values", "arms", "order"],
    }
    assert positional == three[name] if name in three else len(positional) <= 2
    assert all(p.default is inspect.Parameter.empty for p in parameters if p.name in ("rng", *positional))
    chance = {p.name for p in parameters} & {"n_resamples", "n_flips", "n_permutations", "n_draws"}
    assert not chance or "rng" in {p.name for p in parameters}


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_mark_that_is_missing_is_no_mark_of_its_own(missing: float | None) -> None:
    marks: list[Any] = [1, 2, 3, missing, 2, 1]
    with pytest.raises(InputError, match="on every row"):
        stats.cohens_kappa(marks, [1, 2, 3, 3, 2, 1], clusters=range(6), rng=rng())
    with pytest.raises(InputError, match="on every row"):
        stats.repeatability(marks, marks, clusters=range(6))
