"""Real, small implementations of our protocols, for tests: nothing here is patched or mocked.

`tests/` is on the path while pytest runs: `from fakes import UniformModel, tiny_checkpoint`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.errors import InputError, UnavailableError
from harness.models.endpoint.parameters import Prefill
from harness.models.protocol import (
    Capability,
    Continuation,
    ContinuationRequest,
    OnProgress,
    OnReply,
    OptionProbabilities,
    OptionRequest,
    Reply,
    ReplyRequest,
)
from harness.seeding import derive, uniform
from harness.types import (
    Adapter,
    BaseModel,
    Criterion,
    Decoding,
    JudgedItem,
    Place,
    Progress,
    Score,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from harness.models.batch import Job
    from harness.models.local import LocalModel

FAKE_BASE = BaseModel(source="fake", revision=None, digest="f" * 64, family="fake")

CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a persona.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeServer:
    """What a server can do, without one."""

    n: int = 20
    begun: Prefill | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    typed: bool = False

    def n_logprobs(self) -> int:
        return self.n

    def prefill(self) -> Prefill | None:
        return self.begun

    def json_schema(self) -> bool:
        return self.typed

    def without(self, *, greedy: bool = False) -> Mapping[str, str]:
        return self.refused


# ── a model without weights ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformModel:
    """A model to which every byte, and the end, is equally likely, whatever was said before.

    Its held-out loss is known by hand: `(n + 1) / n · log2(257)` bits per byte for a reply of n bytes.
    """

    supports: frozenset[Capability] = frozenset({"generate", "continuation_logprobs", "option_probabilities"})
    base: BaseModel | None = FAKE_BASE
    vocabulary: int = 257  # 256 bytes and the end
    calls: list[str] = field(default_factory=list)  # the keys that were generated, for tests of resuming

    def generate(
        self,
        requests: Sequence[ReplyRequest],
        *,
        decoding: Decoding,
        on_reply: OnReply | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Reply]:
        """Letters drawn from (seed, key, draw, step); every twentieth or so ends the reply."""
        replies = [self._reply(request, decoding) for request in requests]
        for reply in replies:
            self.calls.append(reply.key)
            if on_reply is not None:
                on_reply(reply)
        return replies

    def _reply(self, request: ReplyRequest, decoding: Decoding) -> Reply:
        letters: list[str] = []
        finish: Literal["stop", "length"] = "length"
        for step in range(decoding.max_new_tokens):
            draw = uniform(decoding.seed, request.adapter or "", request.key, request.draw, step)
            if draw < 0.05:
                finish = "stop"
                break
            letters.append("abcdefghij klmnop qrst "[int((draw - 0.05) / 0.95 * 23)])
        text = "".join(letters).strip()
        return Reply(
            key=request.key,
            draw=request.draw,
            adapter=request.adapter,
            tag=request.tag,
            text=text,
            n_tokens=len(letters) + (finish == "stop"),
            finish_reason=finish,
        )

    def continuation_logprobs(
        self, requests: Sequence[ContinuationRequest], *, on_progress: OnProgress | None = None
    ) -> list[Continuation]:
        """−ln(vocabulary) for every byte and for the end."""
        each = -math.log(self.vocabulary)
        return [Continuation(key=r.key, logprobs=(each,) * len(r.reply.encode()), end_logprob=each) for r in requests]

    def option_probabilities(
        self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None
    ) -> list[OptionProbabilities]:
        """The same probability for every option."""
        return [
            OptionProbabilities(
                key=r.key,
                options=r.options,
                probabilities=(1 / len(r.options),) * len(r.options),
                mass=len(r.options) / self.vocabulary,
                entropy=math.log(len(r.options)),
            )
            for r in requests
        ]


# ── tiny transformers ────────────────────────────────────────────────────────────────────────────────────────────────


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, ChatML control tokens, and a template that brings a persona of its own, as Qwen's does."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    core = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*control, *alphabet])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    make: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerFast = make(
        tokenizer_object=core,
        eos_token="<|endoftext|>",  # as in Qwen's base models: the template's end token is another one
        pad_token="<|endoftext|>",
        chat_template=CHATML,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=512,
    )
    return tokenizer


def tiny_model(*, kind: Literal["llama", "qwen2"] = "llama", seed: int = 0, spread: float = 0.3) -> PreTrainedModel:
    """Random weights (two layers, 32 wide) that are large enough for the context to matter; float32, eval mode."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    sizes: dict[str, Any] = {
        "vocab_size": 259,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": spread,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make: Any = LlamaForCausalLM if kind == "llama" else Qwen2ForCausalLM
        model = make(LlamaConfig(**sizes) if kind == "llama" else Qwen2Config(**sizes))
    result: PreTrainedModel = model.eval()
    return result


