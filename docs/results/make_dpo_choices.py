"""Measure settings of DPO on held-out films, and draw the table of docs/results/dpo-choices.md.

SCREENTEST_HOME=FOLDER python docs/results/make_dpo_choices.py losses CORPUS ROWS.jsonl validation [SETTING ...]
SCREENTEST_HOME=FOLDER python docs/results/make_dpo_choices.py replies CORPUS ROWS.jsonl validation [SETTING ...]
python docs/results/make_dpo_choices.py table ROWS.jsonl

One SFT adapter; of each setting a preference training per seed, with pairs of its own. What stands in ROWS is not
measured again.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import load_yaml
from harness.experiment.preparing import draw_prompts
from harness.experiment.published import published_adapter
from harness.experiment.session import Session
from harness.generation import reply_request
from harness.measures.heldout import as_mean
from harness.measures.realism import detectability_rows
from harness.models.chat_templates import chat_messages
from harness.models.encoder import load_encoder
from harness.models.local import LocalModel
from harness.models.protocol import ContinuationRequest
from harness.settings import Settings
from harness.stats.crossed import seed_contrast
from harness.stats.paired import contrast_of_differences
from harness.stats.rows import Floats
from harness.store.prepared import read_prompts, read_summary
from harness.store.tracking import StageResult, Tracking
from harness.types import Adapter, Decoding, Generation, Prompt, Split, Variant
from pipelines.corpus.prepare import PrepareConfig, prepare_stage
from pipelines.preferences.pair_files import PAIRS
from pipelines.preferences.pair_stages import import_stage, pairs_stage
from pipelines.preferences.ranking import HumanRanker
from pipelines.quickstart import quick_pairs
from pipelines.training.recipe import DpoRecipe, SftRecipe
from pipelines.training.training_stage import training_stage

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
    method: str = "dpo"


PLAIN = {"type": "sigmoid", "beta": 0.1, "sft_weight": 0.0}
RPO = {"sft_weight": 1.0}
SETTINGS = {
    "shipped": Setting(rate=2e-4),
    "other+sft": Setting(pairs="other", loss=RPO),
    "lower": Setting(),
    "sample+sft": Setting(loss=RPO),
    "apo": Setting(loss={"type": "apo_zero"}),
    "mixed+sft": Setting(pairs="mixed", loss=RPO),
    "sft-control": Setting(method="chosen_sft"),
}


def measure(what: str, corpus: str, file: Path, split: Split, names: Sequence[str]) -> None:
    """Append a row per seed and setting: its losses, or its replies."""
    session = Session(tracking=Tracking(Settings.from_environment()), say=print)
    recipe = load_yaml(RECIPES / "sft/embedded.yaml", SftRecipe).model_copy(update={"seed": SEEDS[0]})
    prepared = prepare_stage(session, _data(corpus, recipe))
    parent = published_adapter(session, training_stage(session, "sft", recipe, prepared=prepared))
    drawn = draw_prompts(read_prompts(prepared.folder, split), n=N_LOSSES, seed=3, allowed=(split,))
    system, standing = read_summary(prepared.folder).system, read_rows(file)
    asked = [(name, seed) for seed in SEEDS for name in names]
    for part, name, seed in [("replies", SFT, 0), ("losses", SFT, 0), *((what, *of) for of in asked)]:
        if (split, part, name, seed) in standing:
            continue
        adapter = parent if name == SFT else _trained(session, SETTINGS[name], seed, prepared, parent)
        model = LocalModel.load(adapter.base)
        model.add_adapter(adapter, name=name)
        if part == "replies":
            figures = _replies(model, adapter, drawn[:N_REPLIES], name=name, system=system)
        else:
            samples = standing[split, "replies", SFT, 0]["replies"]
            figures = _losses(model, drawn, samples, name=name, system=system)
        row = {"split": split, "part": part, "setting": name, "seed": seed, **figures}
        standing[split, part, name, seed] = row
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")
        print(f"{part} of {name}, seed {seed}")


Rows = dict[tuple[str, str, str, int], dict[str, Any]]  # by split, part, setting, seed


def read_rows(file: Path) -> Rows:
    """What has been measured."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    rows = [json.loads(line) for line in lines]
    return {(row["split"], row["part"], row["setting"], row["seed"]): row for row in rows}


def _data(corpus: str, recipe: SftRecipe) -> PrepareConfig:
    """The quickstart's TEST films; as many to choose on as there are to test on, taken from TRAIN."""
    return PrepareConfig(corpus=corpus, base=recipe.base.source, max_tokens=512, seed=7, validation_share=0.25)


