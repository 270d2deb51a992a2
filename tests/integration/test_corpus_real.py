"""The real corpus, as far as it is there, and the tokenizer of a real model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.models.bases import load_tokenizer, resolve_base
from harness.models.chat_templates import chat_format, chat_messages, render, reply_ids
from harness.store.prepared import read_prompts
from harness.types import SPLITS
from pipelines.corpus.prepare import PrepareConfig, run
from pipelines.corpus.reading import read_corpus
from pipelines.corpus.splits import split_corpus
from pipelines.corpus.windows import read_examples

pytestmark = pytest.mark.model


def test_the_excerpt_holds_what_was_counted_in_it(excerpt: Path) -> None:
    corpus = read_corpus(excerpt)
    assert len(corpus.clusters) == 50
    assert len(corpus.conversations) == 6907
    assert corpus.n_utterances == 24610
    assert corpus.seen["conversations that continue the one before (a scene cut in two)"] == 1929
    assert corpus.seen["conversations with one speaker twice in a row"] == 28
    assert corpus.seen["lines with empty text"] == 2
    assert corpus.seen["characters lost before reading (U+FFFD)"] == 44
    assert corpus.repaired["lines with <u>, <b> or <i> tags"] == 50
    assert not corpus.skipped
    numbers = [[int(u.id[1:]) for u in c.utterances] for c in corpus.conversations]
    assert all(n == list(range(n[0], n[0] + len(n))) for n in numbers)


def test_fifty_films_give_a_test_split_that_supports_verdicts(excerpt: Path) -> None:
    corpus = read_corpus(excerpt)
    for seed in range(10):
        assert not split_corpus(corpus, seed=seed).verdict_limit


@pytest.mark.parametrize("name", ["sample", "excerpt"])
def test_windows_are_what_the_real_template_gives(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    spec = name if name == "sample" else str(request.getfixturevalue("excerpt"))
    tokenizer = load_tokenizer(resolve_base("embedded"))
    summary = run(PrepareConfig(corpus=spec), folder=tmp_path, tokenizer=tokenizer)
    assert summary.template == "blocks"
    prompts = {prompt.id: prompt for prompt in read_prompts(tmp_path, "test")}
    examples = read_examples(tmp_path, "test")
    assert examples.lengths.max() <= 512
    end = (chat_format(tokenizer).end_id,)
    for example in (examples[i] for i in range(0, len(examples), max(1, len(examples) // 150))):
        prompt = prompts[example.prompt_id]
        asked = render(tokenizer, chat_messages(prompt.messages, system=summary.system))
        assert example.input_ids == asked + reply_ids(tokenizer, prompt.reference or "") + end
        assert example.n_prompt_tokens == len(asked)
        chat = chat_messages(prompt.messages, system=summary.system)
        chat.append({"role": "assistant", "content": prompt.reference or ""})
        whole: Any = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True)
        assert tuple(whole["input_ids"][: len(example.input_ids)]) == example.input_ids


def test_no_text_of_a_test_film_is_in_training(excerpt: Path, tmp_path: Path) -> None:
    run(PrepareConfig(corpus=str(excerpt), limit=2000), folder=tmp_path)
    clusters = {split: {p.cluster for p in read_prompts(tmp_path, split)} for split in SPLITS}
    assert max(Counter(cluster for members in clusters.values() for cluster in members).values()) == 1
