from __future__ import annotations

from harness.experiment.design import ContrastDesign, MeasureDesign
from harness.experiment.questions import Question, declared_late, questions_of

MEASURE = {"loss": MeasureDesign.model_validate({"smallest_effect": {"value": 0.02, "unit": "bits_per_byte"}})}


def ask(first: str, second: str, *, measure: dict[str, MeasureDesign] = MEASURE) -> Question:
    contrast = ContrastDesign(name=f"{first}-against-{second}", arms=(first, second))
    identity = {name: f"digest of {name}" for name in (first, second)}
    (question,) = questions_of([contrast], measure, family=["loss"], identity=identity)
    return question


def is_late(question: Question, **standing: Question) -> bool:
    known = {arm: {asked.digest} for arm, asked in standing.items()}
    return declared_late([question], declaration="whole", standing=[known]) != ()


def test_a_second_comparison_that_shares_a_side_came_first_of_its_own_data() -> None:
    first, second = ask("sft", "base"), ask("dpo", "base")
    assert not is_late(first, sft=first, base=first)
    assert not is_late(second, dpo=second, base=first)  # the base had replied for another question


def test_a_question_between_arms_that_both_had_replied_is_late() -> None:
    first, second, between = ask("sft", "base"), ask("dpo", "base"), ask("dpo", "sft")
    assert is_late(between, dpo=second, sft=first)


def test_a_question_turned_round_is_the_same() -> None:
    assert ask("sft", "base").digest == ask("base", "sft").digest != ask("dpo", "base").digest


def test_another_smallest_effect_is_another_question() -> None:
    larger = {"loss": MeasureDesign.model_validate({"smallest_effect": {"value": 0.05, "unit": "bits_per_byte"}})}
    before, after = ask("sft", "base"), ask("sft", "base", measure=larger)
    assert before.digest != after.digest
    assert is_late(after, sft=before, base=before)
    assert not is_late(before, sft=before, base=before)


def test_every_seed_must_have_been_asked_in_time_and_old_replies_know_the_whole_declaration() -> None:
    asked, other = ask("sft", "base"), ask("dpo", "base")
    seeds = [{"sft": {asked.digest}, "base": {"whole"}}, {"sft": {other.digest}, "base": set[str]()}]
    assert declared_late([asked], declaration="whole", standing=seeds[:1]) == ()
    assert declared_late([asked], declaration="whole", standing=seeds) == (asked.label,)
    assert declared_late([asked], declaration="whole", standing=[{"sft": {"whole"}, "base": {"whole"}}]) == ()
    assert declared_late([asked], declaration="whole", standing=[{}]) == ()  # nobody replied: no data yet