def tiny_checkpoint(folder: Path, *, kind: Literal["llama", "qwen2"] = "llama", seed: int = 0) -> Path:
    """A tiny model and its tokenizer as a safetensors folder, as `resolve_base` takes it."""
    tiny_model(kind=kind, seed=seed).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_encoder(folder: Path, *, width: int = 32, seed: int = 0) -> Path:
    """A tiny sentence encoder and its tokenizer as a safetensors folder, as `load_encoder` takes it."""
    import torch
    import transformers

    untyped: Any = transformers
    config = untyped.BertConfig(
        vocab_size=259, hidden_size=width, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        untyped.BertModel(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_adapter(
    folder: Path, base: BaseModel, *, name: str = "tiny", rank: int = 4, seed: int = 0, use_dora: bool = False
) -> Adapter:
    """A LoRA adapter with random, non-zero weights for a tiny checkpoint, saved as PEFT saves it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from harness.doors.adapters import adapter_digest

    model: Any = AutoModelForCausalLM.from_pretrained(base.source, dtype=torch.float32)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", use_dora=use_dora)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "adapter") % 2**31)
        tuned: Any = get_peft_model(model, config)
        for parameter_name, parameter in tuned.named_parameters():
            if "lora_B" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.2)
    tuned.save_pretrained(folder)
    return Adapter(name=name, version=None, path=str(folder), digest=adapter_digest(folder), base=base)


# ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class WordModel:
    """A model whose answers follow a rule that a test can read: what is likely is said by two functions.

    One token per word. `word_logprob(word, chat)` is the log-probability of a word after a chat; `score(chat)` is the
    digit on which all of `mass` lies but a tenth, which the other options share.
    """

    word_logprob: Callable[[str, str], float] = lambda word, chat: -1.0 if word in chat.split() else -3.0
    score: Callable[[str], str] = lambda chat: "3"
    mass: float = 0.9
    refuses: str | None = None  # a chat or reply that holds this text is an InputError
    supports: frozenset[Capability] = frozenset({"continuation_logprobs", "option_probabilities"})
    base: BaseModel | None = FAKE_BASE
    seen: list[str] = field(default_factory=list)  # every chat that was asked, as one text

    def generate(
        self,
        requests: Sequence[ReplyRequest],
        *,
        decoding: Decoding,
        on_reply: OnReply | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Reply]:
        """A judge's model writes nothing."""
        raise UnavailableError("`generate` is not what this model is for")

    def continuation_logprobs(
        self, requests: Sequence[ContinuationRequest], *, on_progress: OnProgress | None = None
    ) -> list[Continuation]:
        """`word_logprob` of every word."""
        chats = [self._chat(r.messages, r.reply) for r in requests]
        return [
            Continuation(
                key=r.key,
                logprobs=tuple(self.word_logprob(word, chat) for word in r.reply.split()),
                end_logprob=-100.0,  # so large that a test sees it if it is ever counted
            )
            for r, chat in zip(requests, chats, strict=True)
        ]

    def option_probabilities(
        self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None
    ) -> list[OptionProbabilities]:
        """Nine tenths on `score`, the rest shared."""
        return [self._options(r, self.score(self._chat(r.messages, ""))) for r in requests]

    def _options(self, request: OptionRequest, best: str) -> OptionProbabilities:
        rest = 0.1 / (len(request.options) - 1)
        p = tuple(0.9 if option == best else rest for option in request.options)
        entropy = -math.fsum(x * math.log(x) for x in p)
        return OptionProbabilities(
            key=request.key, options=request.options, probabilities=p, mass=self.mass, entropy=entropy
        )

    def _chat(self, messages: Sequence[Mapping[str, str]], reply: str) -> str:
        chat = "\n".join(m["content"] for m in messages)
        if self.refuses is not None and self.refuses in chat + reply:
            raise InputError(f"`messages` must not hold {self.refuses!r}")
        self.seen.append(chat)
        return chat


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingModel:
    """A model that writes what `text(chat)` says and, asked for options, gives the shares of `weights` times `mass`."""

    text: Callable[[str], str]
    weights: Mapping[str, float] = field(default_factory=dict)  # by option; what is not named shares nothing
    mass: float = 1.0
    finish: Literal["stop", "length"] = "stop"
    supports: frozenset[Capability] = frozenset({"generate", "option_probabilities"})
    base: BaseModel | None = FAKE_BASE
    seen: list[str] = field(default_factory=list)  # every chat that was asked to write, as one text
    prefixes: list[str] = field(default_factory=list)  # every beginning after which options were asked

    def generate(
        self,
        requests: Sequence[ReplyRequest],
        *,
        decoding: Decoding,
        on_reply: OnReply | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Reply]:
        """`text` of the whole chat."""
        chats = ["\n".join(m["content"] for m in r.messages) for r in requests]
        self.seen.extend(chats)
        return [
            Reply(
                key=r.key,
                draw=r.draw,
                adapter=r.adapter,
                text=self.text(chat),
                n_tokens=None,
                finish_reason=self.finish,
                tag=r.tag,
            )
            for r, chat in zip(requests, chats, strict=True)
        ]

    def continuation_logprobs(
        self, requests: Sequence[ContinuationRequest], *, on_progress: OnProgress | None = None
    ) -> list[Continuation]:
        """Not what this model is for."""
        raise UnavailableError("`continuation_logprobs` is not what this model is for")

    def option_probabilities(
        self, requests: Sequence[OptionRequest], *, on_progress: OnProgress | None = None
    ) -> list[OptionProbabilities]:
        """`weights` over the options, made to sum to 1."""
        self.prefixes.extend(r.prefix for r in requests)
        return [self._options(r) for r in requests]

    def _options(self, request: OptionRequest) -> OptionProbabilities:
        weights = [self.weights.get(option, 0.0) for option in request.options]
        p = tuple(w / sum(weights) for w in weights)
        entropy = -math.fsum(x * math.log(x) for x in p if x)
        return OptionProbabilities(
            key=request.key, options=request.options, probabilities=p, mass=self.mass, entropy=entropy
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedComparer:
    """A pairwise judge whose verdict is a function of the reply shown as A, the one shown as B, and the criterion."""

    verdict: Callable[[str, str, str], Literal["A", "B", "tie"] | None]  # None is a missing verdict
    criteria: tuple[Criterion, ...]
    id: str = "scripted@00000000"
    family: str = "scripted"

    compares: ClassVar[bool] = True

    def score(
        self, items: Sequence[JudgedItem], *, on_progress: Callable[[Progress], None] | None = None
    ) -> list[Score]:
        """Both orders of every criterion of the first pair, then those of the second."""
        places: tuple[Place, ...] = ("first", "second")
        return [
            self._score(item, criterion.name, place)
            for item in items
            for criterion in self.criteria
            if not item.criteria or criterion.name in item.criteria
            for place in places
        ]

    def _score(self, item: JudgedItem, criterion: str, place: Place) -> Score:
        a, b = (item.reply, item.opponent or "") if place == "first" else (item.opponent or "", item.reply)
        said = self.verdict(a, b, criterion)
        return Score(
            item_id=item.id,
            criterion=criterion,
            judge_id=self.id,
            value=None if said is None else 0.5 if said == "tie" else float((said == "A") == (place == "first")),
            status="failed" if said is None else "ok",
            mode="scripted",
            shown_first=place,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedJudge:
    """A judge whose scores are a function of item and criterion; None is a missing score."""

    value: Callable[[JudgedItem, str], float | None]
    criteria: tuple[Criterion, ...]
    id: str = "scripted@00000000"
    family: str = "scripted"
    calls: list[int] = field(default_factory=list)  # how many items each call had
    compares: ClassVar[bool] = False

    def score(
        self, items: Sequence[JudgedItem], *, on_progress: Callable[[Progress], None] | None = None
    ) -> list[Score]:
        """All criteria of the first item, then those of the second."""
        self.calls.append(len(items))
        return [
            self._score(item, criterion.name)
            for item in items
            for criterion in self.criteria
            if not item.criteria or criterion.name in item.criteria
        ]

    def _score(self, item: JudgedItem, criterion: str) -> Score:
        value = self.value(item, criterion)
        return Score(
            item_id=item.id,
            criterion=criterion,
            judge_id=self.id,
            value=value,
            status="failed" if value is None else "ok",
            mode="scripted",
        )


def jobs_of(
    local: LocalModel,
    n: int,
    adapters: tuple[str | None, ...] = (None,),
    n_top: int | None = None,
    *,
    seed: int = 3,
    n_new: int = 24,
) -> list[Job]:
    """Jobs of different length, adapter, temperature, nucleus and cap."""
    from harness.models.batch import Job
    from harness.models.chat_templates import render

    rng, jobs = random.Random(seed), []
    for i in range(n):
        text = "".join(rng.choices("abcdef ", k=rng.randint(1, 60)))
        adapter = adapters[i % len(adapters)]
        sampled: Any = {"temperature": (0.0, 0.7, 1.3)[i % 3], "top_p": (1.0, 0.8)[i % 2]}
        decoding = Decoding(max_new_tokens=rng.randint(1, n_new), **sampled)
        ids = render(local.tokenizer, [{"role": "user", "content": text}])
        own: Any = {"adapter": adapter, "ids": ids, "stream": local.stream_of(adapter), "n_top": n_top}
        jobs.append(Job(index=i, key=f"p{i}", draw=0, decoding=decoding, **own))
    return jobs
