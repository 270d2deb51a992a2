"""What an experiment declares before it runs: arms, contrasts, measures with smallest effects, the family, the rule.

The digest of the declaration is tagged on the runs before the first generation, so that a report can say whether its
contrasts were chosen before or after the data.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.config import Seed, StrictConfig
from harness.measures.catalogue import CATALOGUE, find_measure
from harness.store.artifacts import digest_json
from harness.types import Contrast, Decoding, Direction, SmallestEffect

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]*$", max_length=80)]
Unit = Literal["points", "bits_per_byte", "share", "nats", "sd_of_control", "quantile_of_control"]


class EffectDesign(StrictConfig):
    """The smallest difference that matters, with its unit."""

    value: float = Field(gt=0, le=1e9)
    unit: Unit

    def noun(self) -> SmallestEffect:
        """As the library's noun."""
        return SmallestEffect(value=self.value, unit=self.unit)


class MeasureDesign(StrictConfig):
    """One measure: one that ships or that a package offers, a function, a judge, or imported scores."""

    measure: str | None = Field(default=None, exclude_if=operator.not_)  # `module:name` of a function: `@st.measure`
    judge: str | None = None  # folder of a judge, relative to the experiment file, or `module:name`: `@st.judge`
    criterion: str | None = None  # of that judge; the measure's own name when left out
    scores: str | None = None  # run id of `screentest scores import`
    better: Direction | None = None  # None: the measure's own, or descriptive
    smallest_effect: EffectDesign | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_the_function_says(cls, data: Any) -> Any:
        """What `@st.measure` says and the file does not is declared with it, before the data."""
        if not isinstance(data, dict) or not isinstance(data.get("measure"), str):
            return data
        own = find_measure("", data["measure"])
        effect = None if own is None else own.smallest_effect
        said = {
            "better": None if own is None else own.better,
            "smallest_effect": None if effect is None else {"value": effect.value, "unit": effect.unit},
        }
        return {key: value for key, value in said.items() if value is not None} | data


