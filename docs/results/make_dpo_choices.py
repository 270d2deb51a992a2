"""Measure settings of DPO on held-out films, and draw the table of docs/results/dpo-choices.md.

SCREENTEST_HOME=FOLDER python docs/results/make_dpo_choices.py measure CORPUS ROWS.jsonl validation [SETTING ...]
python docs/results/make_dpo_choices.py table ROWS.jsonl

A row is an adapter (seed, setting) with its figures by prompt. What stands in ROWS is not measured again.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import load_yaml
from harness.experiment.prompt_draw import draw_prompts
from harness.experiment.published import published_adapter
from harness.experiment.session import Session
from harness.generation import generate
from harness.measures.heldout import as_mean
from harness.measures.realism import detectability_rows
from harness.models.chat import chat_messages
from harness.models.encoder import load_encoder
from harness.models.local import LocalModel
from harness.models.protocol import ContinuationRequest
from harness.settings import Settings
from harness.stats.crossed import seed_contrast
from harness.stats.paired import contrast_of_differences
from harness.stats.rows import Floats
from harness.store.prepared import read_prompts, read_summary
from harness.store.tracking import StageResult, Tracking
from harness.types import Adapter, Decoding, Prompt, Split, Variant
from pipelines.corpus.prepare import PrepareConfig
from pipelines.corpus.prepare_stage import prepare_stage
from pipelines.preferences.files import PAIRS
from pipelines.preferences.ranking import OtherReplyRanker
from pipelines.preferences.stages import import_stage, pairs_stage
from pipelines.quickstart import quick_pairs
from pipelines.training.dpo_recipe import DpoRecipe
from pipelines.training.recipe import SftRecipe
from pipelines.training.stages import training_stage

RECIPES = Path("experiments/recipes")
SEEDS = (11, 12, 13)
N_LOSSES, N_REPLIES = 60, 36  # prompts, films taking turns
DECODING = Decoding(max_new_tokens=64, temperature=0.8, top_p=0.95, n_draws=1, seed=3)
SFT = "sft"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What differs between them; the rest is experiments/recipes/dpo/embedded.yaml."""

    pairs: str = "reference"  # rejected: a sample, another film's reply ("other"), or either ("mixed")
    loss: dict[str, Any] = field(default_factory=dict)
    rate: float = 5e-5
    n_pairs: int = 48
    method: str = "dpo"


