"""A judge that is taught on TRAIN films: what it marks, what it leaves missing, what it is believed on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import nouns
import numpy as np
import pytest
from certain import sure
from fakes import tiny_checkpoint, tiny_encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from stories import EXPERIMENTS

from harness.errors import InputError
from harness.judging import build_judge, load_criterion, load_judge_spec, make_control_set, qualify
from harness.judging.learned.head import ALL, REGISTER, SIGNS, HumanRange, Sign, load, save
from harness.judging.methods.learned import LearnedJudge
from harness.judging.spec import TaughtHead
from harness.models.encoder import Encoder, load_encoder
from harness.seeding import stream
from harness.store.prepared import read_prompts
from harness.types import JudgedItem, Prompt
from pipelines.corpus import prepare
from pipelines.corpus.prepare import PrepareConfig
from pipelines.teaching import teach
from pipelines.teaching.stage import CARD, write_card

CRITERIA = ("coherence", "fluency")


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    encoder: Encoder
    train: Sequence[Prompt]
    validation: Sequence[Prompt]
    taught: teach.Taught
    judge: LearnedJudge
    folder: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("learned")
    prepared, base = folder / "prepared", str(tiny_checkpoint(folder / "base"))
    prepare.run(PrepareConfig(corpus="sample", base=base, max_tokens=512), folder=prepared)
    encoder = load_encoder(str(tiny_encoder(folder / "encoder")))
    train, validation = read_prompts(prepared, "train"), read_prompts(prepared, "validation")
    taught = teach.teach(train, validation, encoder=encoder, criteria=CRITERIA, seed=7)
    save(taught.head, folder / "head")
    criteria = tuple(load_criterion(c) for c in CRITERIA)
    judge = LearnedJudge(
        id="learned@1", family="minilm", criteria=criteria, head=load(folder / "head"), encoder=encoder, max_bytes=6000
    )
    return World(
        encoder=encoder, train=train, validation=validation, taught=taught, judge=judge, folder=folder / "head"
    )


def item(reply: str, name: str = "i") -> JudgedItem:
    return nouns.item(reply, "Did you lock the gate?", id=name)


def test_a_fault_is_marked_below_the_reply_it_was_planted_in(world: World) -> None:
    replies = {
        "true": "I locked it before supper, and I checked it twice.",
        "looped": "I locked it I locked it I locked it I locked it",
        "shuffled": "supper twice checked it before I and it locked I",
        "scrambled": "I lkcode it before supper, and I cehdkec it twice.",
        "cut off": "I locked it before sup",
    }
    scores = world.judge.score([item(reply, name) for name, reply in replies.items()])
    fluency = {s.item_id: sure(s.value) for s in scores if s.criterion == "fluency"}
    assert min(fluency, key=lambda name: -fluency[name]) == "true"
    assert all(0 < value < 1 for value in fluency.values())
    asked = [item("Did you lock the gate?", "echo"), item(replies["true"], "true")]
    coherence = {s.item_id: sure(s.value) for s in world.judge.score(asked) if s.criterion == "coherence"}
    assert coherence["echo"] < 0.3 < coherence["true"]


def test_no_sign_can_be_taught_to_speak_the_other_way(world: World) -> None:
    for criterion, by_family in world.taught.head.weights.items():
        assert set(by_family) == {ALL, *world.taught.head.taught[criterion]}
        assert all(w >= 0 for found in by_family.values() for w in found.weights)
        assert all(len(found.weights) == len(SIGNS[criterion]) for found in by_family.values())
    human = np.sort(np.arange(1000.0))
    good, high = Sign(figure="x", side="good", prior=1), Sign(figure="x", side="high", prior=1)
    most = good.strength(np.array([900.0, 10_000.0, np.inf]), human)
    assert most[0] == pytest.approx(most[1]) == pytest.approx(most[2])  # above what people show it proves no more
    assert list(high.strength(np.array([0.0, 940.0, 10_000.0]), human)) == [0, 0, -1]


def test_what_was_kept_is_what_was_taught(world: World, tmp_path: Path) -> None:
    save(world.judge.head, tmp_path / "again")
    for file in world.folder.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    bank = load_file(tmp_path / "again" / "bank.safetensors")
    for vectors in ({**bank, "turns": bank["turns"][1:]}, {"replies": bank["replies"]}):
        save_file(vectors, tmp_path / "again" / "bank.safetensors")
        with pytest.raises(InputError, match="must hold the head of a learned judge"):
            load(tmp_path / "again")
    (tmp_path / "again" / "head.json").write_text("{}")
    with pytest.raises(InputError, match="must hold the head of a learned judge"):
        load(tmp_path / "again")


def test_a_head_goes_on_no_encoder_but_the_one_it_was_taught_on(world: World, tmp_path: Path) -> None:
    wider = load_encoder(str(tiny_encoder(tmp_path / "wider", width=64)))
    spec = load_judge_spec(EXPERIMENTS / "judges" / "learned").model_copy(
        update={"taught": TaughtHead(folder=str(world.folder), digest="x"), "family": wider.base.family}
    )
    with pytest.raises(InputError, match="must judge on the encoder that its head was taught on"):
        build_judge(spec, model=wider)


def test_a_reply_reads_as_lines_of_its_length_do(world: World) -> None:
    """`register` alone tells a comment from a line by figures whose mean and spread depend on the length."""
    human = HumanRange.of(
        [{**dict.fromkeys(REGISTER, float(n + i % 3)), "n_words": n} for n in (3, 30) for i in range(40)]
    )
    row = {**dict.fromkeys(REGISTER, 4.0), "n_words": 3.0}
    short, long, longer = human.values("register", [row, {**row, "n_words": 30.0}, {**row, "n_words": 500.0}])
    assert abs(short) < 1
    assert long == longer == pytest.approx(-3 * (4 - 1) / 5)  # four figures below, one of the other sign, 3 sd each


def test_only_families_that_were_not_taught_count(world: World) -> None:
    films = {p.cluster for p in world.train} - world.judge.films
    hosts = [p for p in world.train if p.cluster in films]
    controls = make_control_set(hosts, seed=1, n=20, criteria=CRITERIA, with_unseen=True)
    assert not {c.cluster for c in controls} & world.judge.films
    for found in qualify(world.judge, controls, rng=stream(1, "t")):
        taught = world.judge.taught(found.criterion)
        of = {(f.family, f.basis): f for f in found.families}
        assert {family for family, basis in of if basis == "taught"} == taught
        assert {family for family, basis in of if basis == "untaught"} > taught  # held out in turn, and new ones
        assert all(f.counts == (f.basis == "untaught" and f.kind != "beside") for f in found.families)
        assert found.status == "qualified" or "(untaught)" in found.reason
        assert "(taught)" not in found.reason
    assert {f.kind for f in of.values()} == {"discrimination", "adversarial"}


def test_what_is_outside_all_that_was_taught_is_missing(world: World) -> None:
    given = {
        "script": "Я закрыл ворота перед ужином и проверил дважды.",
        "long": "I locked the gate. " * 200,
        "longer": "word " * 5000,
        "marks": "?!…",
        "empty": " ",
    }
    scores = world.judge.score([item(reply, name) for name, reply in given.items()])
    assert {(s.item_id, s.status) for s in scores} == {
        ("script", "unsupported"), ("long", "unsupported"), ("longer", "truncated"), ("marks", "unsupported"),
        ("empty", "empty"),
    }  # fmt: skip
    assert all(s.value is None and s.reason for s in scores)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=60), min_size=1, max_size=4), st.text(max_size=80))
def test_whatever_is_said_gets_a_probability_or_a_reason(world: World, context: list[str], reply: str) -> None:
    for score in world.judge.score([nouns.item(reply, *context)]):
        assert (score.value is None) == (score.status != "ok")
        assert score.reason if score.value is None else 0 <= score.value <= 1


def test_films_that_can_teach_nothing_are_refused(world: World) -> None:
    one = [p for p in world.train if p.cluster == world.train[0].cluster]
    same = [dataclasses.replace(p, reference="I told you so, did I not?") for p in world.train]
    for prompts, rule in (([], "got 0"), (one, "at least 3 clusters"), (same, "30 different human replies")):
        with pytest.raises(InputError, match=rule):
            teach.teach(prompts, world.validation, encoder=world.encoder, criteria=CRITERIA, seed=7)
    short = [dataclasses.replace(p, reference=f"No{i}.") for i, p in enumerate(world.train)]
    with pytest.raises(InputError, match="4 to 40 words"):
        teach.teach(short, [], encoder=world.encoder, criteria=CRITERIA, seed=7)


def test_the_card_says_how_far_the_probabilities_hold(world: World, tmp_path: Path) -> None:
    write_card(world.taught, tmp_path, name="learned", base=world.encoder.base, corpus="sample", noun="conversation")
    card = (tmp_path / CARD).read_text()
    assert "VALIDATION conversations" in card
    assert "film" not in card
    for criterion, curve in world.taught.reliability.items():
        assert all(0 <= b.predicted <= 1 and 0 <= b.observed <= 1 and b.n > 0 for b in curve)
        assert f"| {criterion} | {curve[0].predicted:.2f} |" in card
