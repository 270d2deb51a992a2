"""Models of a Python caller: a function of the user's, and weights that are in memory already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.doors import functions
from harness.doors.answers import part_thinking
from harness.errors import InputError
from harness.models.bases import family_of_config
from harness.models.local import LocalModel
from harness.models.metering import Usage, answered_in_turn
from harness.models.protocol import (
    GeneratesOnly,
    OnProgress,
    OnReply,
    Reply,
    ReplyRequest,
    adapter_name,
    as_reply,
    no_reply,
)
from harness.store.artifacts import digest_json
from harness.types import Adapter, BaseModel, Decoding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LORA = ("lora_", "modules_to_save")  # in the names of an adapter's weights


class FunctionModel(GeneratesOnly):
    """A function str → str as a model; implements `LanguageModel` with `generate` alone.

    A parameter called `messages` gets the chat as a list of `{"role", "content"}`, any other the turns as one text, a
    turn a line. What it raises on, and None, is a reply that failed.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        import inspect

        self._function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        first = next(iter(inspect.signature(function).parameters), None)
        if first is None:
            raise InputError(f"`{self.name}` must take a prompt or `messages` to be compared, it takes nothing")
        self._takes_messages = first == "messages"
        self.usage = Usage()

    def generate(
        self,
        requests: Sequence[ReplyRequest],
        *,
        decoding: Decoding,
        on_reply: OnReply | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Reply]:
        """One call a request, in order; of the decoding only whether to keep thinking is looked at.

        Raises InputError: it returned something else than text or None.
        """
        return answered_in_turn(
            requests, lambda request: self._reply(request, decoding), on_reply=on_reply, on_progress=on_progress
        )

    def _reply(self, request: ReplyRequest, decoding: Decoding) -> Reply:
        chat = [dict(message) for message in request.messages]
        try:
            said = self._function(chat if self._takes_messages else "\n".join(m["content"] for m in chat))
        except Exception as err:  # noqa: BLE001  # a function of the user's may raise anything
            return no_reply(request, functions.failure(err))
        if said is None:
            return no_reply(request, f"{self.name} returned None")
        if not isinstance(said, str):
            raise InputError(f"`{self.name}` must return the reply as text, or None, got {type(said).__name__}")
        parted = part_thinking(said, finish="unknown", keep=decoding.keep_thinking)
        return as_reply(parted, request, n_tokens=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveModel:
    """A transformers or PEFT model in memory with its tokenizer, named by its weights."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    base: BaseModel
    adapter: Adapter | None  # the active one

    @classmethod
    def of(cls, model: Any, tokenizer: Any) -> LiveModel:
        """Name a model by the content of its weights, its tokenizer and its template: seconds for some billions.

        Raises InputError: it is no such model, or no single adapter is active.
        """
        if not (hasattr(model, "state_dict") and hasattr(model, "config")) or not hasattr(tokenizer, "chat_template"):
            found = f"({type(model).__name__}, {type(tokenizer).__name__})"
            raise InputError(f"a model in memory must be (model, tokenizer) of transformers or PEFT, got {found}")
        state = model.state_dict()
        own = {name for name in state if any(part in name for part in _LORA)}
        words = {"vocabulary": tokenizer.get_vocab(), "template": tokenizer.chat_template}
        config = model.config.to_dict()
        name = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
        base = BaseModel(
            source=f"{name.rstrip('/').rsplit('/', 1)[-1]} in memory",
            revision=None,
            digest=digest_json([_weights_digest(state, state.keys() - own), words]),
            family=family_of_config(config, names=(name,)),
        )
        if not own:
            return cls(model=model, tokenizer=tokenizer, base=base, adapter=None)
        active = model.active_adapters() if callable(model.active_adapters) else model.active_adapters
        if len(active) != 1:
            raise InputError(f"a PEFT model must have one active adapter, got {len(active)}: `set_adapter` chooses")
        weights = {name for name in own if f".{active[0]}." in f".{name}."}
        settings = {k: str(v) for k, v in model.peft_config[active[0]].to_dict().items() if "path" not in k}
        digest = digest_json([_weights_digest(state, weights), settings, base.digest])
        adapter = Adapter(name=active[0], version=None, path="", digest=digest, base=base)
        return cls(model=model, tokenizer=tokenizer, base=base, adapter=adapter)

    @property
    def key(self) -> str:
        """What it is known by while it is lent."""
        return self.base.digest if self.adapter is None else self.adapter.digest

    def local(self) -> LocalModel:
        """As the model that everything here asks; its own adapter is known by its content's name."""
        local = LocalModel(self.model, self.tokenizer, base=self.base)
        if self.adapter is not None:
            local.bank.know(self.adapter.name, name=adapter_name(self.adapter), digest=self.adapter.digest)
        return local


def _weights_digest(state: Any, names: Any) -> str:
    import torch

    digest = hashlib.sha256()
    for name in sorted(names):
        value = state[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
