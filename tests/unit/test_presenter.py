"""Presenting: names are printed as they are, JSON always parses, and no number goes without its interval."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stories import REPOSITORY

from harness.terminal import bold, dim, progress, rendered, say, warning
from harness.types import Estimate, Progress
from pipelines.cli.presenter import FIGURES, Result, Table, figure, present

HOSTILE = ("[old]", "[/x]", "[bold]", ":smile:", "{0}", "{level}", "%s", "[link=http://x]y[/link]", "[", "\\[")


def estimate(value: float, *, level: float = 0.95) -> Estimate:
    return Estimate(
        value=value, low=value - 1, high=value + 1, level=level, n=60, n_clusters=12, n_missing=3, method="t"
    )


@dataclass(frozen=True)
class Noun:
    found: Any


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_name_holds_it_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"written to {bold(name)}: {warning(name)} {dim(f'({name})')}")
    table = Table(title=name, columns=("a", "b"), rows=[(name, bold(name))])
    present(Result(data={}, shown=(f"report: {name}", table, bold(name)), notes=(name,)), as_json=False)
    with progress(name) as on_progress:
        on_progress(Progress(done=1, total=2, unit=name, note=name))
    said = capsys.readouterr()
    assert f"written to {name}: ! {name} ({name})\n{name}\n" in said.err
    assert f"  {name}: done" in said.err
    assert f"report: {name}\n" in said.out
    assert said.out.count(name) == 5


def test_a_line_of_progress_says_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    with mock.patch("harness.terminal.LINE_SECONDS", -1), progress("Generate") as on_progress:
        for done, note in ((1, "cut off"), (1, ""), (3, "cut off")):
            on_progress(Progress(done=done, total=4, unit="replies", note=note))
    first, second, third, _ = capsys.readouterr().err.splitlines()
    assert first == "  Generate: 25%, cut off"  # no rate yet
    assert second == "  Generate: 25%, 0.0 replies/s"  # no time left yet
    assert re.fullmatch(r"  Generate: 75%, [\d.,]+ replies/s, \d+ s left, cut off", third)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.floats(allow_nan=False).map(estimate),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | inner.map(Noun) | st.tuples(inner),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=ANY)
def test_json_parses_and_what_is_not_finite_is_null(data: Any, capsys: pytest.CaptureFixture[str]) -> None:
    present(Result(data=Noun(data), shown=("not shown",), notes=("nor this",)), as_json=True)
    said = capsys.readouterr()
    assert said.err == ""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert set(json.loads(said.out, parse_constant=refuse)) == {"found"}


def test_an_estimate_is_shown_with_interval_level_and_what_it_rests_on(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [figure("a", estimate(2.0, level=0.9), unit="nats"), figure("none", None), ("count", 12_000, None)]
    present(
        Result(data={}, shown=(Table(columns=FIGURES, rows=rows), Table(columns=("empty",), rows=()))), as_json=False
    )
    out = capsys.readouterr().out
    assert re.search(r"Value, 90.% interval", out)
    assert "2.0 nats [1.0, 3.0]" in out
    assert "60 replies / 12 clusters, 3 missing" in out
    assert "12,000" in out
    assert "not measured" in out
    assert "empty" not in out


@pytest.mark.parametrize("bare", [0.5, estimate(0.5), [1]])
def test_no_bare_number_gets_into_a_table(bare: object) -> None:
    with pytest.raises(TypeError, match="written estimate"):
        present(Result(data={}, shown=(Table(columns=("a",), rows=[(bare,)]),)), as_json=False)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_failure_is_said_after_the_result_and_ends_with_its_code(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as stop:
        present(Result(data={}, shown=("shown",), failure="the gate is closed", exit_code=3), as_json=as_json)
    assert stop.value.exit_code == 3
    said = capsys.readouterr()
    assert said == ("{}\n" if as_json else "shown\n", "error: the gate is closed\n")


def test_a_long_path_is_not_broken_over_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say("a/" * 200)
    assert capsys.readouterr().err == "a/" * 200 + "\n"


def test_styles_are_kept_apart_from_words() -> None:
    shown = rendered(f"{bold('[a]' + dim('b'))} c")
    assert shown.plain == "[a]b c"
    assert [(span.start, span.end, str(span.style)) for span in shown.spans] == [(0, 3, "bold"), (3, 4, "bold dim")]


def test_no_message_is_written_in_markup() -> None:
    """What is in square brackets is printed: styles are functions of `harness.terminal`."""
    markup = re.compile(r"\[/?(bold|dim|green|yellow|red|cyan|blue|italic|magenta)[a-z ]*\]")
    files = [*(REPOSITORY / "pipelines").rglob("*.py"), *(REPOSITORY / "harness").rglob("*.py")]
    assert [str(p) for p in files if markup.search(p.read_text())] == []
