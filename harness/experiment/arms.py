"""What an ablation declares before it trains anything: one question, its factor, arms, seeds, contrasts and the rule.

An arm is a set of dotted overrides (`sft.neftune_alpha: 5`) laid over recipes that all arms share. What is not named as
a factor is held still, and a file that varies more than it declares is refused when it is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from harness.config import Seed, StrictConfig
from harness.errors import ConfigError
from harness.experiment.design import ContrastDesign, ExperimentDesign, Name, TestDesign
from harness.stats.crossed_power import detectable_in_seed_deviations

PLAIN_KEYS = ("base", "stages")  # overrides without a dot
OWN_VALUE = "the recipe's own value"  # what an arm has where it overrides nothing


class BaseDesign(StrictConfig):
    """A base that arms can name: found, or trained here from nothing."""

    source: str | None = None  # embedded, a hub id or a folder
    revision: str | None = None
    pretrain: str | None = None  # recipe of a small model trained on TRAIN films, relative to the file

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.source is None) == (self.pretrain is None):
            raise ValueError("a base is exactly one of `source` and `pretrain`")
        if self.revision is not None and self.source is None:
            raise ValueError("`revision` goes with `source`")
        return self


class CorpusDesign(StrictConfig):
    """The text, and how it is cut."""

    corpus: str = "sample"  # sample, cornell, a folder, zip or JSONL
    max_tokens: int = Field(default=512, ge=32, le=10**9)
    seed: Seed = 7  # of the split


class AblationDesign(ExperimentDesign):
    """One question, put to arms that differ in what is declared and in nothing else; `variants` stand outside that."""

    factor: str | None = None  # the one thing that arms differ in
    factors: tuple[str, ...] = ()  # of a factorial; instead of `factor`
    fixed: dict[str, Any] = Field(default_factory=dict)  # overrides that every arm shares
    arms: dict[Name, dict[str, Any]] = Field(min_length=2)
    seeds: tuple[Seed, ...] = Field(min_length=1)
    stages: tuple[str, ...] = ("sft",)  # training methods that an arm goes through unless it says otherwise
    recipes: dict[str, str | None] = Field(default_factory=dict)  # that arms share, relative to the experiment file
    pairs: dict[str, Any] = Field(default_factory=dict)  # how preference pairs are made
    bases: dict[Name, BaseDesign] = Field(default_factory=dict)  # for arms that name one: `base: small`
    data: CorpusDesign = CorpusDesign()
    test: TestDesign = TestDesign()
    contrasts: tuple[ContrastDesign, ...] = Field(min_length=1)
    controls: int = Field(default=24, ge=2, le=10**9)  # true replies per family of a judge's planted controls
    decision: str = Field(min_length=1)

    _digests_defaults: ClassVar[bool] = True

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if both := [name for name in self.variants if name in self.arms]:
            raise ValueError(f"`variants` names {both[0]!r}, which is an arm: give it another name")
        _check_factors(self)
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"`seeds` must all differ, got {list(self.seeds)}: a seed that stands twice adds nothing")
        _check_seeds(self.seeds)
        return self

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Everything that contrasts may name."""
        return (*self.arms, *self.variants)

    @property
    def training_seeds(self) -> tuple[int, ...]:
        """The seeds that every arm is trained with."""
        return self.seeds

    @property
    def asked(self) -> TestDesign:
        """How much of TEST is asked."""
        return self.test

    @property
    def identities(self) -> Mapping[str, Any]:
        """An arm is what it is set to and the stages that it goes through; a variant is what it is declared as."""
        return {arm: {"settings": self.settings_of(arm), "stages": list(self.stages)} for arm in self.arms} | {
            name: declared.model_dump(mode="json") for name, declared in self.variants.items()
        }

    @property
    def declared_factors(self) -> tuple[str, ...]:
        """Everything that arms may differ in."""
        return self.factors or ((self.factor,) if self.factor is not None else ())

    def settings_of(self, arm: str) -> dict[str, Any]:
        """The overrides of an arm, what all share included; a variant has none."""
        return {**self.fixed, **self.arms[arm]} if arm in self.arms else {}


def _check_seeds(seeds: tuple[Seed, ...]) -> None:
    """Two seeds cost two trainings and tell next to nothing of how far seeds scatter."""
    if len(seeds) != 2:
        return
    two, three, five = (detectable_in_seed_deviations(n) for n in (2, 3, 5))
    raise ValueError(
        f"`seeds` must be 1 (about these adapters) or at least 3 (about the method), got 2: they would show only a "
        f"difference of {two:.0f} standard deviations between seeds, 3 seeds show {three:.1f} and 5 show {five:.1f}; "
        "`screentest power seeds` says how many settle yours"
    )


def varying(arms: Mapping[str, Mapping[str, Any]], fixed: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The overrides in which arms differ, each with its value in every arm."""
    keys = dict.fromkeys(key for arm in arms.values() for key in arm)
    values = {key: tuple(arm.get(key, fixed.get(key, OWN_VALUE)) for arm in arms.values()) for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def override(recipe: Mapping[str, Any], settings: Mapping[str, Any], *, section: str) -> dict[str, Any]:
    """A recipe's data with the dotted overrides of its section laid over it.

    Raises ConfigError: an override names a key that the recipe does not have, so that nothing would read it.
    """
    result = dict(recipe)
    for dotted, value in settings.items():
        head, _, path = dotted.partition(".")
        if head == section and path:
            result = _replaced(result, path.split("."), value, dotted)
    return result


def _replaced(data: Mapping[str, Any], path: list[str], value: Any, dotted: str) -> dict[str, Any]:
    key, *rest = path
    if key not in data:
        known = ", ".join(data)
        raise ConfigError(f"`{dotted}`: nothing reads `{key}`; the recipe has {known}")
    if not rest:
        return {**data, key: value}
    below = data[key]
    if not isinstance(below, Mapping):
        raise ConfigError(f"`{dotted}`: nothing reads `{rest[0]}`; `{key}` holds a single value")
    return {**data, key: _replaced(below, rest, value, dotted)}


def _check_factors(design: AblationDesign) -> None:
    declared = design.declared_factors
    if (design.factor is not None) == bool(design.factors):
        raise ValueError("declare `factor`, the one thing that arms differ in, or `factors` of a factorial")
    found = varying(design.arms, design.fixed)
    undeclared = [key for key in found if key not in declared]
    if undeclared:
        noun = "factor" if len(declared) == 1 else "factors"
        raise ValueError(
            f"arms may differ in the declared {noun} {', '.join(declared)} alone, but they also differ in "
            f"{', '.join(undeclared)}: hold it fixed, or declare both in `factors`"
        )
    still = [key for key in declared if key not in found]
    if still:
        raise ValueError(f"factor {still[0]!r} is the same in every arm: there is nothing to compare")
    for first, second in itertools.combinations(design.arms, 2):
        if design.settings_of(first) == design.settings_of(second):
            raise ValueError(f"arms {first!r} and {second!r} are the same; drop one")