def _trained(session: Session, setting: Setting, seed: int, prepared: StageResult, parent: Adapter) -> Adapter:
    shipped = load_yaml(RECIPES / "dpo/embedded.yaml", DpoRecipe)
    recipe = shipped.model_copy(
        update={
            "seed": seed,
            "loss": shipped.loss.model_copy(update=PLAIN | setting.loss),
            "optimizer": shipped.optimizer.model_copy(update={"learning_rate": setting.rate}),
            # pairs are read on other films below
            "validation": shipped.validation.model_copy(update={"n_replies": 0, "n_pairs": 1}),
        }
    )
    wanted = quick_pairs(shipped.model_copy(update={"seed": seed}))
    found = [
        pairs_stage(
            session, wanted.model_copy(update={"method": method, "n_candidates": 1}), prepared=prepared, parent=parent
        )
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


def _replies(
    model: LocalModel, adapter: Adapter, prompts: Sequence[Prompt], *, name: str, system: str | None
) -> dict[str, Any]:
    """By prompt: the adapter's own reply, and how it ended and is told from people's."""
    variant = Variant(name=name, kind="model", base=adapter.base, adapter=adapter, system=system)
    requests = [replace(reply_request(variant, p, draw=0), adapter=name) for p in prompts]
    replies = [
        Generation(
            prompt_id=p.id, variant=name, draw=0, text=r.text, seed=DECODING.seed, n_tokens=r.n_tokens,
            finish_reason=r.finish_reason, cluster=p.cluster,
        )
        for p, r in zip(prompts, model.generate(requests, decoding=DECODING), strict=True)
    ]  # fmt: skip
    return {
        "films": [p.cluster for p in prompts],
        "replies": [g.text if g.finish_reason == "stop" else "" for g in replies],
        "cut_off": [100 * (g.finish_reason == "length") for g in replies],
        "words": [len(g.text.split()) for g in replies],
        "detectability": [
            None if row.value is None else 100 * row.value
            for row in detectability_rows(replies, prompts, encoder=load_encoder()).rows
        ],
    }


def _losses(
    model: LocalModel, prompts: Sequence[Prompt], samples: Sequence[str], *, name: str, system: str | None
) -> dict[str, Any]:
    """By prompt: bits of the human reply, of a human reply to a prompt of another film, of the SFT adapter's sample."""
    human = [(p.reference or "").strip() for p in prompts]
    others = HumanRanker(others=tuple(prompts), seed=3).choose(prompts, {})
    other = [choice.rejected if (choice := others[p.id]) else "" for p in prompts]
    asked = [
        ContinuationRequest(
            key=f"{kind} {p.id}", messages=chat_messages(p.messages, system=system), reply=text, adapter=name
        )
        for kind, texts in (("human", human), ("other", other), ("sample", samples))
        for p, text in zip(prompts, texts, strict=False)
        if text
    ]
    bits = {c.key: -(c.total + c.end_logprob) / math.log(2) for c in model.continuation_logprobs(asked)}
    by_kind = {kind: [bits.get(f"{kind} {p.id}") for p in prompts] for kind in ("human", "other", "sample")}
    return {"films": [p.cluster for p in prompts], "bytes": [len(text.encode()) for text in human], **by_kind}


def table(file: Path) -> Iterator[str]:
    """A line per setting over all seeds, then one per seed; differences are to the SFT adapter."""
    rows = read_rows(file)
    for split in dict.fromkeys(key[0] for key in rows):
        names = [name for name in dict.fromkeys(key[2] for key in rows if key[0] == split) if name != SFT]
        seeds = {name: [seed for seed in SEEDS if (split, "losses", name, seed) in rows] for name in names}
        yield f"\n{split.upper()}\n"
        yield f"| setting | seeds | {' | '.join(COLUMNS)} |"
        yield "|---" * (2 + len(COLUMNS)) + "|"
        for name in names:
            for some in ([seeds[name]] if len(seeds[name]) > 1 else []) + [[seed] for seed in seeds[name]]:
                yield f"| {name} | {', '.join(map(str, some))} | {' | '.join(_cells(rows, split, name, some))} |"


COLUMNS = ("loss, mean", "loss, by bytes", "own > sample", "own > other", "detectability", "cut off", "words")


def _cells(rows: Rows, split: str, name: str, seeds: Sequence[int]) -> Iterator[str]:
    def differences(part: str, read: Callable[[dict[str, Any]], Floats], digits: str) -> str:
        found = {seed: rows[split, part, name, seed] for seed in seeds if (split, part, name, seed) in rows}
        parent = rows[split, part, SFT, 0]
        return _written([read(row) - read(parent) for row in found.values()], list(found), parent["films"], digits)

    def gained_more(kind: str) -> str:
        parent = rows[split, "losses", SFT, 0]
        gains = [
            {k: _array(parent[k]) - _array(rows[split, "losses", name, seed][k]) for k in ("human", kind)}
            for seed in seeds
        ]
        shares = [np.where(np.isnan(g[kind]), np.nan, 100.0 * (g["human"] > g[kind])) for g in gains]
        return _written(shares, seeds, parent["films"], ".0f")

    yield differences("losses", lambda row: _array(row["human"]) / _array(row["bytes"]), "+.3f")
    yield differences("losses", lambda row: as_mean(_array(row["human"]), _array(row["bytes"])), "+.3f")
    yield gained_more("sample")
    yield gained_more("other")
    yield differences("replies", lambda row: _array(row["detectability"]), "+.0f")
    yield differences("replies", lambda row: _array(row["cut_off"]), "+.0f")
    yield differences("replies", lambda row: _array(row["words"]), "+.1f")


def _written(values: Sequence[Floats], seeds: Sequence[int], films: Sequence[str], digits: str) -> str:
    if not values:
        return "–"
    column = np.concatenate(values)
    there = ~np.isnan(column)
    clusters = np.tile(films, len(values))[there]
    if len(values) > 1:
        found = seed_contrast(column[there], seeds=np.repeat(seeds, len(films))[there], clusters=clusters).estimate
    else:
        found = contrast_of_differences(column[there], clusters=clusters).estimate
    ends = "" if found.low is None or found.high is None else f" [{found.low:{digits}}, {found.high:{digits}}]"
    return f"{found.value:{digits}}{ends}".replace("-", "−")


def _array(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def main() -> None:
    """Measure, or draw the table."""
    if sys.argv[1] == "table":
        print("\n".join(table(Path(sys.argv[2]))))
        return
    what, corpus, file, split, *names = sys.argv[1:]
    measure(what, corpus, Path(file), split, names or list(SETTINGS))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
