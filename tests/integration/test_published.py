"""Published figures of human judgements, reproduced through `ratings import`, `judge import` and `judge validate`."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from certain import holds, sure
from published import (
    ABSENT,
    ALT_TEST,
    FOLDER,
    TOPICAL,
    Home,
    alt_test,
    chatgpt,
    import_people,
    pandalm,
    samples,
)

from harness.seeding import stream
from harness.stats import cohens_kappa, fit_strengths, read_votes
from harness.studies.imported import import_ratings
from harness.studies.marks import mark_table
from harness.studies.rating_rows import counted, read_rows
from harness.studies.results import study_results

pytestmark = [pytest.mark.skipif(not FOLDER.is_dir(), reason=ABSENT), pytest.mark.slow]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home.at(tmp_path_factory.mktemp("published"))
    import_people(home)
    return home


@pytest.mark.parametrize("criterion", TOPICAL)
def test_g_eval_on_topical_chat(home: Home, criterion: str) -> None:
    r, tau = TOPICAL[criterion]
    ours, authors, zero = (chatgpt(home, criterion, reading=reading) for reading in ("ours", "authors", "zero"))
    assert (round(sure(authors.linear).value, 3), round(sure(authors.within).value, 3)) == (r, tau)
    linear = sure(ours.linear)
    assert linear.value == pytest.approx(r, abs=0.01)
    # The authors' script takes any first digit for a mark, outside the scale too: it moves this figure alone.
    assert sure(ours.within).value == pytest.approx(tau, abs=0.03 if criterion == "groundedness" else 0.01)
    assert linear.value > sure(zero.linear).value - 0.001
    assert holds(linear, r)


def test_asked_to_explain_chatgpt_agrees_more_with_people(home: Home) -> None:
    for criterion, r in (("naturalness", 0.569), ("coherence", 0.505)):
        explained = sure(chatgpt(home, criterion, asked="rate_explain").linear)
        assert explained.value == pytest.approx(r, abs=0.01)
        assert explained.value > sure(chatgpt(home, criterion).linear).value
        assert explained.n > 0.99 * len(samples(criterion, "rate_explain"))


@pytest.mark.parametrize("name", ALT_TEST)
def test_alternative_annotator_figures_are_the_printed_ones(home: Home, name: str) -> None:
    for judge, ours, printed in alt_test(home, name):
        assert ours == printed, judge


def test_pandalm_labels_and_agreement(home: Home) -> None:
    rows = json.loads((FOLDER / "pandalm" / "testset-v1.json").read_text())
    said = [
        {"item": row["idx"], "rater": f"person {i}", "value": ("tie", "first", "second")[int(row[f"annotator{i}"])]}
        for row in rows
        for i in (1, 2, 3)
    ]
    study = import_ratings(home.engine, home.write("labels.jsonl", said), name="pandalm-labels").study
    marks = mark_table(counted(read_rows(home.engine, study)), "mark")
    agreed = study_results(home.engine, study).agreement[0]
    assert sure(agreed.krippendorff).value == pytest.approx(0.8642, abs=5e-5)
    assert sure(agreed.fleiss).value == pytest.approx(0.8642, abs=5e-5)
    kappas = [
        cohens_kappa(marks.table[:, i], marks.table[:, j], clusters=marks.clusters, rng=stream(0, "k"), n_resamples=100)
        for i, j in itertools.combinations(range(3), 2)
    ]
    assert sorted(round(kappa.value, 2) for kappa in kappas) == [0.85, 0.86, 0.88]
    words = study.labels["mark"]
    majority = Counter(words[int(np.bincount(row.astype(int)).argmax())] for row in marks.table)
    assert (majority["tie"], majority["first"], majority["second"]) == (105, 422, 472)


def test_pandalm_strengths_are_those_of_choix_and_evalica(home: Home) -> None:
    from evalica import Winner, bradley_terry

    choix = pytest.importorskip("choix", reason="choix is not installed")
    votes = [r for r in counted(read_rows(home.engine, pandalm(home))) if r.winner is not None]
    both: Any = fit_strengths(
        read_votes([r.shown[0].variant for r in votes], [r.shown[1].variant for r in votes],
                   [str(sure(r.rating).verdict) for r in votes], clusters=[r.cluster for r in votes])
    )  # fmt: skip
    assert both.tie.value < 0  # Davidson, ties as outcomes: 10 % of the votes
    decisive = [r for r in votes if r.winner != "tie"]
    pairs = [(str(r.winner), next(x.variant for x in r.replies if x.variant != r.winner)) for r in decisive]
    won, lost = ([pair[side] for pair in pairs] for side in (0, 1))
    fit: Any = fit_strengths(read_votes(won, lost, ["left"] * len(won), clusters=range(len(won))), with_position=False)
    names = [str(name) for name in fit.variants]
    ours = np.array([e.value for e in fit.strengths])
    params = choix.opt_pairwise(len(names), [(names.index(a), names.index(b)) for a, b in pairs])
    theirs = np.log(bradley_terry(won, lost, [Winner.X] * len(won), tolerance=1e-12).scores[names])
    assert ours == pytest.approx(params - params.mean(), abs=1e-4)
    assert ours == pytest.approx(np.asarray(theirs - theirs.mean()), abs=1e-4)
    assert np.argsort([e.value for e in both.strengths]).tolist() == np.argsort(ours).tolist()
