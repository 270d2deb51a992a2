"""Beginning the assistant's turn for a server, in the dialects that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

Prefill = Literal["continue_final_message", "prefix", "assistant_turn"]
DIALECTS: tuple[Prefill, ...] = get_args(Prefill)  # in the order in which they are tried


def begun(messages: Sequence[Mapping[str, Any]], beginning: str, dialect: Prefill) -> dict[str, Any]:
    """What of a body asks a server to go on from the beginning of an answer.

    `continue_final_message` is vLLM's, SGLang's and `screentest serve`'s; `prefix` DeepSeek's and Mistral's;
    `assistant_turn`, a last message of the assistant and nothing more, llama.cpp's, Ollama's and Anthropic's.
    """
    turn = {"role": "assistant", "content": beginning} | ({"prefix": True} if dialect == "prefix" else {})
    flags = {"continue_final_message": True, "add_generation_prompt": False}
    return {"messages": [*messages, turn]} | (flags if dialect == "continue_final_message" else {})
