"""Names are printed as they are: brackets are no markup, colons no emoji."""

from __future__ import annotations

import re

import pytest
from stories import REPOSITORY

from harness.terminal import bold, dim, rendered, warning
from harness.types import Progress
from pipelines.cli import presenter as console

NAMES = (
    "[old]",
    "[/x]",
    "[bold]",
    "[/bold]",
    "runs [red]/a",
    ":smile:",
    "{0}",
    "%s",
    "[link=http://x]y[/link]",
    "[",
    "\\[",
)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_a_name_holds_it_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.say(f"written to {bold(name)}: {warning(name)} {dim(f'({name})')}")
    console.stdout().print(f"report: {name}", soft_wrap=True)
    console.table(name, (name, "b"), [(name, bold(name))])
    with console.progress(name) as on_progress:
        on_progress(Progress(done=1, total=2, unit=name, note=name))
    said = capsys.readouterr()
    assert f"written to {name}: ! {name} ({name})\n" in said.err
    assert f"  {name}: done" in said.err
    assert f"report: {name}\n" in said.out
    assert said.out.count(name) == 5


def test_a_long_path_is_not_broken_over_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("a/" * 200)
    assert capsys.readouterr().err == "a/" * 200 + "\n"


def test_styles_are_kept_apart_from_words() -> None:
    shown = rendered(f"{bold('[a]' + dim('b'))} c")
    assert shown.plain == "[a]b c"
    assert [(span.start, span.end, str(span.style)) for span in shown.spans] == [(0, 3, "bold"), (3, 4, "bold dim")]


def test_no_message_is_written_in_markup() -> None:
    """What is in square brackets is printed: styles are functions of `harness.terminal`."""
    markup = re.compile(r"\[/?(bold|dim|green|yellow|red|cyan|blue|italic|magenta)[a-z ]*\]")
    found = [str(p) for p in (REPOSITORY / "pipelines").rglob("*.py") if markup.search(p.read_text())]
    assert found == []
