"""Splits by film: seeded, stable when films are added, large enough to test on where the corpus allows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from corpora import films
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ConfigError, SplitError
from harness.types import Split
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.splits import TOO_FEW_CLUSTERS, split_corpus, with_clusters_to_resample

seeds = st.integers(0, 10_000)


def sizes(corpus: Corpus, **options: float) -> dict[str, int]:
    splits = split_corpus(corpus, **{"seed": 0, **options})  # type: ignore[arg-type]
    return {split: len(splits.clusters(split)) for split in ("train", "validation", "test")}


class TestShares:
    def test_a_corpus_of_cornells_size_is_cut_about_70_10_20(self) -> None:
        corpus = films(617)
        for seed in range(3):
            found = sizes(corpus, seed=seed)
            # 617 independent draws: standard deviations 11.4, 7.5 and 9.9 films around 432, 62 and 123.
            assert abs(found["train"] - 432) < 4 * 11.4
            assert abs(found["validation"] - 62) < 4 * 7.5
            assert abs(found["test"] - 123) < 4 * 9.9

    @given(n=st.integers(12, 60), seed=seeds)
    @settings(deadline=None)
    def test_ten_test_films_wherever_one_film_each_is_left(self, n: int, seed: int) -> None:
        found = sizes(films(n), seed=seed)
        assert found["test"] >= 10
        assert found["validation"] >= 1
        assert found["train"] >= 1
        assert not split_corpus(films(n), seed=seed).verdict_limit

    @given(n=st.integers(3, 11), seed=seeds)
    @settings(deadline=None)
    def test_below_twelve_films_no_verdict_is_promised(self, n: int, seed: int) -> None:
        splits = split_corpus(films(n), seed=seed)
        assert all(splits.clusters(split) for split in ("train", "validation", "test"))
        assert splits.verdict_limit == (TOO_FEW_CLUSTERS if len(splits.clusters("test")) < 10 else "")
        assert len(splits.clusters("test")) >= (2 if n >= 4 else 1)

    def test_the_least_number_can_be_chosen(self) -> None:
        assert sizes(films(30), min_test_clusters=20)["test"] == 20
        assert sizes(films(30), min_test_clusters=1)["test"] == sizes(films(30), min_test_clusters=2)["test"]


class TestStability:
    def test_other_film_names_draw_other_splits(self) -> None:
        ours, theirs = split_corpus(films(60), seed=1), split_corpus(films(60, prefix="film-"), seed=1)
        assert [*ours.assigned.values()] != [*theirs.assigned.values()]

    @given(n=st.integers(12, 40), more=st.integers(1, 40), seed=seeds)
    @settings(deadline=None, max_examples=200)
    def test_adding_films_moves_none_into_test(self, n: int, more: int, seed: int) -> None:
        before, after = split_corpus(films(n), seed=seed), split_corpus(films(n + more), seed=seed)
        assert not set(after.clusters("test")) & {*before.clusters("train"), *before.clusters("validation")}

    @given(n=st.integers(80, 120), more=st.integers(1, 40), seed=seeds)
    @settings(deadline=None, max_examples=30)
    def test_in_a_corpus_that_fills_its_shares_no_film_moves_at_all(self, n: int, more: int, seed: int) -> None:
        before, after = split_corpus(films(n), seed=seed), split_corpus(films(n + more), seed=seed)
        if len(before.clusters("test")) > 10 and len(before.clusters("validation")) > 2:
            assert {film: after.assigned[film] for film in before.assigned} == before.assigned


class TestFewFilms:
    @pytest.mark.parametrize("n", [1, 5])
    def test_under_six_films_conversations_are_the_clusters(self, n: int) -> None:
        corpus = films(n)
        # Two conversations a film, far apart in line numbers: two scenes.
        second = tuple(
            replace(c, id=f"{c.id}9", utterances=tuple(replace(u, id=f"{u.id}9") for u in c.utterances))
            for c in corpus.conversations
        )
        clustered = with_clusters_to_resample(replace(corpus, conversations=corpus.conversations + second))
        assert clustered.cluster_unit == "conversation"
        assert len(clustered.clusters) == 2 * n
        if n > 1:
            assert split_corpus(clustered, seed=0).notes == ("these films only",)
            assert clustered.seen == {f"conversations resampled in place of {n} films, fewer than 6": 2 * n}

    def test_a_scene_cut_in_two_stays_in_one_cluster(self) -> None:
        corpus = films(1, texts={0: ["one", "two", "three", "four", "five", "six"]})
        (whole,) = corpus.conversations
        halves = (
            replace(whole, utterances=whole.utterances[:4]),
            replace(whole, id="m0:L4", utterances=whole.utterances[4:]),
        )
        clustered = with_clusters_to_resample(replace(corpus, conversations=halves))
        assert clustered.clusters == ("m0:L0",)

    def test_six_films_are_kept(self) -> None:
        assert with_clusters_to_resample(films(6)) == films(6)
        assert split_corpus(films(6), seed=0).notes == ()


class TestExplicitSplits:
    def test_they_are_kept_and_the_rest_is_drawn(self) -> None:
        corpus = replace(films(60), explicit_splits={"m0": "test", "m1": "train", "m2": "validation"})
        for seed in range(5):
            splits = split_corpus(corpus, seed=seed)
            assert [splits.assigned[film] for film in ("m0", "m1", "m2")] == ["test", "train", "validation"]
            assert len(set(splits.assigned.values())) == 3

    def test_a_file_of_test_rows_alone(self) -> None:
        explicit: dict[str, Split] = {"m0": "test", "m1": "test"}
        splits = split_corpus(replace(films(2), explicit_splits=explicit), seed=0)
        assert splits.clusters("test") == ("m0", "m1")
        assert splits.clusters("train") == ()

    def test_their_films_are_never_cut_into_conversations(self) -> None:
        corpus = replace(films(3), explicit_splits={"m0": "test"})
        assert with_clusters_to_resample(corpus) == corpus


class TestFaults:
    @pytest.mark.parametrize("shares", [(0.0, 0.1), (0.9, 0.1), (0.2, -0.1), (1.0, 0.5)])
    def test_shares_that_leave_nothing(self, shares: tuple[float, float]) -> None:
        with pytest.raises(ConfigError, match="together below 1"):
            split_corpus(films(20), seed=0, test_share=shares[0], validation_share=shares[1])

    @pytest.mark.parametrize("n", [1, 2])
    def test_too_few_to_split(self, n: int) -> None:
        with pytest.raises(SplitError, match=f"at least 3 clusters .* got {n}"):
            split_corpus(films(n), seed=0)
