"""Controls: deterministic, of the right kind, from the right split, and free of foreign names."""

from __future__ import annotations

import json
from pathlib import Path

import nouns
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError, SplitError
from harness.judging.controls import FAMILIES, faults, make_control_set, read_controls, reviewed_contradictions
from harness.judging.controls.faults import same_words, words
from harness.judging.controls.foreign import ForeignReplies
from harness.seeding import stream
from harness.types import Prompt, Split


def prompt(film: str, number: int, asked: str, reply: str | None, *, split: Split = "validation") -> Prompt:
    return nouns.prompt(f"{film}-{number}", asked, cluster=film, reference=reply, split=split, name=film.upper())


SAID = (
    "Where have you been all night?",
    "Did Oskar find the letter?",
    "Who left the window open?",
    "Is there any bread?",
)
REPLIES = (
    "Walking along the river until the rain stopped.",
    "He burned it before anybody could read it.",
    "Nobody did, the storm broke it open.",
    "Only what the children left on the table.",
)


@pytest.fixture
def prompts() -> list[Prompt]:
    films = [f"film{i}" for i in range(8)]
    return [prompt(f, i, SAID[i], f"{REPLIES[i][:-1]}, {f}.") for f in films for i in range(4)]


@pytest.mark.parametrize("criterion", FAMILIES)
def test_every_family_is_planted_beside_the_true_reply(prompts: list[Prompt], criterion: str) -> None:
    controls = make_control_set(prompts, seed=1, n=10, criteria=[criterion])
    assert {c.family: c.kind for c in controls} == FAMILIES[criterion]
    for family in FAMILIES[criterion]:
        assert len([c for c in controls if c.family == family]) == 10
    assert len({c.id for c in controls}) == len(controls)
    assert not any(same_words(c.true_reply, c.control_reply) for c in controls)


def test_the_same_seed_gives_the_same_controls_and_another_seed_others(prompts: list[Prompt]) -> None:
    one, two, three = (make_control_set(prompts, seed=s, n=10, criteria=["fluency"]) for s in (1, 1, 2))
    assert one == two
    assert one != three
    assert make_control_set(prompts[::-1], seed=1, n=10, criteria=["fluency"]) == one


def test_every_film_is_used_before_any_is_used_twice(prompts: list[Prompt]) -> None:
    controls = make_control_set(prompts, seed=1, n=8, criteria=["fluency"])
    assert len({c.cluster for c in controls}) == 8


def test_short_long_and_missing_references_host_nothing(prompts: list[Prompt]) -> None:
    poor = [prompt("p", 0, "Well?", "No."), prompt("p", 1, "Well?", None), prompt("p", 2, "Well?", "word " * 41)]
    controls = make_control_set([*prompts, *poor], seed=1, n=99, criteria=["fluency"])
    assert "p" not in {c.cluster for c in controls}


def test_test_prompts_are_refused_unless_told(prompts: list[Prompt]) -> None:
    leaked = [*prompts, prompt("t", 0, "Well?", "That is quite enough for tonight.", split="test")]
    with pytest.raises(SplitError, match="`t-0` is a TEST prompt"):
        make_control_set(leaked, seed=1, n=5, criteria=["coherence"])
    assert make_control_set(leaked, seed=1, n=5, criteria=["coherence"], allow_test=True)


def test_no_controls_are_refused_in_a_sentence(prompts: list[Prompt]) -> None:
    with pytest.raises(InputError, match=r"^`n` must"):
        make_control_set(prompts, seed=1, n=0, criteria=["coherence"])


# ── faults ────────────────────────────────────────────────────────────────────────────────────────────────────────────

WORDS = ["I", "the", "brother", "never", "Lisbon,", "home!", "what?", "coming", "don't"]
LINES = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@given(LINES, st.integers(0, 99))
def test_shuffling_keeps_the_words_and_changes_their_order(line: str, seed: int) -> None:
    shuffled = faults.shuffled_words(line, rng=stream(seed, "t"))
    if shuffled is None:
        assert len({w.casefold() for w in line.split()}) <= 1
    else:
        assert shuffled != line
        assert sorted(shuffled.split()) == sorted(line.split())


