"""Which replies are in the low tail, what a search finds, and which study keeps them hidden."""

from __future__ import annotations

from dataclasses import replace

from panels import a_study, favouring, seats
from sqlalchemy import Engine

from harness.judging.scored import ScoredGeneration
from harness.studies.studies import close_study
from harness.types import Generation, Message, Prompt
from harness.ui.browse import draw_exhibit
from harness.ui.gallery import Exhibit, against_people, assemble, low_tail, score_names, studies_in_the_way, votes_on

NAME = "coherence · likelihood"


def a_prompt(number: int) -> Prompt:
    said = Message(role="user", content=f"Where, {number}?", name="BEN")
    return Prompt(id=f"p{number}", messages=(said,), split="test", cluster="film", reference="Out.")


def a_generation(number: int, variant: str, text: str = "") -> Generation:
    return Generation(
        prompt_id=f"p{number}", variant=variant, draw=0, text=text or f"{variant} says {number}", seed=0, n_tokens=3,
        finish_reason="stop", cluster="film",
    )  # fmt: skip


def a_score(number: int, variant: str, value: float | None) -> ScoredGeneration:
    return ScoredGeneration(
        prompt_id=f"p{number}", variant=variant, draw=0, cluster="film", criterion="coherence", judge_id="j1",
        value=value, status="ok" if value is not None else "refused", mode="likelihood", reason="", item_id="i",
    )  # fmt: skip


def the_exhibits() -> tuple[Exhibit, ...]:
    prompts = {f"p{i}": a_prompt(i) for i in range(4)}
    generations = [a_generation(i, v) for v in ("base", "sft") for i in range(4)]
    values: dict[str, list[float | None]] = {"base": [0.4, 0.1, 0.9, None], "sft": [0.5, 0.8, 0.2, 0.7]}
    scores = [a_score(i, v, values[v][i]) for v in values for i in range(4)]
    return assemble(prompts, generations, scores, {"j1": "likelihood"})


def test_the_low_tail_is_the_lowest_share_and_a_missing_score_is_none_of_it() -> None:
    exhibits = the_exhibits()
    assert score_names(exhibits) == [NAME]
    # 7 scores; the lowest 25 % are 2 of them: base 0.1 of p1, then sft 0.2 of p2
    assert [e.prompt.id for e in low_tail(exhibits, score=NAME, share=0.25)] == ["p1", "p2"]
    assert [e.prompt.id for e in low_tail(exhibits, score=NAME, share=1.0, variant="base")] == ["p1", "p0", "p2"]


def test_a_reply_is_shown_with_the_thinking_before_it_and_one_that_is_missing_with_the_reason() -> None:
    thoughtful = replace(a_generation(0, "base"), thinking="<b>Hm.</b>")
    refused = replace(a_generation(0, "sft"), text="", finish_reason="refused", reason="the model refused to answer")
    (exhibit,) = assemble({"p0": a_prompt(0)}, [thoughtful, refused], [], {})
    drawn = draw_exhibit(exhibit)
    assert "<summary>thinking</summary>&lt;b&gt;Hm.&lt;/b&gt;" in drawn
    assert "the model refused to answer" in drawn
    assert "refused: no reply" in drawn


def test_a_search_finds_scene_reply_and_film_in_any_case() -> None:
    exhibit = the_exhibits()[2]
    assert exhibit.holds("WHERE, 2")
    assert exhibit.holds("sft says")
    assert exhibit.holds("Film")
    assert not exhibit.holds("elsewhere")


def test_replies_in_an_open_study_are_not_shown_and_then_are(sqlite: Engine) -> None:
    a_study(sqlite, name="still-open")
    exhibits = the_exhibits()  # the study of `panels` holds the same lines for the same prompts
    assert studies_in_the_way(sqlite, exhibits) == ["still-open"]
    close_study(sqlite, "still-open")
    assert studies_in_the_way(sqlite, exhibits) == []


def test_prompts_are_found_on_which_people_prefer_what_the_judge_scores_lower(sqlite: Engine) -> None:
    created, exhibits = a_study(sqlite, panel={"raters": 3}), the_exhibits()
    for rater, liked in zip(seats(sqlite, created), ("base", "base", "sft"), strict=True):
        rater.rate(favouring(liked))
    assert votes_on(sqlite, exhibits) == {}  # it is open
    close_study(sqlite, created.study.name)
    votes = votes_on(sqlite, exhibits)
    assert votes["p0"] == {("base", "sft"): 2, ("sft", "base"): 1}
    assert [e.prompt.id for e in against_people(exhibits, votes, score=NAME)] == ["p0", "p1"]  # 0.4 < 0.5, 0.1 < 0.8
    assert "preferred in 2 of 3 votes" in draw_exhibit(exhibits[0], votes["p0"])
