"""A corpus of Cornell's full size, made from the excerpt, to windows: under 30 seconds and 1.5 GB.

Copies of the excerpt under new ids make 304,713 lines; the words of each copy are put in another order, so that no
cache and no duplicate finds the same text twice. It runs in a process of its own, whose peak memory is its own.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from harness.models.bases import base_folder, resolve_base

N_LINES = 304_713
SEPARATOR = " +++$+++ "

MEASURE = """
import json, sys, time
began = time.perf_counter()
from pathlib import Path
from pipelines.corpus.reading import read_corpus
from harness.models.memory import peak_bytes
from pipelines.corpus.prepare import PrepareConfig, run
from transformers import AutoTokenizer
imported = time.perf_counter()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
loaded = time.perf_counter()
before = peak_bytes()
corpus = read_corpus(sys.argv[1])
read = time.perf_counter()
summary = run(PrepareConfig(corpus=sys.argv[1]), folder=Path(sys.argv[3]), corpus=corpus, tokenizer=tokenizer)
done = time.perf_counter()
texts = [u.text for c in corpus.conversations for u in c.utterances]
encoding = time.perf_counter()
for begin in range(0, len(texts), 8192):
    tokenizer.backend_tokenizer.encode_batch_fast(texts[begin : begin + 8192], add_special_tokens=False)
bare = time.perf_counter() - encoding
print(json.dumps({
    "n_lines": corpus.n_utterances, "template": summary.template,
    "n_windows": sum(split.windows.n_examples for split in summary.splits.values()),
    "n_tokens": sum(split.windows.n_tokens for split in summary.splits.values()),
    "import_s": imported - began, "tokenizer_s": loaded - imported, "read_s": read - loaded, "prepare_s": done - read,
    "bare_tokenizer_s": bare, "ratio_to_bare": (done - loaded) / bare,
    "memory_before_gb": before / 1e9, "peak_gb": peak_bytes() / 1e9,
}))
"""


def full_size(excerpt: Path, folder: Path) -> Path:
    """The excerpt again and again under new ids until there are 304,713 lines."""
    lines = [
        row.split(SEPARATOR) for row in (excerpt / "movie_lines.txt").read_text(encoding="utf-8").split("\n") if row
    ]
    rows = (excerpt / "movie_conversations.txt").read_text(encoding="utf-8").split("\n")
    conversations = [row.split(SEPARATOR) for row in rows if row]
    by_id = {fields[0]: fields for fields in lines}
    random_ = random.Random(0)
    folder.mkdir()
    n = 0
    with (
        (folder / "movie_lines.txt").open("w", encoding="utf-8") as out,
        (folder / "movie_conversations.txt").open("w", encoding="utf-8") as out_conversations,
    ):
        for copy in range(N_LINES // len(lines) + 1):
            for first, second, film, listed in conversations:
                ids = [item.strip("' ") for item in listed.strip("[]").split(",")][: N_LINES - n]
                if not ids:
                    break
                for line_id in ids:
                    _, speaker, _, name, text = by_id[line_id]
                    words = text.split()
                    if copy:
                        random_.shuffle(words)
                    fields = (
                        f"L{copy * 1_000_000 + int(line_id[1:])}",
                        speaker,
                        f"{film}x{copy}",
                        name,
                        " ".join(words),
                    )
                    out.write(SEPARATOR.join(fields) + "\n")
                renamed = ", ".join(f"'L{copy * 1_000_000 + int(line_id[1:])}'" for line_id in ids)
                out_conversations.write(SEPARATOR.join((first, second, f"{film}x{copy}", f"[{renamed}]")) + "\n")
                n += len(ids)
    return folder


@pytest.mark.slow
@pytest.mark.model
def test_the_full_corpus_becomes_windows(excerpt: Path, tmp_path: Path) -> None:
    corpus = full_size(excerpt, tmp_path / "full")
    tokenizer = base_folder(resolve_base("embedded"))
    command = [sys.executable, "-c", MEASURE, str(corpus), str(tokenizer), str(tmp_path / "out")]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    figures = json.loads(answer.stdout)
    print(json.dumps(figures, indent=2))
    assert figures["n_lines"] == N_LINES
    assert figures["template"] == "blocks"
    # Seconds depend on the machine and on who else uses it; the ratio to the tokenizer alone depends on neither.
    assert figures["ratio_to_bare"] < 4
    assert figures["peak_gb"] < 1.5