@given(LINES, st.integers(0, 99))
def test_corruption_scrambles_exactly_one_long_word(line: str, seed: int) -> None:
    corrupted = faults.corrupted_word(line, rng=stream(seed, "t"))
    if corrupted is None:
        assert all(len(w.strip(",!?")) < faults.MIN_LETTERS or "'" in w for w in line.split())
        return
    changed = [(a, b) for a, b in zip(line.split(), corrupted.split(), strict=True) if a != b]
    assert len(changed) == 1
    before, after = changed[0]
    assert sorted(before.lower()) == sorted(after.lower())
    assert len(before) >= faults.MIN_LETTERS


def test_a_word_of_one_letter_repeated_cannot_be_scrambled() -> None:
    assert faults.corrupted_word("aaaa bb", rng=stream(0, "t")) is None


def test_a_loop_is_the_opening_phrase_again_and_again() -> None:
    assert faults.looped("I want to go home") == "I want to " * 4 + "I want to"
    assert faults.looped("Go home") == "Go home " * 4 + "Go home"
    assert faults.looped("") is None


def test_a_cut_ends_inside_a_word_without_its_punctuation() -> None:
    assert faults.cut_off("I was born in the lighthouse.") == "I was born"[:8]  # "born" is cut in two
    assert faults.cut_off("Well, no, I do not, sir.") == "Well, no, I"
    assert faults.cut_off("No, sir.") is None


def test_same_words_looks_past_case_and_punctuation() -> None:
    assert faults.same_words("Yes, sir!", "yes sir")
    assert not faults.same_words("Yes, sir!", "No, sir!")


# ── other films ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_donor_names_nobody_whom_the_film_does_not_know() -> None:
    host = prompt("a", 0, "Did you see Oskar there?", "He was asleep on the stairs.")
    foreign = prompt("b", 0, "And then what?", "Then Marta locked the cellar door.")
    known = prompt("c", 0, "And then what?", "Then Oskar locked the cellar door.")
    opening = prompt("d", 0, "Who was with Marta?", "Marta came with the old doctor.")
    picks = {ForeignReplies([host, foreign, known, opening]).pick(host, rng=stream(i, "t")) for i in range(20)}
    assert picks == {known.reference}


def test_a_donor_is_from_another_film_and_about_as_long(prompts: list[Prompt]) -> None:
    far = prompt("far", 0, "And?", "no " * 30)
    replies = ForeignReplies([*prompts, far])
    for host in prompts:
        reply = replies.pick(host, rng=stream(1, host.id))
        own = {p.reference for p in prompts if p.cluster == host.cluster}
        assert reply is not None
        assert reply not in own
        assert abs(len(words(reply)) - len(words(host.reference or ""))) <= 3


# ── reviewed and users' own ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_reviewed_contradictions_are_whole() -> None:
    items = reviewed_contradictions()
    assert len(items) >= 60
    assert len({i.cluster for i in items}) == len(items)
    assert len({i.messages for i in items}) == len(items)
    for item in items:
        roles = [m.role for m in item.messages]
        assert roles == ["user", "assistant", "user"], item.id  # the speaker has said it before being asked
    n_true, n_planted = (
        sum(len(words(r)) for r in rs) for rs in zip(*((i.true_reply, i.control_reply) for i in items), strict=True)
    )
    assert 0.9 < n_true / n_planted < 1.1  # length gives nothing away


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "one"}, r"line 2: `id` must be unique"),
        ({"messages": []}, r"line 2: `messages` must hold"),
        ({"control_reply": "yes, sir, at once"}, r"line 2: `control_reply` must differ"),
        ({"kind": "trap"}, r"line 2: .*trap"),
        ({"color": "red"}, r"line 2: .*color"),
    ],
)
def test_bad_controls_are_named_with_their_line(tmp_path: Path, change: dict[str, object], said: str) -> None:
    good = {
        "id": "one",
        "criterion": "fluency",
        "family": "mine",
        "kind": "discrimination",
        "messages": [{"role": "user", "content": "Ready?"}],
        "true_reply": "Yes, sir, at once.",
        "control_reply": "Sir yes once at.",
        "cluster": "film",
    }
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | {"id": "two"} | change) + "\n")
    with pytest.raises(InputError, match=said):
        read_controls(path)