class ContrastDesign(StrictConfig):
    """A named difference, first side minus second; a side is an arm, or the mean of several.

    With means, a factorial's effects are contrasts (Box, Hunter & Hunter 2005, ch. 5). Of two factors with two levels,
    a main effect is the mean of the arms at one level minus the mean of those at the other; the interaction is the mean
    of the arms whose levels agree minus the mean of those whose levels differ: half the difference of differences.
    """

    name: Name
    arms: tuple[str | tuple[str, ...], str | tuple[str, ...]]

    @property
    def sides(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The arms on each side."""
        first, second = ((side,) if isinstance(side, str) else side for side in self.arms)
        return first, second

    def noun(self) -> Contrast:
        """As the library's noun."""
        first, second = (side[0] if len(side) == 1 else f"mean of {', '.join(side)}" for side in self.sides)
        return Contrast(name=self.name, arms=(first, second))


class FamilyDesign(StrictConfig):
    """The measures whose contrasts are claims; everything else is exploratory."""

    measures: tuple[str, ...]
    correction: Literal["holm", "bh"] = "holm"
    level: float = Field(default=0.95, gt=0.5, lt=1)


class DecodingDesign(StrictConfig):
    """How replies are drawn, the same for every variant."""

    max_new_tokens: int = Field(default=64, ge=1, le=4096)
    temperature: float = Field(default=0.8, ge=0, le=5)
    top_p: float = Field(default=0.95, gt=0, le=1)
    n_draws: int = Field(default=1, ge=1, le=64)
    stop: tuple[str, ...] = ()
    # Leave blocks of thinking in the text of replies, to be measured and judged with it.
    keep_thinking: bool = Field(default=False, exclude_if=operator.not_)

    def noun(self, *, seed: int) -> Decoding:
        """As the library's noun, with the run's seed."""
        return Decoding(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            n_draws=self.n_draws,
            stop=self.stop,
            keep_thinking=self.keep_thinking,
            seed=seed,
        )


class VariantDesign(StrictConfig):
    """One variant: exactly one of `model`, `adapter`, `endpoint` and `generations`."""

    model: str | None = None  # embedded, hub id or folder of a checkpoint
    revision: str | None = None  # of a hub id
    adapter: str | None = None  # name@alias, name/version, or a PEFT folder
    base: str | None = None  # of a PEFT folder that names none, or whose base has moved
    endpoint: str | None = None  # base URL of an OpenAI-compatible server
    endpoint_model: str | None = None  # the model's name there
    generations: str | None = None  # JSONL made elsewhere
    given: str | None = Field(default=None, exclude_if=operator.not_)  # key of what a Python caller handed over
    system: str | None = None  # system prompt; None: the task's own
    shots: int = Field(default=0, ge=0, le=32)  # few-shot exchanges, drawn from TRAIN

    @model_validator(mode="after")
    def _is_one_kind(self) -> VariantDesign:
        kinds = [k for k in ("model", "adapter", "endpoint", "generations", "given") if getattr(self, k) is not None]
        if len(kinds) != 1:
            found = ", ".join(kinds) or "none"
            raise ValueError(f"a variant is exactly one of model, adapter, endpoint, generations; found {found}")
        if (self.endpoint is None) != (self.endpoint_model is None):
            raise ValueError("`endpoint` and `endpoint_model` go together")
        if self.revision is not None and self.model is None:
            raise ValueError("`revision` goes with `model`")
        if self.base is not None and self.adapter is None:
            raise ValueError("`base` goes with `adapter`")
        if self.generations is not None and (self.shots or self.system):
            raise ValueError("`generations` are replies already made: `shots` and `system` cannot change them")
        return self


class DataDesign(StrictConfig):
    """Which prompts: the TEST split of a corpus, or a file of the user's own."""

    corpus: str | None = None  # sample, cornell, a folder, zip or JSONL that is split here
    file: str | None = None  # JSONL whose every row is a TEST prompt
    prompts: int | None = Field(
        default=60, ge=1, le=10**9
    )  # drawn evenly over the films; None: all that its files answer
    heldout_prompts: int | None = Field(default=None, ge=1, le=10**9)  # for held-out loss; None: as `prompts`
    min_clusters: int = Field(default=10, ge=2, le=10**9)  # fewer films than this support no verdict
    max_tokens: int = Field(default=512, ge=32, le=10**9)  # window of history and reply
    seed: Seed = 7  # of the split

    @model_validator(mode="after")
    def _has_one_source(self) -> DataDesign:
        if self.corpus is not None and self.file is not None:
            raise ValueError("`corpus` and `file` exclude each other")
        return self


class EvaluationDesign(StrictConfig):
    """An experiment that compares variants which exist already. Trains nothing."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Name
    question: str = Field(min_length=1)
    variants: dict[Name, VariantDesign] = Field(min_length=1)
    control: str
    data: DataDesign = DataDesign()
    decoding: DecodingDesign = DecodingDesign()
    measures: dict[Name, MeasureDesign] = Field(min_length=1)
    contrasts: tuple[ContrastDesign, ...] = ()
    family: FamilyDesign
    controls: int = Field(default=40, ge=2, le=10**9)  # true replies per family of planted controls
    decision: str = ""
    seed: Seed = 7
    profiles: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_exist(self) -> EvaluationDesign:
        check_references(
            arms=set(self.variants),
            control=self.control,
            contrasts=self.contrasts,
            measures=self.measures,
            family=self.family,
        )
        return self

    def declaration_digest(self) -> str:
        """Digest of what must be decided before the data: contrasts, measures, smallest effects, family, rule."""
        return declaration_digest(
            contrasts=self.contrasts, measures=self.measures, family=self.family, decision=self.decision
        )


def check_references(
    *,
    arms: set[str],
    control: str,
    contrasts: tuple[ContrastDesign, ...],
    measures: dict[str, MeasureDesign],
    family: FamilyDesign,
) -> None:
    """Every name that a declaration uses is declared; raises ValueError with the first that is not."""
    if control not in arms:
        raise ValueError(f"`control` must be one of {', '.join(sorted(arms))}, got {control!r}")
    _check_contrasts(contrasts, arms)
    for name, measure in measures.items():
        sources = [source for source in ("measure", "judge", "scores") if getattr(measure, source) is not None]
        if not sources and find_measure(name) is None:
            raise ValueError(
                f"measure `{name}` needs a `judge`, `scores` or `measure`, or is one of {', '.join(CATALOGUE)}"
            )
        if len(sources) > 1:
            raise ValueError(f"measure `{name}` comes from one place, got {' and '.join(sources)}")
    for name in family.measures:
        if name not in measures:
            raise ValueError(f"`family.measures` names {name!r}; there are {', '.join(measures)}")
        known = find_measure(name, measures[name].measure)
        if measures[name].better is None and (known is None or known.better is None):
            raise ValueError(f"measure `{name}` stands in the family and must say `better: higher` or `lower`")


def _check_contrasts(contrasts: tuple[ContrastDesign, ...], arms: set[str]) -> None:
    names = [c.name for c in contrasts]
    if len(set(names)) != len(names):
        raise ValueError(f"contrasts are named once each, got {names}")
    for contrast in contrasts:
        named = [arm for side in contrast.sides for arm in side]
        for arm in named:
            if arm not in arms:
                listed = ", ".join(sorted(arms))
                raise ValueError(f"contrast `{contrast.name}` names the arm {arm!r}; there are {listed}")
            if named.count(arm) > 1:
                raise ValueError(f"contrast `{contrast.name}` compares {arm!r} with itself: name every arm once")
        if not all(contrast.sides):
            raise ValueError(f"contrast `{contrast.name}` must name an arm on each side")


def directed(measures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The measures, as a file declares them, of which more is better or worse: only these can be claimed on."""

    def is_directed(name: str, said: Mapping[str, Any]) -> bool:
        known = find_measure(name, said.get("measure"))
        return bool(said.get("better")) or (known is not None and known.better is not None)

    return [name for name, said in measures.items() if is_directed(name, said)]


def declaration_digest(
    *,
    contrasts: tuple[ContrastDesign, ...],
    measures: dict[str, MeasureDesign],
    family: FamilyDesign,
    decision: str,
) -> str:
    """Digest of a declaration, independent of order among measures and of where judges lie on disk."""
    return digest_json(
        {
            "contrasts": sorted(((c.name, *c.arms) for c in contrasts), key=lambda c: c[0]),
            "measures": {
                name: m.model_dump(mode="json") | {"judge": None if m.judge is None else m.judge.rsplit("/", 1)[-1]}
                for name, m in measures.items()
            },
            "family": family.model_dump(mode="json") | {"measures": sorted(family.measures)},
            "decision": decision,
        }
    )
