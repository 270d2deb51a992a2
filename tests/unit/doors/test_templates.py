"""Templates of every kind, through the door: what is asked is what was taught, and text stays text."""

from __future__ import annotations

import copy
import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from corpora import films
from fakes import tiny_checkpoint, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from template_kinds import GEMMA, KINDS, LLAMA3, MISTRAL, QWEN3, build, tokenizer_of

from harness.doors.templates import Adaptation, bring_system, chat_format, control, write
from harness.errors import ConfigError, InputError
from harness.experiment.record_parts import describe_variant
from harness.experiment.variants import parse_variant, resolve_variant
from harness.models.bases import adaptation_of, asked_digest, resolve_base
from harness.models.chat_templates import chat_messages, neutralise, render, reply_ids
from harness.store.prepared import read_prompts
from harness.store.tracking import Tracking
from pipelines.corpus.blocks import fit_windows
from pipelines.corpus.prepare import PrepareConfig, run
from pipelines.corpus.splits import whole_corpus
from pipelines.corpus.turns import turns_of, windows_of
from pipelines.corpus.windows import WindowWriter

SYSTEM = "Next line only."
CONTENT = st.lists(
    st.one_of(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=4),
        st.sampled_from(["\n\n", "    ", "<b>", "gonna", "＜|im_end|＞", "</think", "[/INST", "]", "_of_turn>"]),
        st.sampled_from([*KINDS["gemma"].ordinary[:2], *KINDS["llama3"].special, "[INST]", "[/INST]", "</s>"]),
    ),
    max_size=6,
).map("".join)


def chat(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gemma", Adaptation(folds_system=True, merges_turns=True, opens_with_user=True)),
        ("qwen3", Adaptation(off=("enable_thinking",))),
        ("mute thinking", Adaptation(opening="<think>\n\n</think>\n\n")),
        ("mistral", Adaptation(merges_turns=True, opens_with_user=True, lead=" ")),
        ("llama3", Adaptation(date="2024-07-26")),
    ],
)
def test_each_kind_is_adapted_as_it_needs(name: str, expected: Adaptation) -> None:
    found = chat_format(tokenizer_of(name)).adaptation
    assert found == expected
    assert found.notes
    assert all(note.startswith("chat template: ") for note in found.notes)


def test_a_template_that_needs_nothing_is_used_as_it_is() -> None:
    assert chat_format(tiny_tokenizer()).adaptation == Adaptation()
    assert Adaptation().notes == ()


@pytest.mark.parametrize("name", KINDS)
def test_training_windows_are_what_generation_asks_and_the_template_writes(name: str, tmp_path: Path) -> None:
    tokenizer, corpus = tokenizer_of(name), films(3, texts={0: ["a", "b", "c", "d"], 1: ["Two\n\nlines", "<b>4</b>"]})
    first = corpus.conversations[0]  # a third speaker makes neighbouring turns of one role
    lines = tuple(replace(u, speaker_id=s) for u, s in zip(first.utterances, ("u0", "u1", "u2", "u0"), strict=True))
    corpus = replace(corpus, conversations=(replace(first, utterances=lines), *corpus.conversations[1:]))
    turns = turns_of(corpus)
    windows = windows_of(corpus, turns, whole_corpus(corpus, "test"))
    found = fit_windows(tokenizer, turns, windows, system=SYSTEM, max_tokens=400)
    ids = found.renderer.ids(turns, found.windows)
    WindowWriter(tmp_path, corpus=corpus, turns=turns, renderer=found.renderer).write("test", found.windows)
    for i, prompt in enumerate(read_prompts(tmp_path, "test")):
        asked = chat_messages(prompt.messages, system=SYSTEM)
        example = tuple(ids.flat[ids.offsets[i] : ids.offsets[i + 1]].tolist())
        assert example[: ids.n_prompt[i]] == render(tokenizer, asked)
        reply = prompt.reference or ""
        assert example[ids.n_prompt[i] :] == (*reply_ids(tokenizer, reply), chat_format(tokenizer).end_id)
        whole = render(tokenizer, [*asked, {"role": "assistant", "content": reply}], reply_follows=False)
        assert whole[: len(example)] == example
        assert all(said in tokenizer.decode(list(whole)) for said in (SYSTEM, *(m.content for m in prompt.messages)))


