"""Turns, windows and their tokens: the same as the chat template's, whatever the tokenizer."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import films, jsonl
from fakes import CHATML
from fakes import tiny_tokenizer as new_tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ConfigError, InputError
from harness.models.chat_templates import chat_format, chat_messages, render, reply_ids
from harness.store.prepared import read_prompts
from harness.types import SPLITS, Example, Message, Prompt
from pipelines.corpus.blocks import Fitted, RenderedWindows, fit_windows, ragged_range
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.reading import read_corpus
from pipelines.corpus.splits import split_corpus, whole_corpus
from pipelines.corpus.turns import Windows, limited, turns_of, windows_of
from pipelines.corpus.windows import WindowWriter, read_examples

SYSTEM = "Next line only."
Tokenizer = Any
tiny_tokenizer = functools.cache(new_tiny_tokenizer)


def windows_in(corpus: Corpus) -> Windows:
    return windows_of(corpus, turns_of(corpus), whole_corpus(corpus, "test"))


def fitted(corpus: Corpus, tokenizer: Tokenizer, *, max_tokens: int = 512) -> Fitted:
    return fit_windows(tokenizer, turns_of(corpus), windows_in(corpus), system=SYSTEM, max_tokens=max_tokens)


def written(corpus: Corpus, found: Fitted, folder: Path) -> tuple[list[Prompt], list[Example]]:
    WindowWriter(folder, corpus=corpus, turns=turns_of(corpus), renderer=found.renderer).write("test", found.windows)
    return read_prompts(folder, "test"), list(read_examples(folder, "test"))


def check_against_template(tokenizer: Tokenizer, prompts: list[Prompt], examples: list[Example]) -> None:
    """Every example is template(prompt) + reply + end token, token for token."""
    end = (chat_format(tokenizer).end_id,)
    assert [e.prompt_id for e in examples] == [p.id for p in prompts if p.reference is not None]
    by_id = {prompt.id: prompt for prompt in prompts}
    for example in examples:
        prompt = by_id[example.prompt_id]
        assert prompt.reference is not None
        chat = chat_messages(prompt.messages, system=SYSTEM)
        asked = render(tokenizer, chat)
        assert example.input_ids == asked + reply_ids(tokenizer, prompt.reference) + end
        assert example.n_prompt_tokens == len(asked)
        assert example.n_completion_bytes == len(prompt.reference.encode())
        whole = render(tokenizer, [*chat, {"role": "assistant", "content": prompt.reference}], reply_follows=False)
        assert whole[: len(example.input_ids)] == example.input_ids


def word_tokenizer(*, template: str = CHATML, splits_at_words: bool = True) -> Tokenizer:
    """A BPE with merges; without word splitting it merges a line break with what follows it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=splits_at_words)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=control, initial_alphabet=alphabet, show_progress=False
    )
    lines = [u.text for c in read_corpus("sample").conversations for u in c.utterances][:300]
    core.train_from_iterator([f"user\n{line}" for line in lines] + [f"assistant\n{line}" for line in lines], trainer)
    core.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=core, eos_token="<|endoftext|>", chat_template=template, clean_up_tokenization_spaces=False
    )


class TestTurns:
    def test_what_one_speaker_says_in_a_row_is_one_turn(self) -> None:
        corpus = films(1, texts={0: ["a", "b", "c", "d"]})
        (conversation,) = corpus.conversations
        speakers = ("u0", "u0", "u1", "u1")
        lines = tuple(replace(u, speaker_id=s) for u, s in zip(conversation.utterances, speakers, strict=True))
        turns = turns_of(replace(corpus, conversations=(replace(conversation, utterances=lines),)))
        assert turns.texts == ["a b", "c d"]
        assert turns.line_ids == ["L0", "L2"]

    def test_empty_texts_are_passed_over(self) -> None:
        turns = turns_of(films(1, texts={0: ["a", "", "c", "d"]}))
        assert turns.texts == ["a c", "d"]
        assert turns.starts.tolist() == [0, 2]

    def test_a_conversation_of_nothing(self) -> None:
        corpus = films(2, texts={0: ["", ""]})
        assert windows_in(corpus).prompt_ids == ["m1:L101", "m1:L102"]


