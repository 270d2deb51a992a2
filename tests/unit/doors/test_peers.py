"""Readers of other tools' files: on what the tools wrote (`tests/golden/imports`), and on what is left of it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.doors.peers.formats import FORMATS, peer, read_peer
from harness.doors.peers.peer import PeerRun, as_score
from harness.errors import InputError

GOLDEN = Path(__file__).parents[2] / "golden" / "imports"
FILES = {
    "inspect": ["inspect/weak.eval", "inspect/good.eval"],
    "lm-eval": ["lm-eval/weak", "lm-eval/good"],
    "promptfoo": ["promptfoo/out.json"],
    "deepeval": ["deepeval/weak.json", "deepeval/good.json"],
    "alpaca-eval": ["alpaca-eval/weak/annotations.json", "alpaca-eval/good/annotations.json"],
    "openai-evals": ["openai-evals/weak.jsonl", "openai-evals/good.jsonl"],
    "mlflow": ["mlflow/weak.json", "mlflow/good.json", "mlflow/genai_weak.json", "mlflow/genai_good.json"],
}
N = 12  # questions of every file
# Measure → the tool's own figure that is its mean.
OWN: dict[str, dict[str, str]] = {
    "inspect": {"match": "match accuracy"},
    "lm-eval": {"exact_match.strict": "sums exact_match.strict"},
    "promptfoo": {"pass": "pass rate"},
    "deepeval": {"Exact_Match": "Exact Match pass rate"},
    "alpaca-eval": {"win_rate": "win rate"},
    "openai-evals": {"correct": "accuracy"},
    "mlflow": {},
}


def single_files(tool: str) -> list[Path]:
    found = [GOLDEN / name for name in FILES[tool]]
    return [file for path in found for file in (sorted(path.glob("samples_*")) if path.is_dir() else [path])]


def mean(run: PeerRun, measure: str) -> float:
    values = [value for row in run.rows if (value := row.scores[measure]) is not None]
    return sum(values) / len(values)


def test_every_format_has_files_of_its_tool() -> None:
    assert FILES.keys() == FORMATS.keys() == OWN.keys()


@pytest.mark.parametrize("tool", FORMATS)
def test_what_a_tool_wrote_is_read_and_its_own_figure_is_the_mean_of_the_rows(tool: str) -> None:
    runs = peer(tool).joins([run for name in FILES[tool] for run in read_peer(tool, GOLDEN / name)])
    assert len([run for run in runs if not run.is_reference]) >= 2
    for run in runs:
        assert len({row.question for row in run.rows}) == N
        assert all(row.reply and row.question and row.prompt for row in run.rows)
        assert not run.aside, "a key that the tool writes today is known"
        for measure, figure in OWN[tool].items() if not run.is_reference else ():
            [own] = [f.value for f in run.figures if f.measure == figure]
            assert mean(run, measure) == pytest.approx(own)


def test_epochs_and_repeats_are_draws() -> None:
    [log] = read_peer("inspect", GOLDEN / "inspect/weak.eval")
    assert {(row.id, row.draw) for row in log.rows} == {(f"s{i}", draw) for i in range(N) for draw in (0, 1)}


def test_a_metric_that_passes_below_its_threshold_is_better_low() -> None:
    [run] = read_peer("deepeval", GOLDEN / "deepeval/weak.json")
    assert run.lower == {"Wordiness"}


def test_an_expectation_of_a_trace_is_a_reference_and_no_score() -> None:
    [run] = read_peer("mlflow", GOLDEN / "mlflow/genai_weak.json")
    assert set(run.measures) == {"correct", "length", "verdict"}
    assert run.rows[0].reference == "48"


@pytest.mark.parametrize("tool", FORMATS)
def test_what_is_cut_off_empty_or_missing_is_one_sentence(tool: str, tmp_path: Path) -> None:
    for whole in single_files(tool)[:1]:
        file, data = tmp_path / whole.name, whole.read_bytes()
        for left in (data[: len(data) * 2 // 3 - 5], data[:1], b"", b"\n", b"[]", b"{}", b"null", b"\xff\xfe"):
            file.write_bytes(left)
            with pytest.raises(InputError, match=file.name) as caught:
                read_peer(tool, file)
            assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match="there is none"):
            read_peer(tool, tmp_path / f"no{whole.suffix}")


@pytest.mark.parametrize("tool", FORMATS)
def test_the_file_of_another_tool_is_refused(tool: str) -> None:
    for other in set(FORMATS) - {tool}:
        with pytest.raises(InputError):
            read_peer(tool, single_files(other)[0])


def test_a_log_of_another_version_is_refused_and_one_that_was_killed_is_told(tmp_path: Path) -> None:
    whole, file = GOLDEN / "inspect/weak.eval", tmp_path / "a.json"
    [known] = read_peer("inspect", whole)
    assert not known.notes
    head = {"version": 2, "status": "cancelled", "eval": {"task": "t", "model": "m"}}
    sample = {"id": 1, "epoch": 1, "input": "q", "scores": {"s": {"value": {"a": "C", "b": [1]}}}, "novel": 3}
    file.write_text(json.dumps(head | {"samples": [sample, sample | {"id": 2, "error": {"message": "x"}}]}))
    [run] = read_peer("inspect", file)
    assert "ended as `cancelled`" in run.notes[0]
    assert [row.scores for row in run.rows] == [{"s.a": 1.0}, {"s.a": None}]
    assert run.aside == {"`novel`": 2, "`s.b`, which is no number": 2}
    file.write_text(json.dumps(head | {"version": 3, "samples": [sample]}))
    with pytest.raises(InputError, match="format 2, got 3"):
        read_peer("inspect", file)


def test_an_archive_in_any_packing_is_read_and_a_broken_one_named(tmp_path: Path) -> None:
    from harness.doors.files import open_archive, read_member

    whole, file = GOLDEN / "inspect/weak.eval", tmp_path / "plain.eval"
    with open_archive(whole) as packed, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as plain:
        assert {entry.compress_type for entry in packed.infolist()} == {93}
        for name in packed.namelist():
            plain.writestr(name, read_member(packed, name))
    [before], [after] = read_peer("inspect", whole), read_peer("inspect", file)
    assert before.rows == after.rows
    at = zipfile.ZipFile(whole).getinfo("header.json").header_offset + 60
    data = bytearray(whole.read_bytes())
    data[at : at + 30] = b"\0" * 30
    file.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read"):
        read_peer("inspect", file)


@pytest.mark.parametrize(
    ("value", "score"),
    [(True, 1), (False, 0), ("C", 1), ("I", 0), ("P", 0.5), ("no", 0), ("0.25", 0.25), (3, 3), (None, None)],
)
def test_scores_are_numbers(value: Any, score: Any) -> None:
    assert as_score(value) == score


@pytest.mark.parametrize("value", ["A", "", "c", [1], {}, "1e999x"])
def test_what_is_no_score_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="score"):
        as_score(value)


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=3),
    st.just([]), st.just({}), st.just([None]), st.just([[1]]), st.just({"value": [1]}), st.just("[{\"role\": 1}]"),
)  # fmt: skip


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value[:2]):
            found += _places(inner, (*at, key))
    return found


@pytest.mark.parametrize("tool", [tool for tool in FORMATS if tool != "inspect"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_in_a_place_it_is_read_or_refused(tool: str, tmp_path: Path, data: st.DataObject) -> None:
    whole = single_files(tool)[0]
    is_lines = whole.suffix == ".jsonl"
    content = (
        [json.loads(line) for line in whole.read_text().splitlines()] if is_lines else json.loads(whole.read_text())
    )
    *above, last = data.draw(st.sampled_from(_places(content)))
    place = content
    for key in above:
        place = place[key]
    place[last] = data.draw(ODD)
    file = tmp_path / whole.name
    file.write_text("\n".join(map(json.dumps, content)) if is_lines else json.dumps(content))
    try:
        runs = read_peer(tool, file)
    except InputError:
        pass
    else:
        for row in (row for run in runs for row in run.rows):
            assert all(value is None or isinstance(value, float) for value in row.scores.values())
            assert isinstance(row.question, str)
            assert row.reply is None or isinstance(row.reply, str)
