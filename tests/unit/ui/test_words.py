"""Tables of words say what the pages say, with the same things filled in, and never keep a page from being shown."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.ui import translations as words
from harness.ui.translations import speak, spoken_language, t

UI = Path(words.__file__).parent
TABLES = sorted((UI / "assets" / "words").glob("*.json"))


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.stem)
def test_a_table_has_every_word_of_the_pages_and_no_other(file: Path) -> None:
    nodes = [node for code in UI.glob("*.py") for node in ast.walk(ast.parse(code.read_text()))]
    known = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    calls = [node.args[0] for node in nodes if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "t"]
    table = json.loads(file.read_text())
    assert set(table) <= known
    assert {c.value for c in calls if isinstance(c, ast.Constant)} <= set(table)
    for english, said in table.items():
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", said))


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=12))
def test_any_language_may_be_asked_for(wanted: str) -> None:
    speak(wanted, "de")
    assert spoken_language() == ("en" if wanted == "en" else "de")
    assert t("Item {n} of {total}", n="{x}", total=2) in ("Item {x} of 2", "Aufgabe {x} von 2")
    speak(wanted)
    assert t("not in a table {x}") == "not in a table {x}"
