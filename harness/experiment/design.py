"""What an experiment declares before it runs: arms, contrasts, measures with smallest effects, the family, the rule.

The digest of the declaration is tagged on the runs before the first generation, so that a report can say whether its
contrasts were chosen before or after the data.
"""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.composing import compose
from harness.config import Seed, StrictConfig
from harness.experiment.questions import Question, questions_of
from harness.measures.catalogue import CATALOGUE, find_measure
from harness.stats import require_reachable
from harness.store.artifacts import digest_json
from harness.task_kinds import DIALOGUE, TASKS, TaskKind, TaskName
from harness.types import Contrast, Decoding, Direction, Quantization, SmallestEffect

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]*$", max_length=80)]
Unit = Literal["points", "bits_per_byte", "share", "nats", "sd_of_control", "quantile_of_control"]


class EffectDesign(StrictConfig):
    """The smallest difference that matters, with its unit."""

    value: float = Field(gt=0, le=1e9)
    unit: Unit

    def as_effect(self) -> SmallestEffect:
        """As the type that the statistics take."""
        return SmallestEffect(value=self.value, unit=self.unit)


class MeasureDesign(StrictConfig):
    """One measure: one that ships or that a package offers, a function, a judge, or imported scores."""

    measure: str | None = Field(default=None, exclude_if=operator.not_)  # `module:name` of a function: `@st.measure`
    judge: str | None = None  # folder of a judge, relative to the experiment file, or `module:name`: `@st.judge`
    criterion: str | None = None  # of that judge; the measure's own name when left out
    encoder: str | None = Field(default=None, exclude_if=operator.not_)  # folder or hub id; None: the embedded one
    scores: str | None = None  # run id of `screentest scores import`
    is_rate: bool = Field(default=False, exclude_if=operator.not_)  # of `scores`: all are shares from 0 to 1
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

    def as_contrast(self) -> Contrast:
        """As the type that the statistics take."""
        first, second = (side[0] if len(side) == 1 else f"mean of {', '.join(side)}" for side in self.sides)
        return Contrast(name=self.name, arms=(first, second))


class FamilyDesign(StrictConfig):
    """The measures whose contrasts are claims; everything else is exploratory."""

    measures: tuple[str, ...]
    correction: Literal["holm", "bh"] = "holm"
    level: float = Field(default=0.95, gt=0.5, lt=1)
    test: Literal["crossed_t", "sign_flip"] = "crossed_t"  # sign_flip: exact by film, about these adapters


class TailDesign(StrictConfig):
    """Whether the low tail falls more than the peak rises: cuts are quantiles of the reference arm's scores."""

    measure: Name
    contrast: Name
    low: float = Field(default=0.25, gt=0, lt=1)
    high: float = Field(default=0.75, gt=0, lt=1)

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"`low` must lie below `high`, got {self.low:g} and {self.high:g}")
        return self


def _listed(given: Any) -> Any:
    return () if given is None else [given] if isinstance(given, Mapping | TailDesign) else given


class DecodingDesign(StrictConfig):
    """How replies are drawn, the same for every variant."""

    max_new_tokens: int = Field(default=64, ge=1, le=4096)
    temperature: float = Field(default=0.8, ge=0, le=5)
    top_p: float = Field(default=0.95, gt=0, le=1)
    n_draws: int = Field(default=1, ge=1, le=64)
    stop: tuple[str, ...] = ()
    # Leave blocks of thinking in the text of replies, to be measured and judged with it.
    keep_thinking: bool = Field(default=False, exclude_if=operator.not_)

    def as_decoding(self, *, seed: int) -> Decoding:
        """As the type that models take, with the run's seed."""
        return compose(Decoding, self, seed=seed)


_KINDS = ("model", "adapter", "endpoint", "generations", "scored", "given")


class VariantDesign(StrictConfig):
    """One variant: exactly one of `model`, `adapter`, `endpoint`, `generations` and `scored`."""

    model: str | None = None  # embedded, hub id or folder of a checkpoint
    revision: str | None = None  # of a hub id
    adapter: str | None = None  # name@alias, name/version, or a PEFT folder
    base: str | None = None  # of a PEFT folder that names none, or whose base has moved
    endpoint: str | None = None  # base URL of an OpenAI-compatible server
    endpoint_model: str | None = None  # the model's name there
    generations: str | None = None  # JSONL made elsewhere
    scored: str | None = Field(default=None, exclude_if=operator.not_)  # scores alone: the name that they go by
    source: str | None = Field(default=None, exclude_if=operator.not_)  # of `generations` or `scored`, for a reader
    given: str | None = Field(default=None, exclude_if=operator.not_)  # key of what a Python caller handed over
    quantization: Quantization = Field(default="none", exclude_if=lambda held: held == "none")  # of the base
    system: str | None = None  # system prompt; None: the data's, else an adapter's own, else the task's
    shots: int = Field(default=0, ge=0, le=32)  # few-shot exchanges, drawn from TRAIN

    @model_validator(mode="after")
    def _is_one_kind(self) -> VariantDesign:
        kinds = [k for k in _KINDS if getattr(self, k) is not None]
        if len(kinds) != 1:
            found = ", ".join(kinds) or "none"
            raise ValueError(f"a variant is exactly one of {', '.join(_KINDS[:-1])}; found {found}")
        if (self.endpoint is None) != (self.endpoint_model is None):
            raise ValueError("`endpoint` and `endpoint_model` go together")
        if self.revision is not None and self.model is None:
            raise ValueError("`revision` goes with `model`")
        if self.base is not None and self.adapter is None:
            raise ValueError("`base` goes with `adapter`")
        if self.quantization != "none" and self.model is None and self.adapter is None:
            raise ValueError("`quantization` goes with `model` or `adapter`, whose base is loaded here")
        if (self.generations or self.scored) is not None and (self.shots or self.system):
            raise ValueError("`generations` are replies already made: `shots` and `system` cannot change them")
        return self


