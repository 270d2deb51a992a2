"""`prepare`: everything it writes, twice the same, and nothing of TEST in training."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pydantic
import pytest
from corpora import cornell_files, films, jsonl
from fakes import tiny_tokenizer

from harness.errors import CorpusError, InputError
from harness.models.chat_templates import DIALOGUE_SYSTEM
from harness.store.artifacts import digest_folder
from harness.store.prepared import PrepareSummary, read_prompts, read_summary
from harness.types import SPLITS, Progress
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.prepare import PrepareConfig, run
from pipelines.corpus.windows import read_examples

tokenizer = functools.cache(tiny_tokenizer)


def prepared(folder: Path, read: Corpus | None = None, **config: Any) -> PrepareSummary:
    return run(PrepareConfig(**config), folder=folder, tokenizer=tokenizer(), corpus=read)


def test_the_sample_from_end_to_end(tmp_path: Path) -> None:
    heard: list[Progress] = []
    config = PrepareConfig(max_tokens=400)
    summary = run(config, folder=tmp_path / "p", tokenizer=tokenizer(), on_progress=heard.append)
    assert sorted(file.name for file in (tmp_path / "p").iterdir()) == [
        "clusters.json", "duplicates.json",
        "examples-test.parquet", "examples-train.parquet", "examples-validation.parquet",
        "prompts-test.parquet", "prompts-train.parquet", "prompts-validation.parquet",
        "summary.json",
    ]  # fmt: skip
    assert summary == read_summary(tmp_path / "p")
    assert (summary.corpus, summary.source, summary.cluster_unit) == ("sample", "sample", "film")
    assert summary.system == DIALOGUE_SYSTEM
    assert summary.verdict_limit == ""
    assert [(p.unit, p.done == p.total) for p in heard][-1] == ("windows", True)
    clusters = json.loads((tmp_path / "p" / "clusters.json").read_text())
    for split in SPLITS:
        prompts, examples = read_prompts(tmp_path / "p", split), read_examples(tmp_path / "p", split)
        counts = summary.splits[split].windows
        assert counts.n_prompts == counts.n_examples == len(prompts) == len(examples)
        assert counts.n_tokens == examples.lengths.sum()
        assert counts.n_completion_bytes == sum(len((p.reference or "").encode()) for p in prompts)
        assert examples.lengths.max() <= 400
        assert {p.split for p in prompts} == {split} == {examples[0].split}
        members = {row["id"] for row in clusters if row["split"] == split}
        assert {p.cluster for p in prompts} == members
        assert len(members) == summary.splits[split].n_clusters
        assert sum(row["n_windows"] for row in clusters if row["split"] == split) == len(prompts)
    assert sum(row["n_conversations"] for row in clusters) == summary.n_conversations


def test_twice_the_same_bytes_whatever_the_order_of_lines(tmp_path: Path) -> None:
    rows = [{"prompt": f"question number {i}", "completion": f"answer {i}", "cluster": i % 15} for i in range(60)]
    digests = set()
    for name, order in (("a", rows), ("b", rows), ("c", rows[::-1])):
        (tmp_path / name).mkdir()
        path = jsonl(tmp_path / name / "mine.jsonl", *order)
        prepared(tmp_path / name / "out", corpus=str(path))
        digests.add(digest_folder(tmp_path / name / "out"))
    assert len(digests) == 1


class TestDuplicates:
    speech = "I never said the boat would wait for anyone, least of all for you."

    def test_what_stands_in_test_is_taken_out_of_train(self, tmp_path: Path) -> None:
        plain = films(40)
        prepared(tmp_path / "plain", plain)
        split_of = {p.cluster: split for split in SPLITS for p in read_prompts(tmp_path / "plain", split)}
        train, test = (int(next(c for c, s in split_of.items() if s == split)[1:]) for split in ("train", "test"))
        texts = {n: (f"Who is {n}?", self.speech, f"Then {n} it is.") for n in (train, test)}
        summary = prepared(tmp_path / "p", films(40, texts=texts))
        assert summary.duplicates == {"reply: train in test": 1}
        assert summary.left_out == {"in train and nearly the same in a held-out split": 1}
        assert self.speech not in {p.reference for p in read_prompts(tmp_path / "p", "train")}
        assert self.speech in {p.reference for p in read_prompts(tmp_path / "p", "test")}
        ids = {e.prompt_id for e in read_examples(tmp_path / "p", "train")}
        (row,) = json.loads((tmp_path / "p" / "duplicates.json").read_text())
        assert row == {
            "prompt_id": f"m{train}:L{100 * train + 1}", "split": "train",
            "other_prompt_id": f"m{test}:L{100 * test + 1}", "other_split": "test",
            "rule": "reply", "similarity": 1.0,
        }  # fmt: skip
        assert row["prompt_id"] not in ids


class TestSmallCorpora:
    def test_scenes_can_be_joined(self, tmp_path: Path) -> None:
        every, conversations = [], []
        for n in range(6):
            for i, text in enumerate(("Go on.", "No.", "Why?", "Ask.")):
                every.append(f"L{n}{i + 1} +++$+++ u{i % 2} +++$+++ m{n} +++$+++ {'AB'[i % 2]} +++$+++ {text}")
            pair = f"u0 +++$+++ u1 +++$+++ m{n}"
            conversations += [f"{pair} +++$+++ ['L{n}1', 'L{n}2']", f"{pair} +++$+++ ['L{n}3', 'L{n}4']"]
        folder = cornell_files(tmp_path / "c", lines=every, conversations=conversations, titles=None, characters=None)
        apart = prepared(tmp_path / "apart", corpus=str(folder))
        joined = prepared(tmp_path / "joined", corpus=str(folder), join_scenes=True)
        assert (apart.n_conversations, joined.n_conversations) == (12, 6)
        assert sum(s.windows.n_prompts for s in apart.splits.values()) == 12
        assert sum(s.windows.n_prompts for s in joined.splits.values()) == 18


class TestYourOwn:
    def rows(self, n: int, **more: object) -> list[dict[str, object]]:
        return [
            {"prompt": f"question number {i}", "completion": f"answer {i}", "id": f"r{i}", **more} for i in range(n)
        ]

    def prepare(self, folder: Path, *rows: object, **config: Any) -> PrepareSummary:
        return prepared(folder / "out", corpus=str(jsonl(folder / "mine.jsonl", *rows)), **config)

    def test_it_is_not_told_that_it_is_a_film(self, tmp_path: Path) -> None:
        summary = self.prepare(tmp_path, *self.rows(20))
        assert summary.system is None
        assert summary.cluster_unit == "row"
        assert "dialogue" not in tokenizer().decode(list(read_examples(tmp_path / "out", "test")[0].input_ids))
        assert {p.id for split in SPLITS for p in read_prompts(tmp_path / "out", split)} == {f"r{i}" for i in range(20)}

    def test_its_own_system_message_is_kept_and_a_setting_goes_before(self, tmp_path: Path) -> None:
        system = {"role": "system", "content": "Be kind."}
        rows = [
            {"messages": [system, {"role": "user", "content": str(i)}, {"role": "assistant", "content": "ok"}]}
            for i in range(20)
        ]
        assert self.prepare(tmp_path, *rows).system == "Be kind."
        assert self.prepare(tmp_path, *rows, system="Be brief.").system == "Be brief."

    def test_a_test_file_without_replies(self, tmp_path: Path) -> None:
        rows = [{"prompt": f"question {i}", "id": f"r{i}", "split": "test"} for i in range(3)]
        summary = self.prepare(tmp_path, *rows)
        counts = summary.splits["test"].windows
        assert (counts.n_prompts, counts.n_without_reference, counts.n_examples) == (3, 3, 0)
        assert {p.reference for p in read_prompts(tmp_path / "out", "test")} == {None}

    def test_what_lenient_reading_skipped_is_in_the_summary(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match=r"mine\.jsonl` line 21"):
            self.prepare(tmp_path, *self.rows(20), "oops")
        summary = self.prepare(tmp_path, *self.rows(20), "oops", lenient=True)
        assert summary.skipped == {"row that is not JSON": 1}


class TestLimits:
    def test_windows_that_are_too_long_are_counted(self, tmp_path: Path) -> None:
        summary = prepared(tmp_path, films(20, texts={3: ("a" * 600, "b", "c")}))
        assert summary.left_out == {"last turn and reply longer than `max_tokens`": 1}

    def test_nothing_fits(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"at least one window of 40 tokens, got none \(40 were too long\)"):
            prepared(tmp_path, films(20), max_tokens=40)


@pytest.mark.parametrize(
    "wrong",
    [{"max_token": 5}, {"max_tokens": 8}, {"limit": 0}, {"seed": "1"}, {"test_share": 1.0}, {"min_test_films": 0}],
)
def test_the_config_is_strict(wrong: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        PrepareConfig.model_validate(wrong)
