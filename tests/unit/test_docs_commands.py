"""Every command line of the documentation is one that the command line takes; nothing is run here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from stories import REPOSITORY

PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
_LANGUAGES = frozenset({"", "sh", "bash", "console"})
_SHELL = frozenset({"|", ">", ">>", "&&", "||", "&", ";", "<"})


def commands(page: Path) -> list[list[str]]:
    """The words after `screentest` on each line of the page's shell blocks."""
    found = []
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for block in (text for language, text in fenced if language in _LANGUAGES):
        for line in block.replace("\\\n", " ").splitlines():
            if "screentest" not in line:
                continue
            lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
            lexer.whitespace_split = True
            words = list(lexer)
            while words and "=" in words[0]:  # variables of the environment
                words.pop(0)
            if words[:1] == ["screentest"]:
                end = next((at for at, word in enumerate(words) if word in _SHELL), len(words))
                found.append(words[1:end])
    return found


LINES = [(page.name, words) for page in PAGES for words in commands(page)]


def parse(words: list[str]) -> None:
    """As the command line does it; raises what it would refuse with."""
    from pipelines.cli.application import app

    command, rest, context = typer.main.get_command(app), list(words), None
    while hasattr(command, "commands"):
        # Typer brings a copy of click, so its groups are told by what they have.
        name = rest.pop(0)
        context = command.make_context(name, [], parent=context, resilient_parsing=True)
        assert name in command.commands, f"there is no `{name}`"
        command = command.commands[name]
    command.make_context(words[-1], rest, parent=context)


def test_pages_hold_commands_where_they_promise_some() -> None:
    by_page = {name: sum(page == name for page, _ in LINES) for name, _ in LINES}
    assert by_page["serving.md"] >= 2
    assert by_page["scale.md"] >= 5
    assert len(LINES) > 20


@pytest.mark.parametrize(("page", "words"), LINES, ids=[f"{page}: {' '.join(words)[:80]}" for page, words in LINES])
def test_the_command_line_takes_it(page: str, words: list[str]) -> None:
    parse(words)


def test_a_wrong_line_would_be_found() -> None:
    for wrong in (["serve", "--prot", "80"], ["plan", "--prompts", "many", "--variants", "2"], ["serv"]):
        with pytest.raises(Exception, match=r"(?i)no such option|valid integer|there is no"):
            parse(wrong)


def test_files_and_tests_that_pages_name_are_there() -> None:
    """`hostile.md` names a file of tests once in a row, and its tests after it."""
    tests = {file.name: file.read_text() for file in (REPOSITORY / "tests").rglob("test_*.py")}
    for page in PAGES:
        lines = page.read_text().splitlines()
        named = [name for line in lines for name in re.findall(r"`((?:harness|pipelines|tests)/[\w/]+\.py)", line)]
        assert [name for name in named if not (REPOSITORY / name).exists()] == []
        for row in lines:
            file = ""
            for new, test in re.findall(r"`(test_\w+\.py)?(?:::(test_\w+))?…?`", row):
                file = new or file
                assert not file or file in tests, f"{page.name}: {file}"
                assert not (file and test) or f"def {test}" in tests[file], f"{page.name}: {file}::{test}"
