"""What a report is made of: one `ReportRecord`, filled by whatever ran, drawn by `harness.reporting.render`.

The record holds nouns and nothing drawn, so that HTML, Markdown and JSON say the same and a page can be drawn again
years later from its JSON. Importing it takes the standard library only. Every number that a reader may quote is an
`Estimate` (inside a `Finding`, a `ControlResult` or a row here); plain floats appear only as rows under a picture:
single observations, traces, seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.errors import InputError
from harness.reporting.ablation_record import AblationRecord, LossCurve
from harness.types import (
    Absence,
    Contrast,
    Decoding,
    Direction,
    Estimate,
    Finding,
    Grain,
    JsonObject,
    Qualification,
    ScoreStatus,
    SmallestEffect,
    Split,
)

SCHEMA_VERSION = 1
MAX_POINTS = 400  # above this a distribution is stored as quantiles: 1.2 M scores must not enter a page
N_QUANTILES = 201  # evenly spaced probabilities 0 … 1, both ends included

Declared = Literal["before", "partly", "after", "undeclared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What a finding's name means to a reader."""

    name: str  # as in `Finding.name`
    label: str  # as printed, e.g. "Held-out loss"
    unit: str  # as shown, e.g. "bits per byte"
    better: Direction | None  # None: descriptive
    description: str = ""  # one or two sentences: what it is and how to read it
    smallest_effect: SmallestEffect | None = None  # declared in the unit of the contrast
    band: float | None = None  # `smallest_effect` in the measure's own unit, for the band in the forest plot
    grain: Grain = Grain.REPLY  # what one row under the number is
    criterion: str | None = None  # the judge's criterion; None: the same as `name`
    phrase: tuple[str, str] | None = None  # what a better variant does, and a worse one; None: by the label
    meaning: str | None = None  # of `{own}` number beside those of `{others}`; None: one instead of the others
    remarks: tuple[str, ...] = ()  # what is to be said of variants beside their numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRow:
    """One variant as a reader meets it."""

    name: str  # as in `Finding.variant`
    description: str  # "the base alone", "base + LoRA, NEFTune 5"
    base: str  # name and revision as printed
    adapter: str | None = None  # registry name/version, or the folder's name
    digest: str = ""  # the variant's identity
    n_generations: int = 0
    cut_off: Estimate | None = None  # share of replies that hit the length cap
    no_text: Estimate | None = None  # share of replies that are empty, were refused or failed
    n_missing: int = 0  # generations that should be there and are not


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRow:
    """One judge, and why it may or may not support a claim."""

    judge_id: str  # as in `Finding.judge_id` and `Qualification.judge_id`
    name: str  # the folder's name
    description: str = ""  # "likelihood, SmolLM2-135M, revision …"
    family: str = ""
    mode: str = ""  # exact | logprobs | sampled | likelihood
    is_self_family: bool = False  # shares weights or family with a generator or the preference judge
    exploratory_reason: str = ""  # one sentence; empty: it may support claims where qualified


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """The rows of one measure and one variant: the rows themselves when few, their quantiles when many."""

    measure: str
    variant: str
    n: int  # rows with a value
    n_missing: int
    values: tuple[float, ...] = ()  # all rows, ascending, when n ≤ MAX_POINTS
    quantiles: tuple[float, ...] = ()  # at N_QUANTILES evenly spaced probabilities when n > MAX_POINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of dialogue with the character who speaks it."""

    speaker: str  # empty where unknown
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleScore:
    """One reply's own value of one measure: an observation, not an estimate."""

    measure: str
    value: float | None  # None is missing
    status: ScoreStatus = "ok"
    reason: str = ""  # the judge's own words, of one that thinks first


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleReply:
    """What one variant answered."""

    variant: str
    text: str
    finish_reason: str = "stop"  # "length" is shown as cut off
    scores: tuple[SampleScore, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One prompt with its human reply and each variant's, side by side."""

    prompt_id: str
    title: str  # the film
    history: tuple[Line, ...]
    reference: Line | None
    replies: tuple[SampleReply, ...]
    why: str = ""  # why this prompt is shown, e.g. "largest gain"


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRow:
    """What should be there and is not."""

    what: str  # "G-Eval scores, coherence, sft"
    n: int
    of: int  # how many there should be
    why: str  # "low_mass: under half of the probability on the five digits"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLine:
    """One stage run in the lineage."""

    name: str
    run_id: str
    is_reused: bool
    fingerprint: str
    seconds: float  # wall time of the run that did the work
    inputs: Mapping[str, str] = field(default_factory=dict)  # name → digest
    artifacts: Mapping[str, str] = field(default_factory=dict)  # file → digest
    arm: str = ""  # whose replies these are, of an arm's first seed


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """How much one split holds."""

    split: Split
    n_films: int
    n_conversations: int
    n_prompts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCard:
    """Where the text came from and what was done to it."""

    corpus: str
    digest: str
    splits: tuple[SplitRow, ...]
    cluster_noun: str = "film"  # what a cluster is, in the singular: "film", "conversation", "document"
    n_duplicates_removed: int = 0  # near-duplicates of other splits, taken out of training
    n_skipped: int = 0  # bad rows skipped under --lenient
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One check of the training data or of the trained adapter."""

    label: str
    is_passed: bool | None  # None: could not be checked
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """When the contrasts were declared and how often TEST was looked at."""

    status: Declared
    digest: str = ""  # of contrasts, smallest effects and family
    n_test_looks: int | None = None  # None: not counted
    late: tuple[str, ...] = ()  # questions that were declared after their own data; the others were before
    question_looks: Mapping[str, int] = field(default_factory=dict)  # how often each question was answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the whole thing took."""

    seconds: float  # of the work under this report, reused stages included
    device: str  # "2 CPU cores", "NVIDIA …"
    peak_bytes: int | None = None  # resident memory of the largest process
    n_train_tokens: int | None = None
    note: str = ""  # e.g. money spent on an API judge


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRecord:
    """Everything that a report shows. `findings` carry the numbers; the rest explains them."""

    title: str
    question: str
    created: str  # ISO 8601 with zone
    run_id: str  # what `screentest trace RUN NAME` takes
    profile: str  # "quick", "full", or the experiment's name
    caveat: str  # the one limitation a hurried reader must see; may be empty
    findings: tuple[Finding, ...]
    contrasts: tuple[Contrast, ...]
    variants: tuple[VariantRow, ...]
    schema_version: int = SCHEMA_VERSION
    absences: tuple[Absence, ...] = ()  # what was declared or given and is in no number: it stands first
    measures: tuple[Measure, ...] = ()  # in the order shown; a finding without one is shown last under its own name
    primary: str | None = None  # the measure whose contrasts lead the report; None: the first with a contrast
    decoding: Decoding | None = None  # shared by all variants
    judges: tuple[JudgeRow, ...] = ()
    qualifications: tuple[Qualification, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    curves: tuple[LossCurve, ...] = ()
    samples: tuple[Sample, ...] = ()
    sampling: str = ""  # how the samples were chosen, e.g. "the first 6 prompts of a seeded shuffle"
    missing: tuple[MissingRow, ...] = ()
    stages: tuple[StageLine, ...] = ()
    data: DataCard | None = None
    audit: tuple[AuditRow, ...] = ()
    n_training_seeds: int | None = 1  # 1: verdicts are about these adapters; None: nothing was trained
    declaration: Declaration = field(default_factory=lambda: Declaration(status="undeclared"))
    limitations: tuple[str, ...] = ()
    config: JsonObject = field(default_factory=dict)  # resolved
    versions: Mapping[str, str] = field(default_factory=dict)
    cost: Cost | None = None
    ablation: AblationRecord | None = None  # of an ablation: its arms, seeds, tails and trends


def distribution(measure: str, variant: str, values: Sequence[float | None]) -> Distribution:
    """Store rows as they are when few, as quantiles when many; None is missing.

    Raises InputError: a value is NaN or infinite; a missing row is None.
    """
    rows = sorted(v for v in values if v is not None)
    if any(not math.isfinite(v) for v in rows):
        raise InputError(f"`values` of {measure!r} for {variant!r} must be finite or None, got NaN or infinity")
    n_missing = len(values) - len(rows)
    if len(rows) <= MAX_POINTS:
        return Distribution(measure=measure, variant=variant, n=len(rows), n_missing=n_missing, values=tuple(rows))
    import numpy as np

    quantiles = np.quantile(rows, [step / (N_QUANTILES - 1) for step in range(N_QUANTILES)]).tolist()
    return Distribution(measure=measure, variant=variant, n=len(rows), n_missing=n_missing, quantiles=tuple(quantiles))
