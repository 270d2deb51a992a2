"""How an adapter was asked in training, against how it is asked here."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.doors.templates import bring_system, template_digest
from harness.errors import InputError
from harness.models.chat_templates import DIALOGUE_SYSTEM, render
from harness.types import Adapter, Contract, Quantization

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BITS = {"nf4": "in 4 bits (NF4)", "none": "in full precision"}


def contract_of(
    tokenizer: PreTrainedTokenizerBase, *, system: str | None, max_tokens: int | None, quantization: Quantization | None
) -> Contract:
    """The contract of prompts that `chat_messages` and `render` made."""
    return Contract(
        system=system,
        template=template_digest(tokenizer),
        roles=("user", "assistant"),
        max_tokens=max_tokens,
        quantization=quantization,
    )


def own_system(adapter: Adapter | None, default: str | None) -> str | None:
    """The system message that an adapter was trained under; the default for a base, and where none is on record."""
    return default if adapter is None or adapter.contract is None else adapter.contract.system


def asked_system(adapter: Adapter | None, data: str | None) -> str | None:
    """The system message before prompts of prepared data: what rows bring, else an adapter's own, else the task's."""
    return own_system(adapter, data) if data in (None, DIALOGUE_SYSTEM) else data


def asked_system_there(card: Mapping[str, Any], data: str | None) -> str | None:
    """The same of a variant that a server lists; ours says how it was trained, of another's nothing is known."""
    if data not in (None, DIALOGUE_SYSTEM):
        return data
    own = card.get("system")
    return own if isinstance(own, str) and own else None if card.get("as_trained") is True else data


def render_as_trained(
    tokenizer: PreTrainedTokenizerBase, chat: Sequence[Mapping[str, str]], contract: Contract | None
) -> tuple[int, ...]:
    """Token ids of a chat with as much history as training windows had: the newest turns that fit beside an end token.

    The system message and the turn that is answered always stay.
    """
    ids = render(tokenizer, chat)
    window = None if contract is None else contract.max_tokens
    if window is None or len(ids) < window:
        return ids
    lead = [turn for turn in chat[:1] if turn["role"] == "system"]
    turns = chat[len(lead) :]

    def cut(first: int) -> tuple[int, ...]:
        return render(tokenizer, [*lead, *turns[first:]])

    first = bisect.bisect_left(range(len(turns) - 1), True, lo=1, key=lambda k: len(cut(k)) < window)
    return cut(min(first, len(turns) - 1))


def require_template(adapter: Adapter, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a chat template under which the adapter was not trained.

    Raises:
        InputError: the template, or how it is adapted, has changed since.
    """
    if adapter.contract is None or adapter.contract.template == (found := template_digest(tokenizer)):
        return
    raise InputError(
        f"`{adapter.name}` must be asked under the chat template that it was trained with "
        f"({adapter.contract.template[:12]}), got another ({found[:12]}); restore the base's template, or train again"
    )


def own_template(adapter: Adapter, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The base's template with the adapter's own system message in it, for programs that know templates alone.

    None where it was trained without one, or nobody knows.

    Raises:
        InputError: the template has changed since training.
    """
    require_template(adapter, tokenizer)
    system = own_system(adapter, None)
    return None if system is None else bring_system(tokenizer, system)


def told(
    contracts: Mapping[str, Contract | None], *, brings_system: bool, cuts: bool, quantization: Quantization
) -> list[str]:
    """What a server says of its adapters before it answers: a line for all that are asked alike."""
    lines: dict[str, list[str]] = {}
    for name, contract in contracts.items():
        system = None if contract is None else contract.system
        own = f"“{system}” goes before a chat that brings no system message" if system is not None else ""
        said = [own if brings_system else "asked with the system message that a chat brings, or none" if own else ""]
        if contract is not None and contract.max_tokens is not None:
            window = f"{contract.max_tokens} tokens, what it was trained on"
            said.append(f"a longer chat loses its oldest turns: {window}" if cuts else f"chats are not cut to {window}")
        said += kept(contract, system=system, quantization=quantization)
        lines.setdefault("; ".join(filter(None, said)), []).append(name)
    return [f"{', '.join(names)}: {said}" for said, names in lines.items() if said]


def kept(trained: Contract | None, *, system: str | None, quantization: Quantization) -> tuple[str, ...]:
    """How an adapter is asked against its training, a phrase each; nothing where all is the same."""
    if trained is None:
        return ("not on record how it was asked in training",)
    said = []
    if system != trained.system:
        said.append("asked under another system prompt than it was trained with")
    if trained.quantization not in (None, quantization):
        said.append(f"trained on its base {_BITS[trained.quantization]}, asked {_BITS[quantization]}")
    return tuple(said)
