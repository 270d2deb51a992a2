from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import CorpusError, InputError
from harness.models.protocol import LanguageModel, ReplyRequest
from harness.models.recorded import RecordedModel
from harness.types import Decoding


def _request(key: str, draw: int = 0) -> ReplyRequest:
    return ReplyRequest(key=key, draw=draw, messages=[], tag="elsewhere")


def _file(folder: Path, *rows: object) -> Path:
    path = folder / "replies.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows))
    return path


def test_replies_are_looked_up_and_a_lacking_one_is_missing(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        {"prompt_id": "a", "text": " Yes.\u2028Go. ", "finish_reason": "stop"},
        "",
        {"prompt_id": "a", "text": "No.", "draw": 1, "n_tokens": 3},
    )
    model = RecordedModel.load(path)
    assert isinstance(model, LanguageModel)
    assert model.n_generations == 2
    replies = model.generate([_request("a", 1), _request("b"), _request("a")], decoding=Decoding())
    assert [(r.text, r.finish_reason, r.n_tokens, r.tag) for r in replies] == [
        ("No.", "unknown", 3, "elsewhere"),
        ("", "error", None, "elsewhere"),
        ("Yes.\u2028Go.", "stop", None, "elsewhere"),
    ]


def test_several_lines_of_a_prompt_are_its_draws_and_all_are_asked(tmp_path: Path) -> None:
    rows = [{"prompt_id": "a", "text": text} for text in ("x", "y", "z")] + [{"prompt_id": "b", "text": "w", "draw": 3}]
    model = RecordedModel.load(_file(tmp_path, *rows))
    assert [list(model.draws_of(key)) for key in "abc"] == [[0, 1, 2], [3], [0]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "must be JSON"),
        ([1], "must be a JSON object"),
        ({"text": "x"}, "`prompt_id` must be a text"),
        ({"prompt_id": "a"}, "`text` must be a string"),
        ({"prompt_id": 3.0, "text": "x"}, "`prompt_id` must be a text"),
        ({"prompt_id": "a", "text": "x", "draw": -1}, "`draw` must be a whole number"),
        ({"prompt_id": "a", "text": "x", "draw": True}, "`draw` must be a whole number"),
        ({"prompt_id": "a", "text": "x", "finish_reason": "bored"}, "`finish_reason` must be one of"),
        ({"prompt_id": "a", "text": "x", "score": 1}, "must hold no keys but"),
        ({"prompt_id": "first", "text": "x", "draw": 0}, "stands on line 1 too"),
    ],
)
def test_a_line_that_breaks_the_format_is_named(tmp_path: Path, row: object, reason: str) -> None:
    path = _file(tmp_path, {"prompt_id": "first", "text": "fine"}, row)
    with pytest.raises(CorpusError, match=reason) as caught:
        RecordedModel.load(path)
    assert (caught.value.file, caught.value.line) == (str(path), 2)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is none"):
        RecordedModel.load(tmp_path / "missing.jsonl")
    with pytest.raises(CorpusError, match="at least one row of generations"):
        RecordedModel.load(_file(tmp_path, ""))
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt_id": "a", "text": "caf\xe9"}')
    with pytest.raises(CorpusError, match="must be UTF-8"):
        RecordedModel.load(tmp_path / "latin.jsonl")


def test_a_file_for_other_prompts_is_refused_rather_than_all_missing(tmp_path: Path) -> None:
    model = RecordedModel.load(_file(tmp_path, {"prompt_id": "a", "text": "x"}))
    with pytest.raises(InputError, match="the file begins with `a`"):
        model.generate([_request("b")], decoding=Decoding())
