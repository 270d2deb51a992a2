from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from preference_data import pair, prompt

from harness.experiment.record_parts import pair_caveat
from harness.store.artifacts import to_json
from harness.types import PreferencePair
from pipelines.preferences.audit import MIN_TEXTS, audit_pairs, find_tells, is_clear

WORDS = ["red", "green", "blue", "round", "flat", "tall", "small", "old", "new", "warm", "cold", "soft"]


def said(rng: np.random.Generator, n: int) -> str:
    return " ".join(rng.choice(WORDS, size=n))


def balanced(n: int = 120, *, seed: int = 0) -> list[PreferencePair]:
    """Both sides drawn alike: nothing to find."""
    rng = np.random.default_rng(seed)
    return [
        pair(row, chosen=said(rng, 5), rejected=said(rng, 5), margin=float(rng.random()),
             prompt=prompt(f"p{row}", split="train", asked=f"q{row}", reply="yes", cluster=f"m{row % 12}"))
        for row in range(n)
    ]  # fmt: skip


def test_balanced_pairs_show_no_bias() -> None:
    audit = audit_pairs(balanced(), seed=0)
    assert audit.biases == ()
    assert audit.length_gap.value == 0
    assert audit.longer_chosen.value == 0.5
    assert audit.n_words_tested == len(WORDS)
    assert audit.position_agreement is None
    assert audit.margins is not None
    assert audit.margins.quantiles["0"] < audit.margins.quantiles["0.5"] < audit.margins.quantiles["1"]


def test_a_planted_word_is_found_with_its_side_and_an_interval_away_from_zero() -> None:
    pairs = [replace(p, rejected=f"{p.rejected} indeed!") if i % 3 else p for i, p in enumerate(balanced())]
    tells, _ = find_tells(pairs)
    clear = {tell.word: tell for tell in tells if is_clear(tell)}
    assert set(clear) == {"indeed", "!"}
    tell = clear["indeed"]
    assert (tell.n_chosen, tell.n_rejected) == (0, 80)
    # half a row added to each cell: logit(0.5 / 121) − logit(80.5 / 121) = −5.485 − 0.687
    assert tell.log_odds.value == pytest.approx(np.log(0.5 / 120.5) - np.log(80.5 / 40.5), abs=1e-9)
    assert tell.log_odds.high is not None
    assert tell.log_odds.high < 0
    (bias,) = [b for b in audit_pairs(pairs, seed=0).biases if b.name == "words of rejected"]
    assert "“indeed”" in bias.sentence


def test_longer_chosen_replies_are_a_bias() -> None:
    pairs = [replace(p, chosen=f"{p.chosen} round again") for p in balanced()]
    audit = audit_pairs(pairs, seed=0)
    assert audit.length_gap.value == 2
    assert audit.longer_chosen.value == 1
    assert "Chosen replies are longer, by 2.0 words on average." in [b.sentence for b in audit.biases]


def test_rare_words_are_not_tested() -> None:
    pairs = [replace(p, chosen=f"{p.chosen} zebra") if i < MIN_TEXTS - 1 else p for i, p in enumerate(balanced())]
    assert "zebra" not in {tell.word for tell in find_tells(pairs)[0]}


def test_verdicts_that_turn_with_the_sides_are_a_bias() -> None:
    pairs = [replace(p, orders_agree=i % 2 == 0) for i, p in enumerate(balanced())]
    audit = audit_pairs(pairs, seed=0)
    assert audit.position_agreement is not None
    assert audit.position_agreement.value == 0.5
    assert "50% of the verdicts turned with the sides." in [b.sentence for b in audit.biases]


def test_repetition_and_copies_of_the_human_reply_are_counted() -> None:
    long = "this is a reply of more than eight words in all"
    pairs = balanced()
    pairs[5] = replace(pairs[5], rejected=f"{long}!", prompt=replace(pairs[5].prompt, reference=long))
    pairs += [pairs[0], pairs[1]]
    audit = audit_pairs(pairs, seed=0)
    assert (audit.n_repeated_rows, audit.n_repeated_chosen) == (2, 2)
    assert audit.near_copies is not None
    assert audit.near_copies.value == pytest.approx(1 / 122)


def test_pairs_of_the_reference_say_whose_text_they_prefer() -> None:
    pairs = [replace(p, preferred_by="reference", margin=None) for p in balanced()]
    audit = audit_pairs(pairs, seed=0)
    assert audit.margins is None
    assert [b.name for b in audit.biases] == ["author"]


@pytest.mark.parametrize(
    ("preferred_by", "says"),
    [
        ("reference", "to samples of the model it started from. Nobody judged"),
        ("other reply", "to what people replied in other films. Both are people's words"),
        ("a judge", "the preferences of a judge, not people's. Of its 120 pairs: no systematic bias was found."),
    ],
)
def test_a_report_says_who_preferred(preferred_by: str, says: str) -> None:
    audit = audit_pairs([replace(p, preferred_by=preferred_by, margin=None) for p in balanced()], seed=0)
    assert f"it learned {'' if preferred_by == 'a judge' else 'to prefer '}" in pair_caveat("it", to_json(audit))
    assert says in pair_caveat("it", to_json(audit))


def test_one_film_gives_no_interval_and_no_tell() -> None:
    pairs = [replace(p, prompt=replace(p.prompt, cluster="m0"), chosen=f"{p.chosen} indeed") for p in balanced()]
    audit = audit_pairs(pairs, seed=0)
    assert not audit.length_gap.has_interval
    assert not any(is_clear(tell) for tell in audit.tells)
    assert audit.biases == ()


def test_false_tells_stay_rare() -> None:
    """Of 60 audits of balanced pairs, those that name any word as a tell; the share expected is at most 5 %."""
    n_false = sum(any(map(is_clear, find_tells(balanced(seed=seed))[0])) for seed in range(60))
    assert n_false <= 8  # P(Binomial(60, 0.05) > 8) < 0.005
