"""Numbers and what may be claimed of them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

VerdictLabel = Literal["better", "worse", "equivalent", "inconclusive", "exploratory"]
AbsenceKind = Literal["mute", "few_replies", "no_rows", "missing", "unused", "lost", "failed"]
Direction = Literal["higher", "lower"]
JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The only form in which a number reaches a reader: value, interval, and what it rests on."""

    value: float
    low: float | None  # None where no interval can be given (one cluster)
    high: float | None
    level: float  # confidence level, e.g. 0.95
    n: int  # rows that entered
    n_clusters: int
    n_missing: int  # rows that should have entered and are missing
    method: str  # how value and interval were obtained, e.g. "CR2 + Satterthwaite, paired by prompt"
    df: float | None = None  # degrees of freedom, where the method has them
    se: float | None = None
    notes: tuple[str, ...] = ()  # e.g. "these films only"
    n_crossed: int = 0  # seeds or raters that the clusters are crossed with; 0: no second level
    crossed: str = ""  # what one of them is: "seed", "rater"
    row: str = ""  # what one of the n is, where not the grain of the measure: "verdict", "run"; "cluster": one each
    cluster: str = ""  # what one of the clusters is, where not what the data are clustered by (the film): "seed"
    equivalence: tuple[float, float] | None = None  # ends of two one-sided tests, where t on `se` is not the method

    @property
    def has_interval(self) -> bool:
        """Whether both ends are there."""
        return self.low is not None and self.high is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """A named difference `arms[0] − arms[1]`, declared before the run."""

    name: str
    arms: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallestEffect:
    """The smallest difference that matters, with its unit."""

    value: float
    unit: Literal["points", "bits_per_byte", "share", "nats", "sd_of_control", "quantile_of_control"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What may be claimed of a contrast, and why not more."""

    label: VerdictLabel
    reason: str  # one sentence
    p_value: float | None = None  # two-sided, before multiplicity
    p_adjusted: float | None = None  # after it
    in_family: bool = True  # False: not declared, exploratory
    settle: str = ""  # for inconclusive: what would settle it
    withheld: VerdictLabel | None = None  # the claim that the numbers would make and an absence forbids


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """What was declared or given and is in no number: it stands first, and nothing that it touches is *better*."""

    kind: AbsenceKind
    said: str  # what, how many of how many, and what to do
    variants: tuple[str, ...] = ()  # whose contrasts it touches; empty: all
    measures: tuple[str, ...] = ()  # that it touches; empty: all


class Grain(enum.StrEnum):
    """What one row under a number is."""

    REPLY = "reply"
    PROMPT = "prompt"
    VARIANT = "variant"
    RATING = "rating"  # a person's
    PAIR = "pair"  # of replies to one prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The path from a number back to its rows."""

    run_id: str  # the stage run that holds the rows
    artifact: str  # file inside that run, e.g. "scores.parquet"
    where: Mapping[str, str]  # column = value filters that select the rows
    digest: str  # sha256 of the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One number of a report: a measure of one variant, or of one contrast."""

    name: str  # the measure, e.g. "heldout_loss"
    estimate: Estimate
    unit: str  # as shown, e.g. "bits per byte"
    better: Direction | None  # None: descriptive
    variant: str | None = None  # exactly one of variant and contrast is set
    contrast: str | None = None
    verdict: Verdict | None = None  # contrasts only
    judge_id: str | None = None
    sources: tuple[Source, ...] = ()

    def __post_init__(self) -> None:
        if (self.variant is None) == (self.contrast is None):
            raise ValueError("exactly one of `variant` and `contrast` must be set")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a long piece of work is; what shows it decides how."""

    done: float
    total: float
    unit: str  # "tokens", "replies", "items"
    note: str = ""  # e.g. "validation loss 3.41"
