"""A small Qwen2-architecture base trained from nothing on TRAIN films: a real learned model without a download.

It exists so that an ablation over sizes has sizes to compare on a laptop. It tests the machinery and says nothing about
any released model.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InputError, StageError
from harness.experiment.kinds import BASE_FOLDER
from harness.models.chat import chat_messages, render
from harness.models.quiet import quiet
from harness.seeding import derive, stream
from harness.store.artifacts import digest_file, digest_json, write_json
from harness.store.prepared import prompts_file, read_prompts, read_summary
from harness.types import Message, Progress, Prompt, Split
from pipelines.training.checkpoints import Checkpoint, mark_complete, open_checkpoints
from pipelines.training.pretrain_recipe import PretrainRecipe
from pipelines.training.tokenizer import END, PAD, train_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

REVISION = 1  # raise when the same recipe and text would give another model
PRETRAINING = "pretraining.json"
MAX_POSITIONS = 1024
_STATE = "state.pt"

Rows = Any  # (n, row_tokens) int64 tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePoint:
    """One logged loss, nats per token."""

    step: int
    train: float
    validation: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSummary:
    """What a pretraining did; `pretraining.json`."""

    name: str
    n_parameters: int
    n_tokens: int  # seen
    n_steps: int
    validation_loss: float  # nats per token of its own tokenizer
    trace: tuple[TracePoint, ...]
    seconds: float
    resumed_from: int | None


@quiet()
def run(
    recipe: PretrainRecipe,
    *,
    prepared: Path,
    folder: Path,
    on_progress: Callable[[Progress], None] | None = None,
    on_metric: Callable[[str, float, int], None] | None = None,
) -> PretrainSummary:
    """Train tokenizer and model into `folder/model`; TRAIN is learned, VALIDATION is measured.

    Killed at any moment, the next call goes on from the last complete checkpoint and ends with the same model.

    Raises:
        InputError: TRAIN holds too little text. StageError: the loss is no number any more.
    """
    import torch

    began = time.perf_counter()
    # data
    system = read_summary(prepared).system
    train, validation = (read_prompts(prepared, split) for split in _SPLITS)
    tokenizer = train_tokenizer(_lines(train), vocabulary=recipe.architecture.vocabulary, max_tokens=MAX_POSITIONS)
    # What is drawn is tokenised, and nothing else: a full corpus holds many times what a small model will see.
    rows = _rows(tokenizer, train, system, n_tokens=recipe.train_tokens, recipe=recipe)
    held = _rows(tokenizer, validation, system, n_tokens=recipe.validation_tokens, recipe=recipe)

    # model
    torch.manual_seed(derive(recipe.seed, "pretrain"))
    model = _model(recipe, tokenizer)
    optimizer = _optimizer(model, recipe)
    n_steps = math.ceil(len(rows) / recipe.rows_per_step)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, n_steps, recipe))

    # resume
    checkpoints = folder / "checkpoints"
    data = [digest_file(prompts_file(prepared, split)) for split in _SPLITS]
    checkpoint = open_checkpoints(checkpoints, identity=digest_json({"recipe": recipe.model_dump(), "data": data}))
    trace = _resumed(checkpoint, model, optimizer, schedule)

    # train
    first = checkpoint.step if checkpoint else 0
    for step in range(first, n_steps):
        batch = rows[step * recipe.rows_per_step : (step + 1) * recipe.rows_per_step]
        loss = _step(model, batch, optimizer, schedule, recipe)
        done = step + 1
        if on_progress is not None:
            seen = min(done * recipe.rows_per_step, len(rows)) * recipe.row_tokens
            on_progress(
                Progress(done=seen, total=len(rows) * recipe.row_tokens, unit="tokens", note=f"loss {loss:.2f}")
            )
        if done % recipe.log_steps == 0 or done == n_steps:
            trace.append(TracePoint(step=done, train=loss, validation=_loss(model, held, recipe)))
            if on_metric is not None:
                on_metric("train/loss", loss, done)
                on_metric("validation/loss", trace[-1].validation or math.nan, done)
        if done % recipe.checkpoint_steps == 0 and done < n_steps:
            _keep(checkpoints / f"checkpoint-{done}", model, optimizer, schedule, trace)

    # save
    model.save_pretrained(folder / BASE_FOLDER)
    tokenizer.save_pretrained(folder / BASE_FOLDER)

    # summary
    summary = PretrainSummary(
        name=recipe.name,
        n_parameters=model.num_parameters(),
        n_tokens=rows.numel(),
        n_steps=n_steps,
        validation_loss=_loss(model, held, recipe),
        trace=tuple(trace),
        seconds=time.perf_counter() - began,
        resumed_from=checkpoint.step if checkpoint else None,
    )
    write_json(folder / PRETRAINING, summary)
    shutil.rmtree(checkpoints)
    return summary


_SPLITS: tuple[Split, Split] = ("train", "validation")


def _lines(prompts: Sequence[Prompt]) -> list[str]:
    """Every spoken line of these prompts once, in order."""
    every = (text for p in prompts for text in (*(m.content for m in p.messages), p.reference or ""))
    return list(dict.fromkeys(text for text in every if text))


def _rows(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], system: str, *, n_tokens: int, recipe: PretrainRecipe
) -> Rows:
    """Conversations end to end in rows of equal length, in an order drawn by the seed, again and again as needed."""
    import torch

    answered = [p for p in prompts if p.reference]
    if not answered:
        raise InputError("`pretrain` needs conversations in which somebody answers; this split has none")
    rng = stream(recipe.seed, "pretrain", len(answered))
    flat: list[int] = []
    while len(flat) < max(n_tokens, recipe.row_tokens):
        for place in rng.permutation(len(answered)):
            prompt = answered[int(place)]
            said = [*prompt.messages, Message(role="assistant", content=prompt.reference or "")]
            chat = [*chat_messages(prompt.messages, system=system), {"role": "assistant", "content": said[-1].content}]
            flat.extend(render(tokenizer, chat, reply_follows=False))
            if len(flat) >= max(n_tokens, recipe.row_tokens):
                break
    n_rows = len(flat) // recipe.row_tokens
    return torch.tensor(flat[: n_rows * recipe.row_tokens], dtype=torch.long).view(n_rows, recipe.row_tokens)


def _model(recipe: PretrainRecipe, tokenizer: PreTrainedTokenizerBase) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    shape = recipe.architecture
    configure: Any = Qwen2Config  # loosely typed upstream
    config = configure(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.mlp_width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
    )
    model: Any = Qwen2ForCausalLM
    return model(config).float().train()


def _optimizer(model: Any, recipe: PretrainRecipe) -> torch.optim.AdamW:
    """Weight decay on matrices alone; norms and biases are left out of it."""
    import torch

    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.optimizer.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.optimizer.learning_rate, betas=(0.9, 0.95))


def _rate(step: int, n_steps: int, recipe: PretrainRecipe) -> float:
    """Share of the full rate: linear up, then a cosine down to a tenth."""
    warm = recipe.optimizer.warmup_steps
    if step < warm:
        return (step + 1) / warm
    through = (step - warm) / max(1, n_steps - warm)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, through)))


def _step(model: Any, batch: Rows, optimizer: Any, schedule: Any, recipe: PretrainRecipe) -> float:
    import torch

    loss: Any = _nats(model, batch)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise StageError(f"the loss of `{recipe.name}` is no number any more: lower `learning_rate`")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.optimizer.max_grad_norm)
    optimizer.step()
    schedule.step()
    return value


def _nats(model: Any, batch: Rows) -> torch.Tensor:
    """Mean negative log-likelihood of every token but a row's first."""
    from torch.nn.functional import cross_entropy

    logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def _loss(model: Any, rows: Rows, recipe: PretrainRecipe) -> float:
    import torch

    model.eval()
    with torch.no_grad():
        batches = rows.split(recipe.rows_per_step)
        total = sum(float(_nats(model, batch)) * len(batch) for batch in batches)
    model.train()
    return total / len(rows)


def _keep(folder: Path, model: Any, optimizer: Any, schedule: Any, trace: Sequence[TracePoint]) -> None:
    """A checkpoint takes the place of the one before it, once it is whole."""
    import torch

    folder.mkdir()
    points = [[p.step, p.train, p.validation] for p in trace]
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    torch.save({**state, "trace": points}, folder / _STATE)
    mark_complete(folder, {})
    for older in folder.parent.glob("checkpoint-*"):
        if older != folder:
            shutil.rmtree(older)


def _resumed(checkpoint: Checkpoint | None, model: Any, optimizer: Any, schedule: Any) -> list[TracePoint]:
    import torch

    if checkpoint is None:
        return []
    state = torch.load(checkpoint.folder / _STATE, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return [TracePoint(step=int(step), train=train, validation=held) for step, train, held in state["trace"]]
