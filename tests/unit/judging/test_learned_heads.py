"""Heads of learned judges in the registry, and where a judge finds its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from certain import sure
from fakes import tiny_encoder

from harness.errors import ConfigError, InputError, IntegrityError, JudgeError
from harness.experiment.judges.teaching import needs_teaching, with_head
from harness.experiment.session import Session
from harness.judging import build_judge
from harness.judging.learned.head_registry import head_folder, publish_head
from harness.judging.spec import SPEC_FILE, JudgeSpec, load_judge_spec
from harness.models.encoder import load_encoder
from harness.registry import records
from harness.store.artifacts import write_json
from harness.store.tracking import Stage, StageResult, Tracking

JUDGE = "schema: 1\nname: mine\nmethod: learned\nmode: learned\nmodel: {source: embedded}\nfamily: minilm\n"


def spec_of(folder: Path, more: str = "") -> JudgeSpec:
    folder.mkdir(exist_ok=True)
    (folder / SPEC_FILE).write_text(JUDGE + "criteria: [coherence]\n" + more)
    return load_judge_spec(folder)


def stage_of(tracking: Tracking, said: str) -> StageResult:
    def work(stage: Stage) -> None:
        (stage.folder / "head").mkdir()
        write_json(stage.folder / "head" / "head.json", {"said": said})

    return tracking.stage("teach", revision=1, config={"said": said}, inputs={}, work=work)


def test_a_head_is_a_version_of_the_registry_and_no_adapter() -> None:
    tracking = Tracking()
    first, second = stage_of(tracking, "first"), stage_of(tracking, "second")
    assert [publish_head(tracking, s, name="mine", card="# card") for s in (first, second, first)] == [
        "mine/1", "mine/2", "mine/1",
    ]  # fmt: skip
    assert head_folder(tracking, "mine@candidate") == first.folder / "head"
    assert head_folder(tracking, "mine/2") == second.folder / "head"
    assert records(tracking) == []
    (second.folder / "head" / "head.json").write_text("{}")
    with pytest.raises(IntegrityError, match="was altered since it was published"):
        head_folder(tracking, "mine/2")
    for named in ("mine/7", "other@candidate", "nothing like it"):
        with pytest.raises(InputError, match="`head` must name what a judge was taught"):
            head_folder(tracking, named)


def test_a_judge_is_another_when_it_was_taught_otherwise(tmp_path: Path) -> None:
    session = Session(tracking=Tracking())
    spec = spec_of(tmp_path / "judge")
    assert needs_teaching(spec)
    one, two = (with_head(session, spec, stage_of(session.tracking, said)) for said in ("one", "two"))
    assert one.taught != two.taught
    assert with_head(session, one) == one
    with pytest.raises(InputError, match="must be taught before it judges"):
        with_head(session, spec)
    elsewhere = spec_of(tmp_path / "elsewhere", f"head: {sure(one.taught).folder}\n")
    assert not needs_teaching(elsewhere)
    assert with_head(session, elsewhere).taught == one.taught


def test_what_no_learned_judge_can_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`taught` must be left out"):
        spec_of(tmp_path / "a", "taught: {folder: x, digest: y}\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / SPEC_FILE).write_text(JUDGE + "criteria: [relevance]\n")
    with pytest.raises(ConfigError, match="coherence, fluency"):
        load_judge_spec(tmp_path / "b")
    (tmp_path / "b" / SPEC_FILE).write_text(
        JUDGE.replace("learned", "likelihood") + "criteria: [coherence]\nhead: mine/1\n"
    )
    with pytest.raises(ConfigError, match="`head` must be left out"):
        load_judge_spec(tmp_path / "b")
    encoder = load_encoder(str(tiny_encoder(tmp_path / "encoder")))
    spec = spec_of(tmp_path / "c").model_copy(update={"family": encoder.base.family})
    with pytest.raises(JudgeError, match="must be taught before it judges"):
        build_judge(spec, model=encoder)
    taught = with_head(Session(tracking=Tracking()), spec, stage_of(Tracking(), "no head"))
    with pytest.raises(InputError, match="must hold the head of a learned judge"):
        build_judge(taught, model=encoder)