@pytest.mark.parametrize("name", ["gemma", "qwen3", "llama3"])
def test_turns_that_alternate_are_put_together_from_blocks(name: str) -> None:
    turns = turns_of(films(4))
    windows = windows_of(films(4), turns, whole_corpus(films(4), "test"))
    found = fit_windows(tokenizer_of(name), turns, windows, system=SYSTEM, max_tokens=400)
    assert found.renderer.kind == "blocks"


def test_the_system_prompt_stands_before_the_first_user_turn() -> None:
    gemma = tokenizer_of("gemma")
    said = gemma.decode(list(render(gemma, chat(("system", "S"), ("user", "one"), ("user", "two")))))
    assert said == "<bos><start_of_turn>user\nS\n\none\n\ntwo<end_of_turn>\n<start_of_turn>model\n"
    said = str(gemma.decode(list(render(gemma, chat(("system", "S"), ("assistant", "one"), ("user", "two"))))))
    assert said.startswith("<bos><start_of_turn>user\nS<end_of_turn>\n<start_of_turn>model\none<end_of_turn>")


def test_a_begin_token_that_the_tokenizer_lacks_is_nothing() -> None:
    without = build(replace(KINDS["gemma"], bos=None, template=GEMMA.replace("bos_token }}", "bos_token + '' }}")))
    said = str(without.decode(list(render(without, chat(("user", "Hi"))))))
    assert said.startswith("<start_of_turn>user\nHi")


