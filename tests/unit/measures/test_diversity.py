"""Diversity: arithmetic by hand, laws, and the interval's coverage where rows depend on each other."""

from __future__ import annotations

import math
from itertools import combinations

import nouns
import numpy as np
import pytest
from certain import holds, sure
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.measures.diversity import distinct, film_diversity, self_bleu
from harness.stats import mean_estimate, paired_contrast
from harness.types import FinishReason, Generation

TEXTS = st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=6), min_size=1, max_size=6)


def generation(key: str, film: str, text: str, *, variant: str = "base", finish: FinishReason = "stop") -> Generation:
    return nouns.generation(text, key, cluster=film, variant=variant, finish=finish)


def test_distinct_counts_types_over_tokens() -> None:
    texts = [["a", "b", "a"], ["b", "c"]]
    assert distinct(texts, n=1) == pytest.approx(3 / 5)  # a b c among a b a b c
    assert distinct(texts, n=2) == pytest.approx(3 / 3)  # ab ba bc; no pair reaches from one reply into the next


def test_distinct_at_a_size_is_the_mean_over_all_draws_of_that_size() -> None:
    tokens = ["a", "a", "a", "b", "b", "c"]
    draws = [len(set(draw)) / 4 for draw in combinations(tokens, 4)]
    assert distinct([tokens], n=1, size=4) == pytest.approx(sum(draws) / len(draws))


@given(TEXTS)
def test_distinct_at_size_one_is_one_and_at_full_size_the_plain_share(texts: list[list[str]]) -> None:
    n_words = sum(map(len, texts))
    assert distinct(texts, n=1, size=1) == pytest.approx(1)
    assert distinct(texts, n=1, size=n_words) == pytest.approx(len({w for t in texts for w in t}) / n_words)


def test_distinct_without_enough_words_is_missing() -> None:
    assert distinct([["a"]], n=2) is None
    assert distinct([["a", "b"]], n=1, size=3) is None


def test_self_bleu_of_equal_replies_is_one_and_of_strangers_low() -> None:
    alike = {"f1": [["i", "do", "not", "know"]], "f2": [["i", "do", "not", "know"]]}
    strangers = {"f1": [["a", "b", "c", "d"]], "f2": [["e", "f", "g", "h"]]}
    assert self_bleu(alike) == pytest.approx(1)
    # Every precision is smoothed to 0.1 / (4, 3, 2, 1).
    assert self_bleu(strangers) == pytest.approx((0.1**4 / (4 * 3 * 2 * 1)) ** 0.25)


def test_self_bleu_clips_at_the_best_reference_of_another_film() -> None:
    # "a a b" against "a b": clipped unigrams a 1, b 1 of 3; bigrams ab 1 of (aa, ab); trigram none of 1, smoothed.
    first = (2 / 3 * 1 / 2 * 0.1 / 1) ** (1 / 3)
    second = (2 / 2 * 1 / 1) ** (1 / 2)  # "a b" stands whole in "a a b"
    assert self_bleu({"f1": [["a", "a", "b"]], "f2": [["a", "b"]]}) == pytest.approx((first + second) / 2)


def test_self_bleu_ignores_references_of_the_same_film() -> None:
    films = {"f1": [["a", "b"], ["a", "b"]], "f2": [["c", "d"]]}
    assert self_bleu(films) == pytest.approx((0.1 / 2 * 0.1 / 1) ** 0.5)


def test_jackknife_values_are_those_of_leaving_each_film_out() -> None:
    rng = np.random.default_rng(3)
    films = {f"f{i}": [list(rng.choice(list("abcdefgh"), size=6)) for _ in range(3)] for i in range(5)}
    rows = film_diversity(
        [generation(f"{f}-{i}", f, " ".join(t)) for f, texts in films.items() for i, t in enumerate(texts)]
    )
    whole = sure(self_bleu(films))
    left_out = {f: sure(self_bleu({g: t for g, t in films.items() if g != f})) for f in films}
    mean = math.fsum(left_out.values()) / 5
    for row in rows:
        assert row.self_bleu == pytest.approx(whole + 4 * (mean - left_out[row.cluster]))
        assert row.n_words == 18 * 5 - 18
    assert np.mean([row.self_bleu for row in rows]) == pytest.approx(whole)
    assert np.mean([row.distinct_1 for row in rows]) == pytest.approx(
        distinct([t for texts in films.values() for t in texts], n=1, size=72)
    )