class TestDesign(StrictConfig):
    """How much of TEST is asked; the same prompts in every arm."""

    __test__: ClassVar[bool] = False  # the name is the file's; pytest must not collect it

    prompts: int | None = Field(default=60, ge=1, le=10**9)  # drawn evenly over the films; None: all, or all answered
    heldout_prompts: int | None = Field(default=None, ge=1, le=10**9)  # for held-out loss; None: as `prompts`
    min_clusters: int = Field(default=10, ge=2, le=10**9)  # fewer films than this support no verdict

    @property
    def heldout(self) -> int | None:
        """How many human replies are scored: the prompts, or more of the same draw, which begins with them."""
        return None if self.prompts is None else max(self.heldout_prompts or 0, self.prompts)


class DataDesign(TestDesign):
    """Which prompts: the TEST split of a corpus, or a file of the user's own."""

    corpus: str | None = None  # sample, cornell, a folder, zip or JSONL that is split here
    file: str | None = None  # JSONL whose every row is a TEST prompt
    max_tokens: int = Field(default=512, ge=32, le=10**9)  # window of history and reply
    seed: Seed = 7  # of the split

    @model_validator(mode="after")
    def _has_one_source(self) -> DataDesign:
        if self.corpus is not None and self.file is not None:
            raise ValueError("`corpus` and `file` exclude each other")
        return self


