"""Training methods: what each is called, what it reads, what runs it.

Stages, commands, ablations, the audit and reports read this table. A new method is a row, a recipe and a runner.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

if TYPE_CHECKING:
    from pipelines.training.recipe import TrainingRecipe


class Runner(Protocol):
    """A module that trains: `pipelines/sft.py` and its siblings."""

    REVISION: int  # raised when the same recipe and inputs would give another adapter
    RECIPE: type[TrainingRecipe]

    def run(self, recipe: Any, **inputs: Any) -> Any:
        """Train into `folder`; what it gives is `training.json`."""

    def metrics(self, summary: Any) -> Mapping[str, float]:
        """The figures worth a column in the registry."""

    def describe(self, recipe: Any) -> str:
        """The method in a few words, for the model card."""

    def seen(self, summary: Any) -> Mapping[str, str]:
        """How much was trained on, for the model card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One training method; its stage, in runs and in an ablation's `stages`, has its name."""

    title: str  # in reports
    label: str  # on the screen while it runs
    module: str  # its runner
    recipes: str  # of an ablation: the key in `recipes`, and the section of the overrides that it reads
    reads: Literal["windows", "pairs"]  # what it trains on; pairs stand on the adapter of `after`
    after: str | None = None  # the method whose adapter it goes on from
    control: str | None = None  # the method that differs from it in one thing, which `--control` trains by
    is_control: bool = False  # whether it is one, and trains by the recipe's `as_control`
    loss: str = "Nats per token"  # unit of its curves
    weight: float  # about how long it takes beside other stages

    @property
    def runner(self) -> Runner:
        """The module that trains."""
        return cast(Runner, importlib.import_module(self.module))


METHODS: Mapping[str, Method] = {
    "sft": Method(title="SFT", label="Fine-tune", module="pipelines.sft", recipes="sft", reads="windows", weight=8),
    "dpo": Method(
        title="DPO",
        label="Train on preferences",
        module="pipelines.dpo",
        recipes="dpo",
        reads="pairs",
        after="sft",
        control="chosen_sft",
        loss="Preference loss per pair",
        weight=6,
    ),
    "chosen_sft": Method(
        title="SFT on chosen replies",
        label="Train on chosen replies",
        module="pipelines.dpo",
        recipes="dpo",
        reads="pairs",
        after="sft",
        is_control=True,
        weight=4,
    ),
}
