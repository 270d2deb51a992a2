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


def of(name: str, *numbers: Any, label: str = "clusters", chance: bool = False, **options: Any) -> Case:
    """A function of columns and `label`, with a stream of chance where it takes one."""
    about = {key: options.pop(key) for key in ("takes_nan", "one_cluster") if key in options}

    def call(columns: tuple[Any, ...], labels: Sequence[Hashable]) -> Any:
        drawn = {"rng": rng()} if chance else {}
        return getattr(stats, name)(*columns, **{label: labels}, **drawn, **options)

    return Case(call=call, numbers=numbers, **about)


THIRDS = [i % 3 for i in range(N)]
REFUSED: dict[str, Any] = {"one_cluster": "refused"}
CROSSED: dict[str, Any] = {"label": "first", "second": THIRDS, "names": ("a", "b")}
CASES = {
    "paired_contrast": of("paired_contrast", A, B),
    "contrast_of_differences": of("contrast_of_differences", A - B),
    "sign_flip": of("sign_flip", A, B, chance=True),
    "mean_estimate": of("mean_estimate", A, chance=True),
    "proportion_estimate": of("proportion_estimate", A > 3),
    "log_odds_ratio": of("log_odds_ratio", A > 3, B > 3),
    "quantile_estimate": of("quantile_estimate", A, probability=0.5),
    "concordance": of("concordance", A, B),
    "roc_auc": Case(
        call=lambda x, c: stats.roc_auc(*x, positive_clusters=c, negative_clusters=c), numbers=(A, B)
    ),
    "quantile_contrasts": of("quantile_contrasts", A, B, chance=True, **REFUSED),
    "tail_asymmetry": of("tail_asymmetry", A, B, low=2.5, high=3.5),
    "spearman": of("spearman", A, B, chance=True),
    "pearson": of("pearson", A, B, chance=True),
    "bland_altman": of("bland_altman", A, B),
    "rater_contrast": Case(
        call=lambda x, c: stats.rater_contrast(*x, raters=c, prompts=THIRDS[: len(c)]).people, numbers=(A - B,)
    ),
    "seed_contrast": of("seed_contrast", A - B, label="seeds", clusters=THIRDS),
    "seed_pilot": of("seed_pilot", A - B, seeds=THIRDS, **REFUSED),
    "crossed_mean": of("crossed_mean", A, **CROSSED),
    "crossed_share": of("crossed_share", A > B, **CROSSED),
    "pilot_power": of("pilot_power", A - B, chance=True, effect=1, n_clusters=9, **REFUSED),
    "pilot_sample_size": of("pilot_sample_size", A - B, chance=True, effect=1, **REFUSED),
    "pilot_detectable": of("pilot_detectable", A - B, chance=True, n_clusters=9, **REFUSED),
    "kendall_within": of("kendall_within", A, B),
    "alternative_annotator": of("alternative_annotator", A, marks={"a": B, "b": B, "c": A}, epsilon=0.1),
    "page_trend": of("page_trend", A, arms=THIRDS, order=[0, 1, 2], chance=True),
    "seed_components": of("seed_components", A, seeds=THIRDS, **REFUSED),
    "powered_mean": of("powered_mean", A, B, probabilities=1.0, takes_nan=True),
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
    "cohens_kappa": of("cohens_kappa", A > 3, B > 3, chance=True, takes_nan=True),
    "repeatability": of("repeatability", A, A, takes_nan=True),
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