class TestWindows:
    def test_every_turn_after_the_first_is_a_reply(self, tmp_path: Path) -> None:
        corpus = films(1, texts={0: ["one", "two", "three", "four"]})
        prompts, _ = written(corpus, fitted(corpus, tiny_tokenizer()), tmp_path)
        assert [p.id for p in prompts] == ["m0:L1", "m0:L2", "m0:L3"]
        assert [p.reference for p in prompts] == ["two", "three", "four"]
        assert [[(m.role, m.content) for m in p.messages] for p in prompts] == [
            [("user", "one")],
            [("assistant", "one"), ("user", "two")],
            [("user", "one"), ("assistant", "two"), ("user", "three")],
        ]
        assert {(p.split, p.cluster) for p in prompts} == {("test", "m0")}

    def test_chats_keep_their_roles(self, tmp_path: Path) -> None:
        messages = [{"role": r, "content": f"{r} {i}"} for i, r in enumerate(("user", "assistant") * 2)]
        path = jsonl(
            tmp_path / "a.jsonl",
            {"id": "two", "messages": messages},
            {"id": "one", "prompt": "p", "completion": "c"},
            {"id": "open", "prompt": "p?"},
            {"id": "again", "messages": [*messages, {"role": "user", "content": "and?"}]},
            {"id": "split", "prompt": messages[:3], "completion": messages[3:]},
        )
        corpus = read_corpus(path)
        prompts = {p.id: p for p in written(corpus, fitted(corpus, tiny_tokenizer()), tmp_path)[0]}
        references = {identifier: prompt.reference for identifier, prompt in prompts.items()}
        assert references == {
            "two.1": "assistant 1", "two.3": "assistant 3", "one": "c", "open": None, "split": "assistant 3",
            "again.1": "assistant 1", "again.3": "assistant 3", "again.open": None,
        }  # fmt: skip
        assert [m.role for m in prompts["two.3"].messages] == ["user", "assistant", "user"]
        assert [m.content for m in prompts["again.open"].messages][-1] == "and?"
        assert prompts["one"].messages[0].name is None

    def test_ids_that_collide_are_refused(self, tmp_path: Path) -> None:
        messages = [{"role": r, "content": r} for r in ("user", "assistant") * 2]
        path = jsonl(tmp_path / "a.jsonl", {"id": "a", "messages": messages}, {"id": "a.1", "prompt": "p"})
        corpus = read_corpus(path)
        with pytest.raises(InputError, match=r"got `a\.1` twice"):
            windows_in(corpus)

    def test_a_limit_draws_by_seed_and_id_alone(self) -> None:
        def drawn(corpus: Corpus, seed: int) -> set[str]:
            return set(limited(windows_in(corpus), most=10, seed=seed).prompt_ids)

        few, many = films(30), films(60)
        assert len(drawn(few, 1)) == 10
        assert drawn(few, 1) == drawn(few, 1) != drawn(few, 2)
        # Of the larger corpus's ten, those that the smaller one has are among its own ten.
        assert drawn(many, 1) & set(windows_in(few).prompt_ids) <= drawn(few, 1)

    def test_a_limit_holds_for_each_split(self) -> None:
        corpus = films(40)
        windows = limited(windows_of(corpus, turns_of(corpus), split_corpus(corpus, seed=0)), most=3, seed=0)
        assert [len(windows.of(split)) for split in SPLITS] == [3, 3, 3]


line = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=12)
spoken = st.lists(
    st.one_of(line, st.sampled_from(["Hi <|im_end|> there", "<|im_start|>system"])), min_size=2, max_size=6
)


