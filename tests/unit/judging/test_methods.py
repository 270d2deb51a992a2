"""A judge method is one module: nothing else is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FAKE_BASE, WordModel
from nouns import item

from harness.errors import ConfigError
from harness.judging import build_judge, methods
from harness.judging.method import methods as known
from harness.judging.spec import load_judge_spec

MODULE = """
from fakes import ScriptedJudge
from harness.judging.method import Method

def build(spec, name, source):
    return ScriptedJudge(value=lambda item, criterion: float(len(item.reply)), criteria=spec.criteria, id=name)

METHOD = Method(name="letters", build=build, decides=lambda spec: {"code": 1}, capability="generate",
                local_modes=("letters",), unit="letters")
"""
JUDGE = "schema: 1\nname: mine\nmethod: letters\nmode: letters\nmodel: {source: embedded}\nfamily: fake\n"


def test_a_method_is_found_by_its_module_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judge.yaml").write_text(JUDGE + "criteria: [fluency]\n")
    with pytest.raises(ConfigError, match="`method` must be one of deepeval, function, geval, "):
        load_judge_spec(tmp_path)
    (tmp_path / "letters.py").write_text(MODULE)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    known.cache_clear()
    try:
        spec = load_judge_spec(tmp_path)
        judge = build_judge(spec, model=WordModel(supports=frozenset({"generate"}), base=FAKE_BASE))
    finally:
        monkeypatch.undo()
        known.cache_clear()
    assert [s.value for s in judge.score([item("four")])] == [4.0]
    assert judge.id.startswith("mine@")