def test_a_date_is_the_same_on_every_day() -> None:
    llama = tokenizer_of("llama3")
    assert "Today Date: 26 Jul 2024" in llama.decode(list(render(llama, chat(("user", "Hi")))))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ messages[0].content + ", "unexpected"),
        ("{{ raise_exception('never') }}", "never"),
        (GEMMA.replace("m.content | trim", "(m.content | trim | upper)"), "in this order"),
        (GEMMA.replace("for m in messages", "for m in messages[-1:]"), "says: Conversation roles"),
        (QWEN3.replace("for m in messages", "for m in messages[-2:]"), "in this order"),
        (GEMMA.replace("<end_of_turn>", ""), "control token"),
        (QWEN3.replace("'<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ m.content", "m.role[loop.index0:] }}{% endif %}"
                       "{{ m.content"), "in this order"),
        (MISTRAL.replace("bos_token", "messages[0].nothing.more"), "no attribute"),
    ],
)  # fmt: skip
def test_what_no_adaptation_mends_is_one_sentence(template: str, reason: str) -> None:
    tokenizer = build(replace(KINDS["gemma"], template=template))
    with pytest.raises(ConfigError, match=reason) as caught:
        chat_format(tokenizer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", KINDS)
@given(text=CONTENT, reply=CONTENT)
@settings(max_examples=25)
def test_no_text_forges_a_turn_and_other_text_stays(name: str, text: str, reply: str) -> None:
    tokenizer = tokenizer_of(name)
    marks = control(tokenizer).pattern
    assert marks is not None
    for said in (text, reply):
        plain = neutralise(tokenizer, said)
        assert not marks.search(plain)
        assert plain == said or marks.search(said)
        assert plain.replace(" ", "") == said.replace(" ", "")
    shaped = [str(tokenizer.decode(list(render(tokenizer, chat(("user", t), ("assistant", r), ("user", t))))))
              for t, r in (("x", "y"), (text, reply))]  # fmt: skip
    written = [marks.findall(whole) for whole in shaped]
    assert written[0] == written[1]
    assert not marks.search(str(tokenizer.decode(list(reply_ids(tokenizer, reply)))))


@pytest.mark.parametrize("text", ["One.\n\nTwo.", "def f():\n    return 1", "<b>No</b>", "I am gonna leave"])
def test_ordinary_added_tokens_stay_as_they_are(text: str) -> None:
    gemma = tokenizer_of("gemma")
    assert neutralise(gemma, text) == text
    added = gemma.added_tokens_decoder
    assert any(token in added for token in reply_ids(gemma, text))
    assert text in gemma.decode(list(render(gemma, chat(("user", text)))))


def test_look_alikes_that_a_tokenizer_makes_marks_of_are_broken_up() -> None:
    from tokenizers import normalizers

    tokenizer: Any = build(KINDS["mistral"])  # [INST] is no token there
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    assert reply_ids(tokenizer, "［INST］ Hi") == reply_ids(tokenizer, "[ INST] Hi")
    assert neutralise(tokenizer, "ﬁne") == "ﬁne"


def test_what_is_added_later_counts() -> None:
    from tokenizers import AddedToken

    tokenizer: Any = tiny_tokenizer()
    assert neutralise(tokenizer, "a##stop##") == "a##stop##"
    tokenizer.add_tokens([AddedToken("##stop##", special=True, normalized=False)])
    assert neutralise(tokenizer, "a##stop##") == "a# #stop##"


def test_an_adaptation_is_part_of_the_identity(tmp_path: Path) -> None:
    plain, folded = (resolve_base(str(tiny_checkpoint(tmp_path / name))) for name in ("plain", "folded"))
    assert asked_digest(plain) == plain.digest
    (tmp_path / "folded" / "chat_template.jinja").write_text(LLAMA3)
    tokenizer = build(KINDS["llama3"])
    tokenizer.save_pretrained(tmp_path / "folded")
    folded = resolve_base(str(tmp_path / "folded"))
    assert adaptation_of(folded).date
    assert asked_digest(folded) != folded.digest
    variant = resolve_variant(
        "v",
        parse_variant(str(tmp_path / "folded")),
        tracking=Tracking(),
        system="S",
        shots_from=list,
        seed=0,
    )
    assert variant.template == adaptation_of(folded).notes
    assert describe_variant(variant) == "the base, chat template: date fixed to 2024-07-26"


def test_prepared_data_say_what_was_done_to_the_template(tmp_path: Path) -> None:
    config = PrepareConfig(max_tokens=400, whole_split="test")
    summary = run(config, folder=tmp_path, corpus=films(4), tokenizer=tokenizer_of("qwen3"))
    assert summary.template == "blocks; chat template: enable_thinking off"


def test_a_chat_that_the_template_refuses_is_said() -> None:
    refusal = "{% if messages[0].content == 'no' %}{{ raise_exception('never') }}{% endif %}"
    tokenizer = build(replace(KINDS["llama3"], template=refusal + LLAMA3))
    with pytest.raises(InputError, match=r"got roles \[user\] and it says: never"):
        render(tokenizer, chat(("user", "no")))


@pytest.mark.parametrize("kind", KINDS)
@given(system=st.text(min_size=1, max_size=40), asked=st.text(min_size=1, max_size=20))
@settings(max_examples=10, deadline=None)
def test_a_template_that_brings_a_system_message_writes_what_training_wrote(kind: str, system: str, asked: str) -> None:
    """As programs render it that know templates alone; a message that is brought stands as it is."""
    tokenizer = tokenizer_of(kind)
    how = chat_format(tokenizer).adaptation
    own, turn = {"role": "system", "content": control(tokenizer).break_up(system)}, {"role": "user", "content": asked}
    trained = write(tokenizer, [own, turn], reply_follows=False)
    brings: Any = copy.deepcopy(tokenizer)
    brings.chat_template = bring_system(tokenizer, system)
    dated: Any = {"strftime_now": datetime.date.fromisoformat(how.date or "2024-07-26").strftime}
    plain = brings.apply_chat_template([turn], tokenize=False, **dated)
    assert plain == trained
    if not how.folds_system:
        other = {"role": "system", "content": "Another."}
        brought = brings.apply_chat_template([other, turn], tokenize=False, **dated)
        assert brought == write(tokenizer, [other, turn], reply_follows=False)
