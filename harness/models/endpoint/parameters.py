"""Parameter support: how one server wants a call written, learnt from what it refuses before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Prefill = Literal["continue_final_message", "prefix", "assistant_turn"]
PREFILLS: tuple[Prefill, ...] = get_args(Prefill)  # in the order in which they are tried

OPTIONAL = ("seed", "top_p", "temperature")  # may be left out; where two may not stand together, the first goes
CAP, NEW_CAP = "max_tokens", "max_completion_tokens"
_WANTS_NEW_CAP = re.compile(rf"(?:use|supported|replaced)\b.{{0,80}}{NEW_CAP}|{NEW_CAP}.{{0,40}}instead", re.I | re.S)


@dataclass(slots=True, kw_only=True)
class ParameterSupport:
    """What is known of the parameters that a server takes; grows as it refuses."""

    cap: str = CAP  # what it calls the length cap
    dropped: dict[str, str] = field(default_factory=dict)  # parameters that it refuses → in its own words

    def spell(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A call's body as this server takes it."""
        spelled = {key: value for key, value in body.items() if key not in self.dropped}
        if self.cap != CAP and CAP in spelled:
            spelled[self.cap] = spelled.pop(CAP)
        return spelled

    def learn(self, sent: Mapping[str, Any], error: object, sentence: str) -> bool:
        """Take in a refusal of what was sent; whether it named something that can be written otherwise."""
        if CAP in sent and wants_new_cap(error, sentence):
            self.cap = NEW_CAP
            return True
        param = error.get("param") if isinstance(error, Mapping) else None
        sent_optional = [name for name in OPTIONAL if name in sent]
        named = [name for name in sent_optional if name == param] or [
            name for name in sent_optional if re.search(rf"\b{name}\b", sentence)
        ]
        if not named:
            return False
        self.dropped.setdefault(named[0], sentence)
        return True


def wants_new_cap(error: object, sentence: str) -> bool:
    """Whether a refusal says that the length cap must be named `max_completion_tokens`.

    OpenAI's newer models refuse `max_tokens`, which is all that many other servers know. Servers in between keep the
    sentence and drop the fields.
    """
    told = error if isinstance(error, Mapping) else {}
    is_named = (told.get("param"), told.get("code")) == (CAP, "unsupported_parameter")
    return is_named or _WANTS_NEW_CAP.search(sentence) is not None


def begun(messages: Sequence[Mapping[str, Any]], beginning: str, prefill: Prefill) -> dict[str, Any]:
    """Response prefill: what of a body asks a server to go on from the beginning of an answer.

    `continue_final_message` is vLLM's, SGLang's and `screentest serve`'s; `prefix` DeepSeek's and Mistral's;
    `assistant_turn`, a last message of the assistant and nothing more, llama.cpp's, Ollama's and Anthropic's.
    """
    turn = {"role": "assistant", "content": beginning} | ({"prefix": True} if prefill == "prefix" else {})
    flags = {"continue_final_message": True, "add_generation_prompt": False}
    return {"messages": [*messages, turn]} | (flags if prefill == "continue_final_message" else {})