PLAIN = {"type": "sigmoid", "beta": 0.1, "sft_weight": 0.0}
RPO = {"sft_weight": 1.0}
SETTINGS = {
    "shipped": Setting(rate=2e-4),
    "other+sft": Setting(pairs="other", loss=RPO),
    "lower rate": Setting(),
    "sample+sft": Setting(loss=RPO),
    "apo": Setting(loss={"type": "apo_zero"}),
    "other": Setting(pairs="other"),
    "mixed+sft": Setting(pairs="mixed", loss=RPO),
    "other+sft, 96": Setting(pairs="other", loss=RPO, n_pairs=96),
    "control": Setting(pairs="other", method="chosen_sft"),
    "control, 96": Setting(pairs="other", method="chosen_sft", n_pairs=96),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Films:
    """The films that adapters are measured on."""

    prompts: Sequence[Prompt]
    others: Sequence[str]  # a human reply to a prompt of another film, by prompt
    system: str | None
    split: Split


def measure(corpus: str, rows: Path, split: Split, names: Sequence[str]) -> None:
    """Append a row per seed and setting."""
    session = Session(tracking=Tracking(Settings.from_environment()), say=print)
    known = [json.loads(line) for line in rows.read_text().splitlines()] if rows.is_file() else []
    standing = {(row["seed"], row["setting"], row["split"]): row for row in known}
    for seed in SEEDS:
        recipe = load_yaml(RECIPES / "sft/embedded.yaml", SftRecipe).model_copy(update={"seed": seed})
        prepared = prepare_stage(session, _data(corpus, recipe))
        parent = published_adapter(session, training_stage(session, "sft", recipe, prepared=prepared))
        drawn = draw_prompts(read_prompts(prepared.folder, split), n=N_LOSSES, seed=3, allowed=(split,))
        others = OtherReplyRanker(pool=tuple(drawn), seed=3).choose(drawn, {})
        films = Films(
            prompts=drawn,
            others=[choice.rejected if (choice := others[p.id]) else "" for p in drawn],
            system=read_summary(prepared.folder).system,
            split=split,
        )
        for name in (SFT, *names):
            if (seed, name, split) in standing:
                continue
            began = time.perf_counter()
            adapter = parent if name == SFT else _trained(session, SETTINGS[name], seed, prepared, parent)
            seconds = time.perf_counter() - began
            samples = None if name == SFT else standing[seed, SFT, split]["replies"]
            row = {"seed": seed, "setting": name, "split": split, "seconds": seconds}
            row |= _figures(adapter, films, samples=samples)
            standing[seed, name, split] = row
            with rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{seed} {name}: {seconds:.0f} s to train, {time.perf_counter() - began - seconds:.0f} s to measure")


def _data(corpus: str, recipe: SftRecipe) -> PrepareConfig:
    """The quickstart's TEST films; as many to choose on as there are to test on, taken from TRAIN."""
    return PrepareConfig(corpus=corpus, base=recipe.base.source, max_tokens=512, seed=7, validation_share=0.25)


def _trained(session: Session, setting: Setting, seed: int, prepared: StageResult, parent: Adapter) -> Adapter:
    shipped = load_yaml(RECIPES / "dpo/embedded.yaml", DpoRecipe)
    data = shipped.data.model_copy(update={"n_pairs": setting.n_pairs})
    recipe = shipped.model_copy(
        update={
            "seed": seed,
            "data": data,
            "loss": shipped.loss.model_copy(update=PLAIN | setting.loss),
            "optimizer": shipped.optimizer.model_copy(update={"learning_rate": setting.rate}),
            # pairs are read on other films below
            "validation": shipped.validation.model_copy(update={"n_replies": 0, "n_pairs": 1}),
        }
    )
    wanted = quick_pairs(shipped.model_copy(update={"seed": seed, "data": data}))
    found = [
        pairs_stage(session, wanted.model_copy(update={"method": method}), prepared=prepared, parent=parent)
        for method in (("reference", "other") if setting.pairs == "mixed" else (setting.pairs,))
    ]
    pairs = found[0] if len(found) == 1 else import_stage(session, _mixed(found), prepared=prepared)
    return published_adapter(
        session, training_stage(session, setting.method, recipe, prepared=prepared, parent=parent, pairs=pairs)
    )


def _mixed(found: Sequence[StageResult]) -> Path:
    """Of every other prompt the sample, of the rest the other reply."""
    samples, others = ((stage.folder / PAIRS).read_text().splitlines() for stage in found)
    by_prompt = {json.loads(line)["prompt_id"]: line for line in others}
    mixed = [by_prompt.get(json.loads(line)["prompt_id"], line) if i % 2 else line for i, line in enumerate(samples)]
    file = Path(Settings.from_environment().home) / "mixed.jsonl"
    file.write_text("\n".join(mixed) + "\n")
    return file


def _figures(adapter: Adapter, films: Films, *, samples: Sequence[str] | None) -> dict[str, Any]:
    """By prompt: bits of the human reply, of another film's and of a sample of the SFT adapter; its own replies."""
    model = LocalModel.load(adapter.base)
    name, few = model.add_adapter(adapter), films.prompts[:N_REPLIES]
    variant = Variant(name=name, kind="model", base=adapter.base, adapter=adapter, system=films.system)
    replies = generate(model, [variant], few, decoding=DECODING, allowed_splits=(films.split,))
    ended = [g.text if g.finish_reason == "stop" else "" for g in replies]
    human = [(p.reference or "").strip() for p in films.prompts]
    sampled = ended if samples is None else samples
    asked = [
        ContinuationRequest(
            key=f"{kind} {p.id}",
            messages=chat_messages(p.messages, system=films.system),
            reply=text,
            adapter=name,
        )
        for kind, texts in (("human", human), ("other", films.others), ("sample", sampled))
        for p, text in zip(films.prompts, texts, strict=False)
        if text
    ]
    bits = {c.key: -(c.total + c.end_logprob) / math.log(2) for c in model.continuation_logprobs(asked)}
    return {
        "films": [p.cluster for p in films.prompts],
        "bytes": [len(text.encode()) for text in human],
        **{kind: [bits.get(f"{kind} {p.id}") for p in films.prompts] for kind in ("human", "other", "sample")},
        "replies": ended,
        "cut_off": [g.finish_reason == "length" for g in replies],
        "words": [len(g.text.split()) for g in replies],
        "detectability": [row.value for row in detectability_rows(replies, few, encoder=load_encoder()).rows],
    }


def table(rows: Path) -> Iterator[str]:
    """A line per setting over all seeds, then one per seed; differences are to the SFT adapter of the same seed."""
    known = [json.loads(line) for line in rows.read_text().splitlines()]
    for split in dict.fromkeys(row["split"] for row in known):
        of = {(row["setting"], row["seed"]): row for row in known if row["split"] == split}
        names = [name for name in dict.fromkeys(name for name, _ in of) if name != SFT]
        yield f"\n{split.upper()}, all seeds\n"
        yield from _head("setting")
        for name in names:
            yield _line(name, {seed: (of[name, seed], of[SFT, seed]) for seed in SEEDS if (name, seed) in of})
        yield f"\n{split.upper()}, seed by seed\n"
        yield from _head("setting, seed")
        for name, seed in ((name, seed) for name in names for seed in SEEDS if (name, seed) in of):
            yield _line(f"{name}, {seed}", {seed: (of[name, seed], of[SFT, seed])})


COLUMNS = (
    "loss, mean",
    "loss, by bytes",
    "own > sample",
    "own > other",
    "detectability",
    "cut off",
    "words",
    "seconds",
)


def _head(first: str) -> Iterator[str]:
    yield f"| {' | '.join((first, *COLUMNS))} |"
    yield "|---" * (1 + len(COLUMNS)) + "|"


Pairs = dict[int, tuple[dict[str, Any], dict[str, Any]]]  # by seed: the adapter's row, and that of its parent


def _line(name: str, pairs: Pairs) -> str:
    cells = [
        _difference(pairs, lambda row: _array(row["human"]) / _array(row["bytes"]), "+.3f"),
        _difference(pairs, lambda row: as_mean(_array(row["human"]), _array(row["bytes"])), "+.3f"),
        *(_share(pairs, kind) for kind in ("sample", "other")),
        *(
            _difference(pairs, lambda row, key=key: 100 * _array(row[key]), "+.0f")
            for key in ("detectability", "cut_off")
        ),
        _difference(pairs, lambda row: _array(row["words"]), "+.1f"),
        f"{np.mean([row['seconds'] for row, _ in pairs.values()]):.0f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _difference(pairs: Pairs, read: Callable[[dict[str, Any]], Floats], digits: str) -> str:
    """Adapter less parent, paired by prompt."""
    found = {seed: read(row) - read(parent) for seed, (row, parent) in pairs.items()}
    return _written(found, {seed: row["films"] for seed, (row, _) in pairs.items()}, digits)


def _share(pairs: Pairs, kind: str) -> str:
    """Per cent of prompts whose human reply gained more on the parent than another reply did; 50 is chance."""
    found = {}
    for seed, (row, parent) in pairs.items():
        gains = {k: _array(parent[k]) - _array(row[k]) for k in ("human", kind)}
        more = 100.0 * (gains["human"] > gains[kind])
        found[seed] = np.where(np.isnan(gains[kind]), np.nan, more)
    return _written(found, {seed: row["films"] for seed, (row, _) in pairs.items()}, ".0f")


def _written(values: dict[int, Floats], films: dict[int, list[str]], digits: str) -> str:
    there = {seed: ~np.isnan(column) for seed, column in values.items()}
    column = np.concatenate([values[seed][there[seed]] for seed in values])
    clusters = [f for seed in values for f, is_there in zip(films[seed], there[seed], strict=False) if is_there]
    if len(values) > 1:
        seeds = [seed for seed in values for _ in range(int(there[seed].sum()))]
        found = seed_contrast(column, seeds=seeds, clusters=clusters).estimate
    else:
        found = contrast_of_differences(column, clusters=clusters).estimate
    ends = "" if found.low is None or found.high is None else f" [{found.low:{digits}}, {found.high:{digits}}]"
    return f"{found.value:{digits}}{ends}".replace("-", "−")


def _array(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def main() -> None:
    """Measure, or draw the table."""
    if sys.argv[1] == "table":
        print("\n".join(table(Path(sys.argv[2]))))
        return
    corpus, rows, split, *names = sys.argv[2:]
    measure(corpus, Path(rows), split, names or list(SETTINGS))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
