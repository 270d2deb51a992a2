"""What people preferred, in sentences that say what they count; by hand on small panels."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from panels import Rule, a_study, favouring, saying, seats
from sqlalchemy import Engine, update

from harness.reporting import study_text
from harness.reporting.publication import publish
from harness.studies.items import ItemReply
from harness.studies.results import StudyResults, study_results
from harness.studies.sql_schema import studies
from harness.studies.studies import Created, close_study, find_study
from harness.studies.tally import OUTCOMES, PromptVotes
from harness.ui.results import draw_answer, draw_disputes, draw_folded


def vote_by(engine: Engine, created: Created, wanted: dict[str, str]) -> StudyResults:
    """Everybody votes as `wanted` says of each prompt, or of a prompt and a rater: a variant, tie or both_bad."""

    def wish(of: str) -> Rule:
        vote = saying(lambda row: wanted.get(f"{row.prompt_id} {of}", wanted.get(row.prompt_id, "sft")))
        return lambda task, row: dataclasses.replace(vote(task, row), comment="why not")

    for link, rater in zip(created.links, seats(engine, created), strict=True):
        rater.rate(wish(link.rater))
    return study_results(engine, created.study)


def test_prompts_preferred_tied_split_and_bad_are_told_apart_from_the_mean_vote(engine: Engine) -> None:
    created = a_study(engine, n_prompts=10, variants=("sft", "base"))
    ties = {f"p{i}": "tie" for i in range(3)}
    split = {"p3 rater-1": "base", "p3 rater-2": "tie"}
    found = vote_by(engine, created, {**ties, **split})
    (pair,) = found.pairs
    assert {name: pair.tally.n(name) for name in OUTCOMES} == {
        "variant": 6, "opponent": 0, "tie": 3, "split": 1, "both_bad": 0,
    }  # fmt: skip
    assert pair.look.estimate.value == (6 + 3 * 0.5 + 0.5) / 10
    said = study_text.preferred(pair)
    assert said.startswith("Most raters preferred sft on 6 of 10 prompts (60\u00a0% [")
    assert said.endswith("base on 0, neither on 3 (equally good) and no majority on 1.")
    assert "The average vote for sft is 80\u00a0% [" in study_text.mean_vote(pair)
    page = draw_answer(found)
    assert page.count("<i style") == 10
    assert "log-odds" not in page
    assert "Krippendorff" not in page
    assert draw_disputes(found).count('class="prompt"') == 1
    assert "why not" in draw_disputes(found)


def test_what_three_raters_cannot_say_is_said_once(engine: Engine) -> None:
    created = a_study(engine, n_prompts=8)
    wanted = {f"p{i} rater-1": "base" for i in range(8)} | {f"p{i} rater-2": "tie" for i in range(4)}
    vote_by(engine, created, wanted)
    close_study(engine, created.study.name)
    found = study_results(engine, find_study(engine, created.study.name))
    folded = dict(draw_folded(found))
    assert "×10" not in "".join(folded.values())
    assert folded["Would other people say the same?"].count("too few to say") == 1


def test_prompts_without_a_reply_are_told_with_whose_they_were(engine: Engine) -> None:
    created = a_study(engine)
    with engine.begin() as connection:
        connection.execute(update(studies).values(lineage={"left_out": 3, "silent": {"base": 3, "sft": 0}}))
    found = study_results(engine, find_study(engine, created.study.name))
    assert study_text.dropped(found).startswith("3 prompts had no reply of some variant (base: 3) and were not rated")
    assert study_text.dropped(found) in draw_answer(found)


def test_replies_stay_hidden_while_somebody_may_still_rate_them(engine: Engine) -> None:
    created = a_study(engine, n_prompts=4, block=1)
    for rater, liked in zip(seats(engine, created), ("sft", "base", "sft"), strict=True):
        rater.rate(favouring(liked), limit=3)
    found = study_results(engine, created.study)
    assert found.pairs[0].tally.disputed
    assert draw_disputes(found) == ""


def test_a_publication_names_nobody(engine: Engine, tmp_path: Path) -> None:
    created = a_study(engine, n_prompts=6, panel={"raters": 2, "names": ["Grete-Hermann", "Emmy"]})
    vote_by(engine, created, {"p1 Emmy": "base"})
    assert publish(engine, created.study, tmp_path / "out") == 12
    written = "".join(file.read_text() for file in (tmp_path / "out").iterdir())
    assert "Grete" not in written
    assert "Emmy" not in written
    assert all(link.token not in written for link in created.links)
    assert "2 raters compared two replies to each prompt" in written
    assert "| Mean vote for base against sft |" in written


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "tie", "both_bad"]), min_size=1, max_size=9))
def test_an_outcome_is_what_more_than_half_said(votes: list[str]) -> None:
    prompt = PromptVotes(
        prompt_id="p",
        messages=(),
        replies=(ItemReply(variant="a", text=""), ItemReply(variant="b", text="")),
        votes=tuple((f"r{i}", vote) for i, vote in enumerate(votes)),
        comments=(),
        mean=0.5,
    )
    said = {"variant": "a", "opponent": "b"}.get(prompt.outcome, prompt.outcome)
    assert (said == "split") == all(2 * votes.count(v) <= len(votes) for v in votes)
    assert said == "split" or 2 * votes.count(said) > len(votes)
    swapped = dataclasses.replace(prompt, replies=prompt.replies[::-1])
    assert swapped.disagreement == prompt.disagreement
