"""Small ablations for tests: `from ablations import tiny_ablation, design_of`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from stories import tiny_recipe

import pipelines  # noqa: F401  names the stages that prepare and train
from harness.config import parse
from harness.experiment.analysis.contrasts import MeasuredArm, MeasureRule
from harness.experiment.analysis.seeded import SeededArm
from harness.experiment.analysis.seeds import Analysis, analyse_seeds
from harness.experiment.analysis.values import Row, Rows
from harness.experiment.arms import AblationDesign
from harness.experiment.design import ContrastDesign, FamilyDesign
from harness.types import Source

PLAIN: dict[str, Any] = {
    "schema": 1,
    "name": "tiny",
    "question": "Does noise on the embeddings help?",
    "factor": "sft.neftune_alpha",
    "arms": {"none": {"sft.neftune_alpha": 0}, "a5": {"sft.neftune_alpha": 5}},
    "control": "none",
    "seeds": [1, 2, 3],
    "decoding": {"max_new_tokens": 6},
    "measures": {
        "heldout_loss": {"smallest_effect": {"value": 0.02, "unit": "bits_per_byte"}},
        "distinct_2": {},
    },
    "contrasts": [{"name": "a5-none", "arms": ["a5", "none"]}],
    "family": {"measures": ["heldout_loss"]},
    "decision": "Keep it if it is better.",
    "recipes": {"sft": "recipe.yaml"},
    "test": {"prompts": 20, "min_clusters": 5},
    "data": {"max_tokens": 300},
}
OWN = '''import screentest as st

@st.measure(better="higher", unit="share", is_rate=True, smallest_effect=0.05)
def asks_back(reply: str) -> bool:
    """Share of replies that hold a word with an e."""
    return "e" in reply

@st.judge(family="rules", criteria=["politeness"])
def polite(items):
    return [float(len(item.reply)) for item in items]
'''  # a module of the user's


def design_of(**changes: Any) -> AblationDesign:
    """The plain declaration with some keys replaced."""
    return parse(PLAIN | changes, AblationDesign, where="test.yaml")


def tiny_ablation(folder: Path, base: Path, *, train_tokens: int = 1500, **changes: Any) -> Path:
    """An ablation file with its recipe beside it, on a tiny base."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_recipe(folder / "recipe.yaml", base, data__train_tokens=train_tokens, optimizer__warmup_steps=1)
    file = folder / "ablation.yaml"
    file.write_text(yaml.safe_dump(PLAIN | changes, sort_keys=False))
    return file


def untrained(measured: MeasuredArm) -> SeededArm:
    """An arm that nothing was trained for: one set of rows."""
    return SeededArm(
        measure=measured.measure, arm=measured.variant, by_seed={0: measured}, is_trained=False,
        judge_id=measured.judge_id,
    )  # fmt: skip


A_B = ContrastDesign(name="a-b", arms=("a", "b"))
Values = Sequence[float | None] | np.ndarray


def rows_of(values: Values, *, per_film: int = 2) -> Rows:
    """A row a prompt, so many prompts a film, in order."""
    return Rows.of(
        Row(prompt_id=f"p{i}", cluster=f"m{i // per_film}", value=None if value is None else float(value))
        for i, value in enumerate(values)
    )


def seeded(
    name: str, by_seed: Mapping[int, Values], *, is_trained: bool = True, n_lost: int = 0, measure: str = "loss",
    per_film: int = 2,
) -> SeededArm:  # fmt: skip
    """One measure of an arm, with the values of each seed."""
    measured = {
        seed: MeasuredArm(
            measure=measure,
            variant=f"{name}{seed}",
            rows=rows_of(values, per_film=per_film),
            sources=(Source(run_id=name, artifact="rows.parquet", where={"variant": f"{name}{seed}"}, digest="0"),),
        )
        for seed, values in by_seed.items()
    }
    return SeededArm(measure=measure, arm=name, by_seed=measured, is_trained=is_trained, n_seeds_lost=n_lost)


def analysed(
    *arms: SeededArm, rule: MeasureRule, contrasts: Sequence[ContrastDesign] = (A_B,), min_clusters: int = 3,
    variants: tuple[str, ...] = ("a", "b"), **family: Any,
) -> Analysis:  # fmt: skip
    """The analysis of one declared measure; the last variant is the control."""
    return analyse_seeds(
        arms,
        rules={rule.name: rule},
        contrasts=contrasts,
        control=variants[-1],
        family=FamilyDesign(measures=(rule.name,), **family),
        min_clusters=min_clusters,
        seed=1,
        variants=variants,
    )
