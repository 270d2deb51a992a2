"""A small Qwen2-architecture base trained from nothing on TRAIN films: a real learned model without a download.

It exists so that an ablation over sizes has sizes to compare on a laptop. It tests the machinery and says nothing about
any released model.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InputError
from harness.experiment.kinds import BASE_FOLDER
from harness.models.chat_templates import chat_messages, render
from harness.models.quiet import quiet
from harness.seeding import derive, stream
from harness.store.artifacts import digest_file, digest_json, write_json
from harness.store.prepared import prompts_file, read_prompts, read_summary
from harness.types import Progress, Prompt, Split
from pipelines.training.checkpoints import open_checkpoints
from pipelines.training.history import CurvePoint, curve_points, validations
from pipelines.training.meter import Meter
from pipelines.training.processes import Processes
from pipelines.training.recipe import PretrainRecipe
from pipelines.training.tokenizer import END, PAD, train_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

REVISION = 2  # raise when the same recipe and text would give another model or record
PRETRAINING = "pretraining.json"
MAX_POSITIONS = 1024
_SPLITS: tuple[Split, Split] = ("train", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSummary:
    """What a pretraining did; `pretraining.json`."""

    name: str
    n_parameters: int
    n_tokens: int  # seen
    n_steps: int
    validation_loss: float  # nats per token of its own tokenizer
    curves: tuple[CurvePoint, ...]
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
    from transformers import PrinterCallback, Trainer

    from pipelines.training.arguments import pretrain_arguments
    from pipelines.training.callbacks import training_callbacks

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

    # trainer
    checkpoints = folder / "checkpoints"
    data = [digest_file(prompts_file(prepared, split)) for split in _SPLITS]
    identity = digest_json({"recipe": recipe.model_dump(), "data": data, "revision": REVISION})
    checkpoint = open_checkpoints(checkpoints, identity=identity)
    trainer: Any = Trainer(
        model,
        args=pretrain_arguments(recipe, folder=checkpoints),
        train_dataset=_examples(rows),
        eval_dataset=_examples(held),
        callbacks=training_callbacks(
            checkpoints,
            Meter(**checkpoint.progress) if checkpoint else Meter(),
            processes=Processes(),
            n_tokens=rows.numel(),
            keeps_best=False,
            on_progress=on_progress,
            on_metric=on_metric,
        ),
    )
    trainer.remove_callback(PrinterCallback)

    # train
    trainer.train(resume_from_checkpoint=str(checkpoint.folder) if checkpoint else None)

    # save
    model.save_pretrained(folder / BASE_FOLDER)
    tokenizer.save_pretrained(folder / BASE_FOLDER)

    # summary
    state = trainer.state
    summary = PretrainSummary(
        name=recipe.name,
        n_parameters=model.num_parameters(),
        n_tokens=rows.numel(),
        n_steps=state.global_step,
        validation_loss=validations(state.log_history)[state.global_step]["eval_loss"],
        curves=tuple(curve_points(state.log_history)),
        seconds=time.perf_counter() - began,
        resumed_from=checkpoint.step if checkpoint else None,
    )
    write_json(folder / PRETRAINING, summary)
    shutil.rmtree(checkpoints)
    return summary


def _examples(rows: torch.Tensor) -> Any:
    """A list with a length and an item for each row is all that a `Dataset` needs to be."""
    return [{"input_ids": row, "labels": row} for row in rows]


def _lines(prompts: Sequence[Prompt]) -> list[str]:
    """Every spoken line of these prompts once, in order."""
    every = (text for p in prompts for text in (*(m.content for m in p.messages), p.reference or ""))
    return list(dict.fromkeys(text for text in every if text))


def _rows(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    system: str | None,
    *,
    n_tokens: int,
    recipe: PretrainRecipe,
) -> torch.Tensor:
    """Conversations end to end in rows (n, row_tokens), in an order drawn by the seed, again and again as needed."""
    import torch

    answered = [p for p in prompts if p.reference]
    if not answered:
        raise InputError("`pretrain` needs conversations in which somebody answers; this split has none")
    rng = stream(recipe.seed, "pretrain", len(answered))
    flat: list[int] = []
    while len(flat) < max(n_tokens, recipe.row_tokens):
        for place in rng.permutation(len(answered)):
            prompt = answered[int(place)]
            reply = {"role": "assistant", "content": prompt.reference or ""}
            chat = [*chat_messages(prompt.messages, system=system), reply]
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