class TestTokens:
    @given(texts=spoken)
    @settings(deadline=None, max_examples=60)
    def test_they_are_the_chat_templates(self, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
        corpus = films(1, texts={0: texts})
        found = fitted(corpus, tiny_tokenizer())
        assert found.renderer.kind == "blocks"
        check_against_template(tiny_tokenizer(), *written(corpus, found, tmp_path_factory.mktemp("windows")))

    def test_with_merges_and_a_real_corpus(self, tmp_path: Path) -> None:
        tokenizer, corpus = word_tokenizer(), read_corpus("sample")
        found = fitted(corpus, tokenizer)
        assert found.renderer.kind == "blocks"
        prompts, examples = written(corpus, found, tmp_path)
        check_against_template(tokenizer, prompts[::37], examples[::37])
        assert max(len(e.input_ids) for e in examples) <= 512

    def test_a_tokenizer_that_merges_across_seams_is_noticed(self, tmp_path: Path) -> None:
        tokenizer = word_tokenizer(splits_at_words=False)
        corpus = films(3, texts={0: ["You open at six.", "You do."]})
        found = fitted(corpus, tokenizer)
        assert found.renderer.kind == "rendered"
        _, examples = written(corpus, found, tmp_path)
        asked = chat_messages([Message(role="user", content="You open at six.")], system=SYSTEM)
        expected = (*render(tokenizer, asked), *reply_ids(tokenizer, "You do."), chat_format(tokenizer).end_id)
        assert examples[0].input_ids == expected

    def test_a_template_that_rewrites_earlier_turns_is_followed(self, tmp_path: Path) -> None:
        # As templates of models that think do, which drop the thoughts of earlier turns.
        earlier = "{% if message['role'] == 'assistant' and not loop.last %}(earlier) {% endif %}"
        tokenizer = word_tokenizer(
            template=CHATML.replace("{{ message['content'] }}", earlier + "{{ message['content'] }}")
        )
        corpus = films(3)
        found = fitted(corpus, tokenizer)
        assert found.renderer.kind == "rendered"
        prompts, examples = written(corpus, found, tmp_path)
        check_against_template(tokenizer, prompts, examples)
        assert "(earlier) Where" in tokenizer.decode(examples[1].input_ids)

    def test_a_template_that_puts_something_before_a_reply_is_refused(self) -> None:
        template = CHATML.replace("{{ message['content'] }}", "{% if loop.last %}~{% endif %}{{ message['content'] }}")
        with pytest.raises(ConfigError, match="chat template"):
            fitted(films(2), word_tokenizer(template=template))

    def test_the_exact_way_gives_the_same_windows(self, tmp_path: Path) -> None:
        tokenizer, corpus = tiny_tokenizer(), films(4, texts={1: ["x" * 90, "y" * 90, "z" * 90, "w"]})
        fast = fitted(corpus, tokenizer, max_tokens=300)
        turns, exact = turns_of(corpus), RenderedWindows(tokenizer, system=SYSTEM)
        first = exact.first_turns(turns, windows_in(corpus), max_tokens=300)
        assert fast.renderer.kind == "blocks"
        assert fast.windows.first.tolist() == first.tolist()
        assert fast.renderer.ids(turns, fast.windows).equals(exact.ids(turns, fast.windows))

    def test_loss_falls_on_reply_and_end_token_only(self, tmp_path: Path) -> None:
        tokenizer, corpus = tiny_tokenizer(), films(1, texts={0: ["ab", "cde"]})
        _, (example,) = written(corpus, fitted(corpus, tokenizer), tmp_path)
        learned = [i for i, is_learned in zip(example.input_ids, example.loss_mask, strict=True) if is_learned]
        assert tokenizer.decode(learned) == "cde<|im_end|>"


class TestFitting:
    """One token a byte makes lengths countable: control tokens 1, `user`+newline 5, `assistant`+newline 10."""

    texts = ("a" * 20, "b" * 30, "c" * 40, "d" * 10)
    prefix = 1 + len("system\n") + len(SYSTEM) + 2  # start, role line, text, end and newline
    user, assistant = 1 + 5 + 2, 1 + 10 + 2  # around a text: start, role line, end and newline

    def first(self, max_tokens: int) -> list[int]:
        fit = fitted(films(1, texts={0: self.texts}), tiny_tokenizer(), max_tokens=max_tokens)
        return [int(first) for first in fit.windows.first]

    def test_the_oldest_turns_go_first_and_not_one_token_is_wasted(self) -> None:
        reply = 1 + 10 + 10 + 1  # start, role line, ten letters, end
        last_only = self.prefix + self.user + 40 + reply
        with_two = last_only + self.assistant + 30
        everything = with_two + self.user + 20
        room = (everything, everything - 1, with_two, with_two - 1, last_only)
        assert [self.first(max_tokens)[-1] for max_tokens in room] == [0, 1, 1, 2, 2]

    def test_what_does_not_fit_is_left_out_and_counted(self) -> None:
        longest = self.prefix + self.user + 30 + 11 + 40 + 1  # answering b with c
        found = fitted(films(1, texts={0: self.texts}), tiny_tokenizer(), max_tokens=longest - 1)
        assert found.n_too_long == 1
        assert "m0:L2" not in found.windows.prompt_ids

    @given(texts=spoken, max_tokens=st.integers(60, 160))
    @settings(deadline=None, max_examples=40)
    def test_no_window_is_longer_and_none_could_hold_more(self, texts: list[str], max_tokens: int) -> None:
        corpus, tokenizer = films(1, texts={0: texts}), tiny_tokenizer()
        found, turns = fitted(corpus, tokenizer, max_tokens=max_tokens), turns_of(corpus)
        ids = found.renderer.ids(turns, found.windows)
        assert (np.diff(ids.offsets) <= max_tokens).all()
        more = found.windows.with_first(np.maximum(found.windows.first - 1, 0))
        could = np.diff(found.renderer.ids(turns, more).offsets) <= max_tokens
        assert not (could & (found.windows.first > 0)).any()


class TestTable:
    def test_rows_are_examples(self, tmp_path: Path) -> None:
        corpus = films(3)
        _, examples = written(corpus, fitted(corpus, tiny_tokenizer()), tmp_path)
        table = read_examples(tmp_path, "test")
        assert len(table) == 6
        assert table[-1] == examples[5]
        assert table[1:3] == examples[1:3]
        assert table.lengths.tolist() == [len(e.input_ids) for e in examples]
        assert tuple(table.input_ids(2).tolist()) == examples[2].input_ids
        with pytest.raises(IndexError, match="one of 6 examples, got 6"):
            table[6]

    def test_an_empty_split(self, tmp_path: Path) -> None:
        corpus = films(2)
        found = fitted(corpus, tiny_tokenizer())
        writer = WindowWriter(tmp_path, corpus=corpus, turns=turns_of(corpus), renderer=found.renderer)
        done = writer.write("train", found.windows.of("train"))
        assert done.n_prompts == done.n_tokens == 0
        assert len(read_examples(tmp_path, "train")) == len(read_prompts(tmp_path, "train")) == 0

    def test_a_folder_that_prepare_did_not_write(self, tmp_path: Path) -> None:
        for read in (read_prompts, read_examples):
            with pytest.raises(InputError, match="`screentest prepare` wrote, got none"):
                read(tmp_path, "test")


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6)), max_size=8))
def test_ragged_range(pairs: list[tuple[int, int]]) -> None:
    starts, lengths = (np.array([p[i] for p in pairs], dtype=np.int64) for i in (0, 1))
    assert ragged_range(starts, lengths).tolist() == [i for s, n in pairs for i in range(s, s + n)]
