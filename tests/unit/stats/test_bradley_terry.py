from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from certain import golden, holds, sure
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats import StrengthFit, Unfitted, Votes, fit_strengths, read_votes

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "stats"


def pudding() -> Votes:
    left, right, winner = [], [], []
    with (GOLDEN / "pudding.csv").open() as file:
        for row in csv.DictReader(file):
            for name, column in (("left", "first_wins"), ("right", "second_wins"), ("tie", "ties")):
                count = int(row[column])
                left += [row["first"]] * count
                right += [row["second"]] * count
                winner += [name] * count
    return read_votes(left, right, winner, clusters=range(len(left)))


def fitted(votes: Votes, **options: bool) -> StrengthFit:
    fit = fit_strengths(votes, **options)
    assert isinstance(fit, StrengthFit)
    return fit


def simulated(seed: int, n: int = 1500, *, ties: bool = True, n_clusters: int = 50, advantage: float = 0.0) -> Votes:
    rng = np.random.default_rng(seed)
    strength = np.array([0.5, 0.0, -0.5])
    left = rng.integers(3, size=n)
    right = (left + rng.integers(1, 3, size=n)) % 3
    clusters = rng.integers(n_clusters, size=n)
    eta = (strength[left] - strength[right] + advantage) / 2
    names = np.array(["a", "b", "c"])
    return read_votes(names[left], names[right], winners(eta, 0.7 * ties, rng), clusters=clusters)


def winners(eta: np.ndarray, tie: float, rng: np.random.Generator) -> np.ndarray:
    """Drawn from Davidson's model."""
    weights = np.column_stack([np.exp(eta), np.exp(-eta), np.full(len(eta), tie)])
    shares = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    drawn: np.ndarray = np.array(["left", "right", "tie"])[(rng.random(len(eta))[:, None] > shares).sum(axis=1)]
    return drawn


def test_davidsons_puddings_against_the_published_fit_and_statsmodels() -> None:
    puddings = golden("pudding")
    published, theirs = puddings["published"], puddings["statsmodels"]
    fit = fitted(pudding(), with_position=False)
    worth = np.exp(fit.parameters.values[:6]) / np.exp(fit.parameters.values[:6]).sum()
    assert worth == pytest.approx(published["worth"], abs=3e-5)  # printed after seven iterations
    assert np.exp(sure(fit.tie).value) == pytest.approx(published["tie"], abs=1e-4)
    assert worth == pytest.approx(theirs["worth"], rel=1e-8)
    assert np.exp(sure(fit.tie).value) == pytest.approx(theirs["tie"], rel=1e-8)
    # one vote a cluster: the sandwich estimates what the model assumes
    assert fit.contrast("6", "1").estimate.se == pytest.approx(theirs["model_se_6_minus_1"], rel=0.05)


def test_without_ties_against_evalica() -> None:
    theirs = golden("evalica")
    left, right, winner = zip(*theirs["votes"], strict=True)
    fit = fitted(read_votes(left, right, winner, clusters=range(len(left))), with_position=False)
    assert fit.tie is None
    for name, estimate in zip(fit.variants, fit.strengths, strict=True):
        assert estimate.value == pytest.approx(theirs["strengths"][name], abs=1e-6)


@settings(max_examples=15)
@given(seed=st.integers(0, 500))
def test_swapping_sides_relabelling_and_permuting(seed: int) -> None:
    votes = simulated(seed, 400)
    names = np.array(["a", "b", "c"])
    left, right, winner = names[votes.left], names[votes.right], np.array(["left", "right", "tie"])[votes.winner]
    clusters = votes.clusters.codes
    one = fitted(votes)
    swap = {"left": "right", "right": "left", "tie": "tie"}
    order = np.random.default_rng(seed).permutation(400)
    relabel = {"a": "z", "b": "y", "c": "x"}
    other = fitted(
        read_votes(
            [relabel[x] for x in right[order]],
            [relabel[x] for x in left[order]],
            [swap[w] for w in winner[order]],
            clusters=[f"film {c}" for c in clusters[order]],
        )
    )
    mine, theirs = one.contrast("a", "c"), other.contrast("z", "x")
    assert mine.estimate.value == pytest.approx(theirs.estimate.value, abs=1e-8)
    assert mine.estimate.se == pytest.approx(theirs.estimate.se, rel=1e-6)
    assert sure(one.position).value == pytest.approx(-sure(other.position).value, abs=1e-8)


