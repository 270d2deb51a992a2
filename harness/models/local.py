"""Models in this process: transformers with any number of LoRA adapters on one base in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from harness.composing import compose
from harness.errors import ConfigError, InputError
from harness.models.adapters import AdapterBank
from harness.models.bases import base_folder, load_tokenizer
from harness.models.batch import Batch, Job, Line, OnToken
from harness.models.chat_templates import chat_format, render, reply_ids
from harness.models.contracts import render_as_trained, require_template
from harness.models.decoder import Decoder, Limits, limits_on
from harness.models.detokenizing import read_reply, stop_test
from harness.models.devices import (
    ADDS_MASKS,
    Device,
    free_mask,
    resolve_attention,
    resolve_device,
)
from harness.models.metering import Meter, Usage
from harness.models.protocol import (
    Agreement,
    Answered,
    Capability,
    Continuation,
    ContinuationRequest,
    OnAnswers,
    OnProgress,
    OnReply,
    OptionProbabilities,
    OptionRequest,
    Reply,
    ReplyRequest,
    as_reply,
)
from harness.models.quantization import never_repacked, nf4_config
from harness.models.quiet import without_bars
from harness.models.sampling import validate_decoding
from harness.models.scoring import Answer, Question, Scorer, continuation_question, read_continuation, read_options
from harness.seeding import derive
from harness.types import Adapter, BaseModel, Contract, Decoding, Quantization

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_Request = TypeVar("_Request", ContinuationRequest, OptionRequest)
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

# Architectures that are tested with free masks, which packed scores and replayed steps need; others do without both.
_PACKABLE = frozenset({"llama", "qwen2", "qwen3", "mistral"})
_PACK_NODES = {"cpu": 384, "cuda": 2048}


class LocalModel:
    """A base in memory with adapters; implements `LanguageModel` with every capability."""

    supports: frozenset[Capability] = frozenset({"generate", "continuation_logprobs", "option_probabilities"})

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, base: BaseModel | None = None
    ) -> None:
        """Use a transformers or PEFT model that is already in memory, say a trainer's; see `load` for others.

        It is left as it was found after every call. The adapters of a PEFT model keep their names (`default`).
        """
        self.tokenizer = tokenizer
        self.usage = Usage()  # of `generate`, `continuation_logprobs` and `option_probabilities`
        self.base = base
        self.bank = AdapterBank(model)
        self._contracts: dict[str, Contract | None] = {}  # by the adapter's name
        self._format = chat_format(tokenizer)
        kind: Literal["cpu", "cuda"] = "cuda" if self.bank.device.startswith("cuda") else "cpu"
        self.limits = limits_on(kind, self.bank.config)
        # Whether decoding steps may be replayed as CUDA graphs; set before decoding. Tried on whole weights alone.
        config = self.bank.config
        is_tried = self._takes_masks and getattr(config, "quantization_config", None) is None
        self.can_replay = kind == "cuda" and is_tried and config._attn_implementation in ADDS_MASKS
        self.end_ids = frozenset({self._format.end_id, *_end_ids(model, tokenizer)})
        pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self._format.end_id
        self._pad_id: int = pad_id
        self._scorer = Scorer(self.bank, pad_id=pad_id, limit=_PACK_NODES[kind])

    @classmethod
    def load(
        cls,
        base: BaseModel,
        *,
        dtype: Dtype = "auto",
        device: Device = "auto",
        quantization: Quantization = "none",
    ) -> LocalModel:
        """Load a base: float32 on the CPU, bfloat16 on CUDA, FlashAttention where it is installed, else SDPA.

        Args:
            dtype: `auto`, or one that the device is fast in; bfloat16 is 25 times slower than float32 on most CPUs.
            device: `auto` takes CUDA when there is one.
            quantization: `nf4` holds the weights in 4 bits with double quantisation (QLoRA, 2305.14314).

        Raises:
            UnavailableError: the device or the weights are not there.
        """
        import torch
        from transformers import AutoModelForCausalLM

        where = resolve_device(device)
        kind = getattr(torch, dtype) if dtype != "auto" else torch.bfloat16 if where == "cuda" else torch.float32
        options: dict[str, Any] = {"dtype": kind, "attn_implementation": resolve_attention("auto", where)}
        if quantization == "nf4":
            options["quantization_config"] = nf4_config(kind)
            options["device_map"] = {"": where}
        folder, safe = base_folder(base), {"trust_remote_code": False, "use_safetensors": True}
        with without_bars():
            model: Any = AutoModelForCausalLM.from_pretrained(folder, **safe, **options)
        if quantization == "none":
            model.to(where)
        return cls(never_repacked(model.eval()), load_tokenizer(base), base=base)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that requests may use."""
        return self.bank.names

    @property
    def _takes_masks(self) -> bool:
        return self.bank.is_plain and self.bank.config.model_type in _PACKABLE

    @property
    def n_positions(self) -> int | None:
        """Tokens that prompt and reply may have together; None where the model names no bound."""
        room: int | None = getattr(self.bank.config.get_text_config(), "max_position_embeddings", None)
        return room

    def add_adapter(self, adapter: Adapter, *, name: str | None = None) -> str:
        """Verify and load an adapter; gives the name for requests (`protocol.adapter_name` unless given).

        Raises:
            IntegrityError: its files do not have the digest on record.
            InputError: it is no LoRA adapter in safetensors, does not belong to this base, or was trained under another
                chat template.
        """
        require_template(adapter, self.tokenizer)
        added = self.bank.add(adapter, base=self.base, name=name)
        self._contracts[added] = adapter.contract
        return added

    # ── generation ───────────────────────────────────────────────────────────────────────────────────────────────────

    def generate(
        self,
        requests: Sequence[ReplyRequest],
        *,
        decoding: Decoding,
        on_reply: OnReply | None = None,
        on_progress: OnProgress | None = None,
        batch_size: int | None = None,
    ) -> list[Reply]:
        """One reply per request, in their order.

        Only the settings of `decoding` count: a checkpoint's own repetition penalty or top-k is left out, so that all
        variants are decoded alike. The end tokens are the checkpoint's and the chat template's.

        Raises:
            ConfigError: a decoding setting is out of range.
            InputError: a prompt leaves no room for the reply, or names an adapter that was not added.
        """
        validate_decoding(decoding)
        jobs = [self._job(index, request, decoding) for index, request in enumerate(requests)]
        replies: dict[int, Reply] = {}
        meter = Meter(len(jobs), "replies", on_progress)

        def finish(line: Line) -> None:
            if line.finish is None:
                return
            reply = self._reply(line)
            replies[line.job.index] = reply
            self.usage.add(n_input=len(line.job.ids), n_output=len(line.tokens))
            if on_reply is not None:
                on_reply(reply)
            meter.advance(1, len(line.tokens))

        limits = self.limits if batch_size is None else replace(self.limits, n_rows=batch_size)
        streams: dict[str, list[Job]] = {}
        for job in jobs:
            streams.setdefault(job.stream, []).append(job)
        with self.bank.borrowed():
            for stream in streams.values():
                self.decoder(finish, limits=limits).run(stream)
        return [replies[index] for index in range(len(jobs))]

    @property
    def is_batch_invariant(self) -> bool:
        """Whether a reply is the same at any batch size and order: so on the CPU in float32, promised nowhere else."""
        return self.bank.device == "cpu" and str(self.bank.config.dtype) in ("torch.float32", "float32")

    def agreement_rate(
        self, requests: Sequence[ReplyRequest], replies: Sequence[str], *, decoding: Decoding, n: int = 16
    ) -> Agreement:
        """Generate a seeded sample of replies again, each alone, and count how many are the same.

        1 on a CPU in float32; below that where rounding depends on the batch (CUDA, bfloat16).
        """
        if not requests or len(requests) != len(replies):
            raise InputError(f"`replies` must be one per request, got {len(replies)} for {len(requests)} requests")
        order = list(range(len(requests)))
        random.Random(derive(decoding.seed, "agreement")).shuffle(order)
        sample = order[:n]
        n_same = sum(
            self.generate([requests[i]], decoding=decoding, batch_size=1)[0].text == replies[i] for i in sample
        )
        return Agreement(n=len(sample), n_same=n_same)

    def stream(self, request: ReplyRequest, *, decoding: Decoding) -> Iterator[tuple[int, ...]]:
        """One reply's tokens as they come, the end token left out: the same that `generate` gives.

        Between two of them the model is nobody's: who stops reading leaves nothing behind.

        Raises ConfigError, InputError: see `generate`.
        """
        validate_decoding(decoding)
        line = Line(job=self._job(0, request, decoding))
        decoder = self.decoder(lambda line: None)
        decoder.add([line])
        n_told = 0
        while line.finish is None:
            with self.bank.borrowed():
                decoder.turn()
            fresh = tuple(token for token in line.tokens[n_told:] if token not in self.end_ids)
            n_told = len(line.tokens)
            if fresh:
                yield fresh

    def decoder(self, on_token: OnToken, *, limits: Limits | None = None) -> Decoder:
        """A decoder on this model, to be driven turn by turn inside `bank.borrowed()`; one at a time."""
        batch = Batch(
            self.bank, end_ids=self.end_ids, pad_id=self._pad_id, can_replay=self.can_replay, on_token=on_token
        )
        return Decoder(batch, limits=limits or self.limits)

    def stream_of(self, adapter: str | None) -> str:
        """Which jobs may share a batch: all that can be mixed, then each other adapter alone."""
        return "mixed" if self.bank.is_plain and self.bank.can_mix(adapter) else f"alone {adapter}"

    def _job(self, index: int, request: ReplyRequest, decoding: Decoding) -> Job:
        ids = self._prompt_ids(request)
        self._require_room(request.key, len(ids) + decoding.max_new_tokens)
        is_stopped, stream = stop_test(self.tokenizer, decoding.stop), self.stream_of(request.adapter)
        return compose(Job, request, index=index, ids=ids, decoding=decoding, is_stopped=is_stopped, stream=stream)

    def _prompt_ids(self, request: ReplyRequest | ContinuationRequest) -> tuple[int, ...]:
        """The chat as it is asked: of an adapter, with as much history as it was trained with."""
        return render_as_trained(self.tokenizer, request.messages, self._contracts.get(request.adapter or ""))

    def _reply(self, line: Line) -> Reply:
        tokens = line.tokens[:-1] if line.tokens[-1] in self.end_ids else line.tokens
        finish = line.finish if line.finish in ("stop", "length") else "unknown"
        said = read_reply(self.tokenizer, line.job.ids, tokens, decoding=line.job.decoding, finish=finish)
        return as_reply(said, line.job, n_tokens=len(line.tokens))

    # ── exact probabilities ──────────────────────────────────────────────────────────────────────────────────────────

    def continuation_logprobs(
        self,
        requests: Sequence[ContinuationRequest],
        *,
        on_progress: OnProgress | None = None,
        known: Collection[int] = (),
        on_answers: OnAnswers[Continuation] | None = None,
    ) -> list[Continuation]:
        """Log-probability of each token of given replies, and of the end token after them.

        Requests with the same chat share its encoding, however many replies follow it.

        Args:
            known: places of requests whose answers the caller has: left out of the result, they count only for who
                shares a forward pass with whom, so that a call that goes on gives the numbers of one never killed.
            on_answers: gets the answers of each pass as they come.

        Raises InputError: chat and reply do not fit the model's positions.
        """
        questions = []
        for request in requests:
            context, reply = self._prompt_ids(request), reply_ids(self.tokenizer, request.reply)
            self._require_room(request.key, len(context) + len(reply))
            questions.append(continuation_question(context, reply, self._format.end_id))
        return self._ask(questions, requests, read_continuation, on_progress, known, on_answers)

    def option_probabilities(
        self,
        requests: Sequence[OptionRequest],
        *,
        on_progress: OnProgress | None = None,
        known: Collection[int] = (),
        on_answers: OnAnswers[OptionProbabilities] | None = None,
    ) -> list[OptionProbabilities]:
        """Softmax over a closed set of next tokens after a forced beginning of the assistant's turn.

        `known` and `on_answers` as in `continuation_logprobs`.

        Raises:
            ConfigError: an option is not exactly one token after the prefix.
            InputError: the chat does not fit the model's positions.
        """
        questions = []
        for request in requests:
            forced = reply_ids(self.tokenizer, request.prefix)
            ids = render(self.tokenizer, request.messages) + forced
            self._require_room(request.key, len(ids))
            options = tuple(self._option_id(request.prefix, forced, option) for option in request.options)
            if len(set(options)) != len(options) or len(options) < 2:
                raise ConfigError(f"`options` must be two or more different tokens, got {request.options}")
            questions.append(Question(ids=ids, first=len(ids), wanted=(options,)))
        return self._ask(questions, requests, read_options, on_progress, known, on_answers)

    def _ask(
        self,
        questions: Sequence[Question],
        requests: Sequence[_Request],
        read: Callable[[_Request, Answer], Answered],
        on_progress: OnProgress | None,
        known: Collection[int],
        on_answers: OnAnswers[Answered] | None,
    ) -> list[Answered]:
        """The questions that are not known, each read as the answer to its request."""
        known = frozenset(known)
        meter = Meter(sum(len(q.ids) for i, q in enumerate(questions) if i not in known), "tokens", on_progress)
        by_adapter: dict[str | None, list[int]] = {}
        for index, name in enumerate(request.adapter for request in requests):
            by_adapter.setdefault(name if name is None else self.bank.require(name), []).append(index)
        found: dict[int, Answered] = {}
        is_packable = self._takes_masks
        with self.bank.borrowed(), free_mask(self.bank.config, is_needed=is_packable):
            for name, indices in by_adapter.items():
                chosen = [questions[i] for i in indices]
                ask = self._scorer.packed if is_packable else self._scorer.padded
                for answers in ask(chosen, name, {at for at, i in enumerate(indices) if i in known}):
                    fresh = {indices[at]: read(requests[indices[at]], answer) for at, answer in answers.items()}
                    found |= fresh
                    if on_answers is not None:
                        on_answers(fresh)
                    n_each = [len(chosen[at].ids) for at in answers]
                    meter.advance(sum(n_each), sum(n_each))
                    for n in n_each:
                        self.usage.add(n_input=n, n_output=0)
        return [found[i] for i in sorted(found)]

    def _option_id(self, prefix: str, forced: tuple[int, ...], option: str) -> int:
        ids = reply_ids(self.tokenizer, prefix + option)
        if ids[:-1] != forced:
            raise ConfigError(
                f"`{option}` must be one token after `{prefix}`, got {len(ids) - len(forced)} with this tokenizer; "
                "choose another scale or prefix"
            )
        return ids[-1]

    def _require_room(self, key: str, n_tokens: int) -> None:
        if self.n_positions is not None and n_tokens > self.n_positions:
            raise InputError(
                f"`{key}` must fit the model's {self.n_positions} positions together with its reply, "
                f"got {n_tokens} tokens; shorten the history or the shots"
            )


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The end tokens that the checkpoint and its tokenizer name."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = set(named) if isinstance(named, list | tuple) else {named}
    return {i for i in (*ids, tokenizer.eos_token_id) if i is not None}
