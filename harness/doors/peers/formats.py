"""The formats by name: module, and which file to give. A new one is a module with its `PEER`, and a line here."""

from __future__ import annotations

import importlib
from pathlib import Path

from harness.doors.peers.peer import Peer, PeerRun
from harness.doors.text import repair_text
from harness.errors import CorpusError

_ODD = (AttributeError, TypeError, KeyError, IndexError, ValueError, ArithmeticError)

FORMATS = {
    "inspect": ("inspect_log", "inspect_ai: `.eval` or `.json` logs. C and I are 1 and 0, epochs are draws."),
    "lm-eval": (
        "lm_eval_samples",
        "lm-evaluation-harness: `samples_TASK_DATE.jsonl` of --log_samples, or the folders that hold them.",
    ),
    "promptfoo": (
        "promptfoo_output",
        "promptfoo: the JSON of `eval -o out.json`. One file may hold several providers or prompts.",
    ),
    "deepeval": ("deepeval_run", "deepeval: `test_run_*.json` of its results folder."),
    "alpaca-eval": ("alpaca_eval_files", "alpaca_eval: `annotations.json`, one or several; or model outputs."),
    "openai-evals": ("openai_evals_log", "OpenAI's evals: logs of `oaieval`."),
    "mlflow": ("mlflow_table", "MLflow: `eval_results_table.json`, or the result_df of mlflow.genai as JSON."),
}


def peer(name: str) -> Peer:
    """A format."""
    found: Peer = importlib.import_module(f"harness.doors.peers.{FORMATS[name][0]}").PEER
    return found


def read_peer(name: str, path: Path) -> list[PeerRun]:
    """The runs of one file, or folder.

    Raises:
        InputError: there is no such file. CorpusError: it is cut off, empty, or not what the tool writes.
    """
    found = peer(name)
    try:
        return found.read(path)
    except _ODD as err:  # a part that is a list where every file has an object, a word where it has a number
        reason = f"must be what {found.tool} writes: a part of it has another form ({type(err).__name__}: {err})"
        raise CorpusError(path, repair_text(reason[:300]).text) from err