def test_variants_as_diverse_as_each_other_differ_by_exactly_nothing() -> None:
    """Other words and another number of them, no pair twice in either: rounding must not pass for a difference."""
    rng = np.random.default_rng(1)

    def replies(variant: str, n_words: int) -> list[Generation]:
        words = iter(rng.permutation([f"{variant}{i}" for i in range(24 * n_words)]).tolist())
        return [
            generation(f"p{i}", f"f{i % 12}", " ".join(next(words) for _ in range(n_words)), variant=variant)
            for i in range(24)
        ]

    rows = film_diversity([*replies("a", 7), *replies("b", 11)])
    for measure in ("distinct_1", "distinct_2"):
        a, b = ([getattr(r, measure) for r in rows if r.variant == v] for v in "ab")
        assert a == b == [1.0] * 12
        test = paired_contrast(a, b, clusters=range(12))
        assert (test.estimate.value, test.p_value) == (0.0, 1.0)


@given(texts=st.lists(st.lists(st.sampled_from("abcde"), min_size=4, max_size=6), min_size=9, max_size=9))
def test_the_same_replies_in_another_order_give_the_same_rows(texts: list[list[str]]) -> None:
    first = [generation(f"p{i}", f"f{i % 3}", " ".join(t), variant="a") for i, t in enumerate(texts)]
    second = [generation(g.prompt_id, g.cluster, g.text, variant="b") for g in reversed(first)]
    rows = film_diversity([*first, *second])
    of = {v: [(r.cluster, r.distinct_1, r.distinct_2, r.self_bleu) for r in rows if r.variant == v] for v in "ab"}
    assert of["a"] == of["b"]


def test_longer_replies_of_the_same_words_are_not_called_less_diverse() -> None:
    """Plain distinct-1 halves when replies double in length; at a common size the two variants agree."""
    rng = np.random.default_rng(0)
    vocabulary = [f"w{i}" for i in range(200)]

    def replies(variant: str, n_words: int) -> list[Generation]:
        return [
            generation(f"p{i}", f"f{i % 20}", " ".join(rng.choice(vocabulary, n_words)), variant=variant)
            for i in range(100)
        ]

    rows = film_diversity([*replies("short", 5), *replies("long", 20)])
    short = [sure(r.distinct_1) for r in rows if r.variant == "short"]
    long = [sure(r.distinct_1) for r in rows if r.variant == "long"]
    assert np.mean(short) == pytest.approx(np.mean(long), abs=0.02)
    contrast = paired_contrast(short, long, clusters=[r.cluster for r in rows if r.variant == "short"]).estimate
    assert holds(contrast, 0)


def test_the_interval_covers_the_truth_though_all_rows_share_their_references() -> None:
    """Replies are one of two stock lines per film: the expected self-BLEU is known, rows as if independent miss it."""
    truth, covered, naive, n_runs, n_films = [], 0, 0, 120, 24
    values = []
    for run in range(n_runs):
        rng = np.random.default_rng(run)
        films = {f"f{i:02d}": [_line(rng)] for i in range(n_films)}
        rows = film_diversity([generation(f, f, " ".join(t[0])) for f, t in films.items()])
        estimate = mean_estimate(
            [r.self_bleu for r in rows if r.self_bleu is not None],
            clusters=[r.cluster for r in rows],
            rng=np.random.default_rng(run),
            n_resamples=200,
        )
        values.append(estimate)
        truth.append(estimate.value)
    expected = float(np.mean(truth))
    covered = sum(e.low <= expected <= e.high for e in values if e.low is not None and e.high is not None)
    naive = sum(abs(e.value - expected) <= 1.96 * (e.se or 0) / 2 for e in values)
    assert covered / n_runs >= 0.9
    assert naive / n_runs < 0.9


def _line(rng: np.random.Generator) -> list[str]:
    """Half a stock line, half words of its own: similarity rises with the share of stock in the sample."""
    if rng.random() < 0.3:
        return ["i", "do", "not", "know"]
    return [f"w{i}" for i in rng.integers(40, size=4)]


def test_one_film_gives_the_measure_without_a_claim_to_an_interval() -> None:
    rows = film_diversity([generation("p1", "f", "a b"), generation("p2", "f", "a c")])
    assert [(round(sure(r.distinct_1), 9), r.self_bleu, r.n_words) for r in rows] == [(0.75, None, 4)]


def test_empty_and_failed_replies_are_missing() -> None:
    rows = film_diversity(
        [
            generation("p1", "f1", "a b c"),
            generation("p2", "f1", ""),
            generation("p3", "f2", "d e f", finish="error"),
            generation("p4", "f3", "a b d"),
        ]
    )
    assert [(r.cluster, r.n_replies, r.n_missing) for r in rows] == [("f1", 1, 1), ("f2", 0, 1), ("f3", 1, 0)]
    assert rows[1].distinct_1 is None
    with pytest.raises(InputError, match="got none"):
        film_diversity([])
