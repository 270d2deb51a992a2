"""What teaching the learned judge takes, and scoring with it over its encoder's bare reading, on one core and on two.

`pytest tests/benchmarks/test_learned_speed.py -s` prints seconds and replies per second as well; only what other work
on the machine cannot spoil is held to: seconds of the processor, and a ratio of two of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.judging import load_criterion
from harness.judging.methods.learned import LearnedJudge
from harness.models.encoder import Encoder, resolve_encoder, wheel_folder
from harness.store.prepared import read_prompts
from harness.types import JudgedItem
from pipelines.corpus import prepare
from pipelines.corpus.prepare import PrepareConfig
from pipelines.teaching import teach

pytestmark = [pytest.mark.model, pytest.mark.slow]

CRITERIA = ("coherence", "fluency")
N_PROMPTS, N_VARIANTS = 60, 4  # as an evaluation has them
TEACHING_S = 90
AT_LEAST = 0.6  # of the speed at which the encoder alone reads the same texts


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What comes of it, seconds on the clock, seconds of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    found = work()
    return found, time.perf_counter() - clock, time.process_time() - processor


def load_fresh() -> Encoder:
    """The embedded encoder with nothing read yet."""
    return Encoder(resolve_encoder(), folder=wheel_folder())


def test_a_judge_is_taught_in_time_and_scores_about_as_fast_as_its_encoder_reads(tmp_path: Path) -> None:
    import torch

    prepare.run(PrepareConfig(corpus="sample"), folder=tmp_path)
    splits = {split: read_prompts(tmp_path, split) for split in ("train", "validation", "test")}
    before = torch.get_num_threads()
    replies = [p.reference for p in splits["test"] if p.reference]
    items = [
        JudgedItem(
            id=f"{i}-{v}", messages=p.messages, reply=replies[(7 * i + 131 * v) % len(replies)], cluster=p.cluster
        )
        for i, p in enumerate(splits["test"][:N_PROMPTS]) for v in range(N_VARIANTS)
    ]  # fmt: skip
    texts = [text for item in items for text in (item.reply, *(m.content for m in item.messages[-2:]))]
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            taught, clock, processor = timed(
                lambda: teach.teach(
                    splits["train"], splits["validation"], encoder=load_fresh(), criteria=CRITERIA, seed=7
                )
            )
            judge = LearnedJudge(
                id="learned@1", family="minilm", criteria=tuple(load_criterion(c) for c in CRITERIA),
                head=taught.head, encoder=load_fresh(), max_bytes=6000,
            )  # fmt: skip
            alone = load_fresh()
            _, _, reading = timed(partial(alone.encode, texts))
            _, seconds, scoring = timed(partial(judge.score, items))
            print(
                f"\n{n_threads} threads: taught in {clock:.0f} s ({processor:.0f} of the processor); "
                f"{len(items) / seconds:.0f} replies/s, {len(items) / scoring:.0f} a second of the processor, "
                f"{reading / scoring:.2f} of the encoder's own speed"
            )
            assert processor < TEACHING_S
            assert reading / scoring > AT_LEAST
    finally:
        torch.set_num_threads(before)
