"""The notebooks run from their first cell to their last, anywhere, and show what they say they show."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
@pytest.mark.filterwarnings("default")  # of the kernel's machinery
def test_a_notebook_runs_and_says_what_is_recorded(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(file.parents[2]))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    notebook = nbformat.read(file, as_version=4)
    recorded = [kinds(cell) for cell in notebook.cells if cell.cell_type == "code"]
    NotebookClient(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert [kinds(cell) for cell in notebook.cells if cell.cell_type == "code"] == recorded


def kinds(cell: Any) -> set[str]:
    """The forms of what a cell shows for itself; progress comes and goes."""
    return {kind for output in cell.outputs if output.output_type == "execute_result" for kind in output.data}


def test_there_are_two() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["compare_your_adapter", "write_a_judge"]