def test_repeating_a_clusters_votes_everywhere_does_not_make_surer() -> None:
    votes = simulated(1)
    twice = votes.taken(np.tile(np.arange(len(votes)), 2))
    assert fitted(twice).contrast("a", "b").estimate.se == pytest.approx(fitted(votes).contrast("a", "b").estimate.se)


def test_position_and_length_advantages_are_recovered() -> None:
    rng = np.random.default_rng(3)
    n = 6000
    length = rng.normal(0, 20, size=n)
    first = rng.random(n) < 0.5
    a_left = np.where(first, "a", "b")
    strength = np.where(first, 1, -1) * 0.4  # a over b
    eta = (strength + 0.3 + 0.03 * length) / 2
    fit = fitted(
        read_votes(
            a_left, np.where(first, "b", "a"), winners(eta, 0.5, rng), clusters=np.arange(n) // 30,
            length_difference=length,
        )
    )  # fmt: skip
    assert holds(fit.contrast("a", "b").estimate, 0.4)
    assert holds(fit.position, 0.3)
    assert holds(fit.length, 0.03)
    assert holds(fit.tie, math.log(0.5))


def test_both_bad_is_a_tie() -> None:
    votes = read_votes(
        ["a"] * 9, ["b"] * 9, ["left"] * 3 + ["right"] * 2 + ["tie", "both_bad", "both_bad", "tie"], clusters=range(9)
    )
    assert sure(fitted(votes, with_position=False).tie).value == pytest.approx(np.log(4 / np.sqrt(6)))


@pytest.mark.parametrize(
    ("left", "right", "said", "groups"),
    [
        ("abcd", "badc", "never compared", (("a", "b"), ("c", "d"))),
        ("abc", "bcb", "never lost", (("b", "c"), ("a",))),
        ("ab" * 10, "ba" * 10, "separated: one side", (("a", "b"),)),  # it is fitted without a position
    ],
)
def test_what_the_votes_do_not_determine_is_reported_not_fitted(
    left: str, right: str, said: str, groups: tuple[tuple[str, ...], ...]
) -> None:
    votes = read_votes(list(left), list(right), ["left"] * len(left), clusters=range(len(left)))
    result = fit_strengths(votes)
    assert isinstance(result, Unfitted)
    assert said in result.reason
    assert result.groups == groups
    assert isinstance(fit_strengths(votes, with_position=False), StrengthFit) == said.startswith("separated")


def test_one_cluster_gives_no_interval() -> None:
    fit = fitted(simulated(4, 200, n_clusters=1))
    assert (fit.strengths[0].low, fit.contrast("a", "b").p_value) == (None, None)


def test_crossed_raters_widen_the_interval() -> None:
    rng = np.random.default_rng(6)
    raters, prompts = np.repeat(np.arange(4), 100), np.tile(np.arange(100), 4)
    taste = np.array([1.5, 0.5, -0.5, 1.0])[raters]
    winner = np.where(rng.random(400) < 1 / (1 + np.exp(-taste)), "left", "right")
    crossed = fitted(read_votes(["a"] * 400, ["b"] * 400, winner, clusters=prompts, raters=raters), with_position=False)
    alone = fitted(read_votes(["a"] * 400, ["b"] * 400, winner, clusters=prompts), with_position=False)
    these, people = crossed.strengths[0], crossed.people[0]
    assert these.se == alone.strengths[0].se
    assert sure(people.se) > 2 * sure(these.se)
    assert alone.people == ()
    assert (crossed.strengths[0].notes[0], crossed.people[0].notes[0]) == (
        "about these 4 raters",
        "about raters like these 4",
    )