class ExperimentDesign(StrictConfig):
    """What every experiment declares before its data, whatever its arms are."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Name
    question: str = Field(min_length=1)
    task: TaskName | None = Field(default=None, exclude_if=operator.not_)  # None: film dialogue
    task_why: str = Field(default="", exclude_if=operator.not_)  # where the data told it
    variants: dict[Name, VariantDesign] = Field(default_factory=dict)  # arms that exist already
    control: str
    decoding: DecodingDesign = DecodingDesign()
    measures: dict[Name, MeasureDesign] = Field(min_length=1)
    contrasts: tuple[ContrastDesign, ...] = ()
    family: FamilyDesign
    trend: tuple[str, ...] = ()  # arms in the order in which a trend is asked for, smallest first
    tail: Annotated[tuple[TailDesign, ...], BeforeValidator(_listed)] = ()  # one, or a list of them
    controls: int = Field(default=40, ge=2, le=10**9)  # true replies per family of planted controls
    decision: str = ""
    caveat: str = ""  # what its report says first
    seed: Seed = 7  # of prompts, draws and bootstrap
    profiles: dict[str, dict[str, Any]] = Field(default_factory=dict)

    # Whether the declaration's digest holds test, trend and tail where they are not named, as ablations' always did.
    _digests_defaults: ClassVar[bool] = False

    @model_validator(mode="after")
    def _references_hold(self) -> Self:
        _check_contrasts(self)
        _check_measures(self)
        _check_trend_and_tail(self)
        return self

    @property
    def kind(self) -> TaskKind:
        """What is asked of the models."""
        return DIALOGUE if self.task is None else TASKS[self.task]

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Everything that contrasts may name."""
        return tuple(self.variants)

    @property
    def training_seeds(self) -> tuple[int, ...]:
        """The seeds that every arm is trained with; one where nothing is trained."""
        return (self.seed,)

    @property
    @abstractmethod
    def asked(self) -> TestDesign:
        """How much of TEST is asked."""

    @property
    def identities(self) -> Mapping[str, Any]:
        """What each arm is by its declaration, whatever it is called; arms that only a digest tells are not there."""
        return {}

    def better(self, measure: str) -> Direction | None:
        """Which way a measure improves."""
        known = find_measure(measure, self.measures[measure].measure)
        return self.measures[measure].better or (known.better if known else None)

    def margin_of(self, measure: str) -> str:
        """What a measure's margins are, of which more is better; empty where its rows have none."""
        known = find_measure(measure, self.measures[measure].measure)
        return known.margin if known else ""

    def declaration_digest(self) -> str:
        """Digest of what must be decided before the data: contrasts, measures, effects, family, trend, tail, rule.

        It does not depend on the order of measures or on where judges lie on disk.
        """
        family = self.family.model_dump(mode="json") | {"measures": sorted(self.family.measures)}
        if not self._digests_defaults and self.family.test == "crossed_t":
            del family["test"]
        core = digest_json(
            {
                "contrasts": sorted(((c.name, *c.arms) for c in self.contrasts), key=lambda c: c[0]),
                "measures": {
                    name: m.model_dump(mode="json") | {"judge": None if m.judge is None else m.judge.rsplit("/", 1)[-1]}
                    for name, m in self.measures.items()
                },
                "family": family,
                "decision": self.decision,
            }
        )
        if not (self.trend or self.tail or self._digests_defaults):
            return core
        tails = [tail.model_dump(mode="json") for tail in self.tail]
        tail = tails if len(tails) > 1 else next(iter(tails), None)  # one is digested as when there could be but one
        return digest_json({"core": core, "trend": list(self.trend), "tail": tail})

    def questions(self, digests: Mapping[str, str] | None = None) -> tuple[Question, ...]:
        """Declared contrasts on declared measures; `digests` are those of arms that their declaration does not tell."""
        identity = {**(digests or {}), **self.identities}
        return questions_of(self.contrasts, self.measures, family=self.family.measures, identity=identity)

    def standing(self, digests: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Digests that stand declared with this file: of the whole, and of each question."""
        return (self.declaration_digest(), *(question.digest for question in self.questions(digests)))

    def require_reachable(self, n_clusters: int) -> None:
        """Refuse a family of sign-flip tests that this many films could never decide.

        Raises InputError: no p value can become small enough.
        """
        if self.family.test == "sign_flip":
            n_tests = len(self.family.measures) * len(self.contrasts)
            require_reachable(n_clusters, family_size=n_tests, level=self.family.level)


class EvaluationDesign(ExperimentDesign):
    """An experiment that compares variants which exist already. Trains nothing."""

    variants: dict[Name, VariantDesign] = Field(min_length=1)
    data: DataDesign = DataDesign()

    @property
    def asked(self) -> TestDesign:
        """How much of TEST is asked."""
        return self.data


def _check_contrasts(design: ExperimentDesign) -> None:
    """Every arm that a declaration names is declared; raises ValueError with the first that is not."""
    arms = design.arm_names
    listed = ", ".join(sorted(arms))
    if design.control not in arms:
        raise ValueError(f"`control` must be one of {listed}, got {design.control!r}")
    names = [c.name for c in design.contrasts]
    if len(set(names)) != len(names):
        raise ValueError(f"contrasts are named once each, got {names}")
    for contrast in design.contrasts:
        named = [arm for side in contrast.sides for arm in side]
        for arm in named:
            if arm not in arms:
                raise ValueError(f"contrast `{contrast.name}` names the arm {arm!r}; there are {listed}")
            if named.count(arm) > 1:
                raise ValueError(f"contrast `{contrast.name}` compares {arm!r} with itself: name every arm once")
        if not all(contrast.sides):
            raise ValueError(f"contrast `{contrast.name}` must name an arm on each side")


def _check_measures(design: ExperimentDesign) -> None:
    for name, measure in design.measures.items():
        sources = [source for source in ("measure", "judge", "scores") if getattr(measure, source) is not None]
        if not sources and find_measure(name) is None:
            raise ValueError(
                f"measure `{name}` needs a `judge`, `scores` or `measure`, or is one of {', '.join(CATALOGUE)}"
            )
        if len(sources) > 1:
            raise ValueError(f"measure `{name}` comes from one place, got {' and '.join(sources)}")
        known = None if sources else find_measure(name)
        if measure.encoder is not None and (known is None or known.take is None):
            raise ValueError(f"measure `{name}` reads nothing with an encoder: leave out `encoder`")
    for name in design.family.measures:
        if name not in design.measures:
            raise ValueError(f"`family.measures` names {name!r}; there are {', '.join(design.measures)}")
        if design.better(name) is None:
            raise ValueError(f"measure `{name}` stands in the family and must say `better: higher` or `lower`")


def _check_trend_and_tail(design: ExperimentDesign) -> None:
    if strangers := [arm for arm in design.trend if arm not in design.arm_names]:
        raise ValueError(f"`trend` names the arm {strangers[0]!r}; there are {', '.join(design.arm_names)}")
    if design.trend and not 3 <= len(set(design.trend)) == len(design.trend):
        raise ValueError(f"`trend` must name at least three different arms in order, got {list(design.trend)}")
    names = [contrast.name for contrast in design.contrasts]
    for tail in design.tail:
        if tail.contrast not in names or tail.measure not in design.measures:
            raise ValueError(f"`tail` must name a measure and a contrast of this file ({', '.join(names)})")
        if design.better(tail.measure) != "higher" and not design.margin_of(tail.measure):
            raise ValueError(f"`tail` needs a measure of which more is better; {tail.measure!r} is none")


def directed(measures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The measures, as a file declares them, of which more is better or worse: only these can be claimed on."""

    def is_directed(name: str, said: Mapping[str, Any]) -> bool:
        known = find_measure(name, said.get("measure"))
        return bool(said.get("better")) or (known is not None and known.better is not None)

    return [name for name, said in measures.items() if is_directed(name, said)]
