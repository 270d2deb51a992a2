"""One reading on every road: endpoint, file and local model tell thinking, refusal and failure apart alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import tiny_tokenizer
from faulty_server import Fault, FaultyServer

from harness.generation import count, decoding_json, generate
from harness.judging.fitting import fit
from harness.judging.preferences import judged_pairs
from harness.judging.scored import judged_items
from harness.measures.diversity import film_diversity
from harness.measures.text_measures import text_measures
from harness.models.detokenizing import begins_thinking, read_reply
from harness.models.endpoint import EndpointModel
from harness.models.endpoint.chat_client import ChatClient
from harness.models.endpoint.queue import RequestQueue
from harness.models.protocol import LanguageModel
from harness.models.recorded import RecordedModel
from harness.types import Decoding, FinishReason, Generation, Message, Prompt, Variant

VARIANT = Variant(name="v", kind="endpoint", digest="d")
DECODING = Decoding(max_new_tokens=9)
THOUGHT = "<think>\nThe user asks.\n</think>\n\nOut."
PROMPTS = [
    Prompt(id=f"p{n}", messages=(Message(role="user", content=f"Where, {n}?"),), split="test", cluster=f"film{n}")
    for n in range(3)
]


def replies(model: LanguageModel, *, decoding: Decoding = DECODING, journal: Path | None = None) -> list[Generation]:
    return generate(model, [VARIANT], PROMPTS, decoding=decoding, allowed_splits={"test"}, journal=journal)


def recorded(folder: Path, *rows: dict[str, Any]) -> RecordedModel:
    path = folder / "replies.jsonl"
    path.write_text("\n".join(json.dumps({"prompt_id": p.id} | row) for p, row in zip(PROMPTS, rows, strict=True)))
    return RecordedModel.load(path)


def served(*choices: dict[str, Any], keep: bool = False, **options: Any) -> list[Generation]:
    """Replies of a server that answers each prompt with the choice at its number."""

    def behave(body: dict[str, Any], n: int) -> Fault:
        return Fault(kind="choice", choice=choices[int(body["messages"][-1]["content"][-2])])

    with FaultyServer(behave) as server:
        model = EndpointModel(
            RequestQueue(ChatClient(url=server.url, model="m", max_retries=0), purpose="t", reuses=False), **options
        )
        return replies(model, decoding=replace(DECODING, keep_thinking=keep))


def says(content: Any, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {"message": {"content": content} | message, "finish_reason": finish}


def test_an_endpoint_and_a_file_read_the_same_replies_alike(tmp_path: Path) -> None:
    rows = [("stop", THOUGHT), ("length", "<think>The user"), ("stop", "Out \ufffd.")]
    by_server = served(*(says(text, finish) for finish, text in rows))
    journal = tmp_path / "journal.jsonl"
    by_file = replies(recorded(tmp_path, *({"text": t, "finish_reason": f} for f, t in rows)), journal=journal)
    for one, other in zip(by_server, by_file, strict=True):
        assert replace(one, n_tokens=None) == other
    assert [(g.text, g.thinking, g.finish_reason, g.n_repaired) for g in by_file] == [
        ("Out.", "The user asks.", "stop", 0),
        ("", "The user", "length", 0),
        ("Out \ufffd.", "", "stop", 0),
    ]
    (counted,) = count(by_server)
    assert (counted.n_thinking, counted.n_repaired, counted.n_failed) == (2, 0, 0)
    assert replies(recorded(tmp_path, *({"text": "x"} for _ in rows)), journal=journal) == by_file  # as it was kept


def test_a_setting_keeps_thinking_as_text_and_only_then_decides_a_stage(tmp_path: Path) -> None:
    kept = served(says(THOUGHT), says("Out.", reasoning_content="Hm."), says("Out."), keep=True)
    assert [g.text for g in kept] == [THOUGHT, "<think>\nHm.\n</think>\n\nOut.", "Out."]
    model = recorded(tmp_path, {"text": THOUGHT}, {"text": "Out.", "thinking": "Hm."}, {"text": "Out."})
    assert [g.text for g in replies(model, decoding=replace(DECODING, keep_thinking=True))] == [g.text for g in kept]
    assert [g.thinking for g in replies(model)] == ["The user asks.", "Hm.", ""]
    assert "keep_thinking" not in decoding_json(DECODING)
    assert decoding_json(replace(DECODING, keep_thinking=True))["keep_thinking"] is True


def test_a_file_whose_prompts_open_thinking_shows_which_reply_never_left_it(tmp_path: Path) -> None:
    rows = [{"text": "Hm.</think>Out."}, {"text": "Hm, the", "finish_reason": "length"}, {"text": "Out."}]
    assert [(g.text, g.finish_reason) for g in replies(recorded(tmp_path, *rows))] == [
        ("Out.", "unknown"),
        ("", "length"),
        ("Out.", "unknown"),
    ]
    at_server = served(says("Hm, the", "length"), says("Hm.</think>Out."), says("Out."), opens_thinking=True)
    assert [g.text for g in at_server] == ["", "Out.", "Out."]


def test_a_local_model_reads_marks_that_are_control_tokens_and_a_prompt_that_opens_them() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})

    def said(prompt: str, text: str, finish: Any = "stop", **decoding: Any) -> tuple[str, str, str]:
        ids = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompt, text)]
        read = read_reply(tokenizer, *ids, decoding=Decoding(**decoding), finish=finish)
        return read.text, read.thinking, read.finish

    assert said("Where?", "<think>the</think>out") == ("out", "the", "stop")
    assert said("Where?<think>\n", "the</think>out") == ("out", "the", "stop")
    assert said("Where?<think>\n", "the out") == ("", "the out", "length")
    assert said("Where?<think></think>", "the out") == ("the out", "", "stop")
    assert said("Where?", "<think>the</think>out END no", stop=("END",)) == ("out", "the", "stop")
    assert said("Where?", "<think>the</think>out", keep_thinking=True)[0] == "<think>the</think>out"
    assert not begins_thinking(tokenizer, tokenizer("<think> is a word, and so on and on")["input_ids"])


NOT_THERE = [
    (says(None, refusal="I cannot."), "refused", "refused"),
    (says(None, "content_filter"), "refused", "refused"),
    (says(None), "error", "failed"),
    (says("", "tool_calls", tool_calls=[{}]), "error", "failed"),
    (says("", "error"), "error", "failed"),
    (says("", error={"message": "Provider returned error"}), "error", "failed"),
]


@pytest.mark.parametrize(("choice", "finish", "status"), NOT_THERE)
def test_a_reply_that_is_not_there_is_missing_in_every_measure(
    choice: dict[str, Any], finish: FinishReason, status: str
) -> None:
    choice = choice | ({"error": choice["message"]["error"]} if "error" in choice["message"] else {})
    one, *rest = served(choice, says("Out by the door."), says("In."))
    assert (one.finish_reason, one.text, one.is_missing) == (finish, "", True)
    assert one.reason
    row = text_measures([one, *rest], PROMPTS)[0]
    assert {row.length, row.n_tokens, row.repetition, row.echo, row.cut_off} == {None}
    film = next(f for f in film_diversity([one, *rest]) if f.cluster == one.cluster)
    assert (film.n_replies, film.n_missing) == (0, 1)
    (item,) = judged_items(PROMPTS[:1], [one])
    fitted = fit(item, criteria=(), max_bytes=999)
    assert (fitted.status, fitted.reply) == (status, "")
    for first, second in ((one, rest[0]), (rest[0], one)):
        second = replace(second, prompt_id=first.prompt_id)
        (pair,) = judged_pairs([p for p in PROMPTS if p.id == first.prompt_id], [first], [second])
        assert fit(pair, criteria=(), max_bytes=999).status == status
    (counted,) = count([one, *rest])
    assert (counted.n_failed, counted.n_refused) == (1, int(finish == "refused"))
