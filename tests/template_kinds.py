"""Chat templates that behave as published ones do, each on a small byte-level BPE with added tokens of its own."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ALTERNATE = (
    "{% if loop.index0 % 2 == 0 and m.role != 'user' or loop.index0 % 2 == 1 and m.role != 'assistant' %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    f"{{% for m in messages %}}{_ALTERNATE}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content | trim + "
    "'<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' and loop.last %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{% endif %}"
)
MUTE_THINKING = QWEN3.replace("enable_thinking is defined and enable_thinking is false", "false")  # takes no switch
MISTRAL = (  # the system prompt moves with the last user turn; a reply begins with a space and ends without
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set told = messages[0].content + '\\n\\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set told = '' %}{% set turns = messages %}{% endif %}"
    f"{{% for m in turns %}}{_ALTERNATE}"
    "{% if m.role == 'user' %}{{ '[INST] ' + (told if loop.last or loop.index0 == turns | length - 2 else '') + "
    "m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{{ bos_token }}"
    "{% if messages[0].role == 'system' %}{% set told = messages[0].content | trim %}{% set messages = messages[1:] %}"
    "{% else %}{% set told = '' %}{% endif %}{{ '<|start_header_id|>system<|end_header_id|>\\n\\n' }}"
    "{% if tools is not none %}{{ 'Environment: ipython\\n<|python_tag|>' }}{% endif %}"
    "{{ 'Today Date: ' + date_string + '\\n\\n' + told + '<|eot_id|>' }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A tokenizer as one family ships it."""

    template: str
    special: tuple[str, ...]  # special=True
    ordinary: tuple[str, ...] = ()  # added, special=False
    bos: str | None = None
    eos: str = "</s>"


KINDS = {
    "gemma": Kind(
        template=GEMMA,
        special=("<bos>", "<eos>"),
        ordinary=("<start_of_turn>", "<end_of_turn>", "\n", "\n\n", "  ", "    ", "<b>", "</b>", "gonna"),
        bos="<bos>",
        eos="<eos>",
    ),
    "qwen3": Kind(
        template=QWEN3,
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        ordinary=("<think>", "</think>", "<|fim_middle|>", "  "),
        eos="<|im_end|>",
    ),
    "mute thinking": Kind(
        template=MUTE_THINKING, special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), eos="<|im_end|>"
    ),
    "mistral": Kind(template=MISTRAL, special=("<s>", "</s>"), ordinary=("\n\n",), bos="<s>"),
    "llama3": Kind(
        template=LLAMA3,
        special=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"),
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
    ),
}


@functools.cache
def tokenizer_of(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a kind; tests must leave it as it is."""
    return build(KINDS[name])


def build(kind: Kind) -> PreTrainedTokenizerBase:
    """A byte-level BPE with merges."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer: Any = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(kind.special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(["Where is the door?", "Here it is, behind the house.", "model user assistant"], trainer)
    core.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in kind.special])
    core.add_tokens([AddedToken(t, special=False, normalized=False) for t in kind.ordinary])
    make: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerBase = make(
        tokenizer_object=core,
        bos_token=kind.bos,
        eos_token=kind.eos,
        pad_token=kind.eos,
        chat_template=kind.template,
        clean_up_tokenization_spaces=False,
    )
    return tokenizer
