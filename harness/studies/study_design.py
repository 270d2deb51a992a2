"""What a study declares before its first rating: what is compared, by whom, how often, and which raters will not count.

The digest of the declaration is stored with the study, so that nobody can choose the exclusion rules after the votes.
"""

from __future__ import annotations

import math
import operator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.config import Seed, StrictConfig
from harness.store.artifacts import digest_json

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]*$", max_length=80)]
StudyKind = Literal["pairwise", "likert", "audit", "ranking"]
Share = Annotated[float, Field(ge=0, le=1)]


class SourceDesign(StrictConfig):
    """Where the replies come from: a finished evaluation, files of generations with their prompts, or pairs."""

    run: str | None = None  # run id of an evaluation, or `latest`
    generations: dict[Name, str] = Field(default_factory=dict)  # variant -> JSONL, relative to the study file
    pairs: str | None = None  # audit: JSONL of preference pairs
    imported: str | None = None  # digest of the ratings that `screentest ratings import` read; no file declares it
    data: str | None = None  # JSONL of the prompts that the generations answer
    corpus: str | None = None  # or the corpus that they come from
    base: str = "embedded"  # whose tokenizer cut the prompts
    split: Literal["test", "train"] = "test"  # train: ratings can become preference pairs, and nothing else

    @model_validator(mode="after")
    def _has_one_source(self) -> SourceDesign:
        given = [name for name in ("run", "generations", "pairs", "imported") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"`source` takes exactly one of run, generations and pairs, got {given or 'none'}")
        if self.generations and (self.data is None) == (self.corpus is None):
            raise ValueError("`source.generations` needs their prompts: exactly one of `data` and `corpus`")
        if self.run is not None and self.split != "test":
            raise ValueError("`source.run` is an evaluation on TEST; for TRAIN prompts name `generations`")
        if self.data is not None and self.split != "test":
            raise ValueError("`source.data` is TEST as a whole; TRAIN prompts come from a `corpus`")
        return self


class PanelDesign(StrictConfig):
    """Who rates."""

    raters: int = Field(default=3, ge=1, le=100_000)
    overlap: int | None = Field(default=None, ge=1, le=10**9)  # raters per prompt; None: all of them, a fixed panel
    names: tuple[Name, ...] = ()  # as the owner knows them; rater-1 … when left out

    @model_validator(mode="after")
    def _fits(self) -> PanelDesign:
        if self.overlap is not None and self.overlap > self.raters:
            raise ValueError(f"`overlap` must be at most the {self.raters} raters, got {self.overlap}")
        if self.names and len(set(self.names)) != self.raters:
            raise ValueError(f"`names` must hold {self.raters} different names, got {len(set(self.names))}")
        return self

    @property
    def per_prompt(self) -> int:
        """Raters per prompt."""
        return self.raters if self.overlap is None else self.overlap

    @property
    def rater_names(self) -> tuple[str, ...]:
        """One name a rater."""
        return self.names or tuple(f"rater-{i + 1}" for i in range(self.raters))


class QuestionDesign(StrictConfig):
    """One optional question at the start."""

    ask: str = Field(min_length=1, max_length=300)
    options: tuple[str, ...] = ()  # free words when left out


class CrowdDesign(StrictConfig):
    """Strangers who come by one open link, each for a few items."""

    people: int = Field(ge=1, le=10_000)  # quota: who may begin
    items: int = Field(ge=1, le=1_000)  # that each is promised; checks and practice come on top
    overlap: int = Field(default=3, ge=1, le=1_000)  # ratings that each item is to have
    consent: str = Field(min_length=1, max_length=20_000)  # Markdown; agreed to before anything is shown
    instructions: dict[str, str] = Field(default_factory=dict)  # language (en, de …) -> Markdown; ours when left out
    questions: tuple[QuestionDesign, ...] = ()
    screening: int = Field(default=0, ge=0, le=2)  # practice items to get right before one may go on
    code: str = Field(default="", max_length=80)  # completion code
    back: str = Field(default="", pattern=r"^(https://\S*)?$")  # where the last page leads
    seconds_per_item: float = Field(default=30, gt=0, le=3600)  # for the time and pay that are foretold
    pay_per_hour: float = Field(default=0, ge=0, le=1e6)
    currency: str = Field(default="", max_length=8)

    def minutes(self, n_checks: int) -> int:
        """That a person will take, at the declared pace; a minute that is begun is paid."""
        return math.ceil((self.items + n_checks) * self.seconds_per_item / 60)

    def pay(self, n_checks: int) -> float:
        """For a person, by those minutes."""
        return self.pay_per_hour * self.minutes(n_checks) / 60


class TargetDesign(StrictConfig):
    """How many prompts: a number, or what the study must be able to show."""

    prompts: int | None = Field(default=None, ge=2, le=10**9)
    win_share: float | None = Field(default=None, gt=0.5, lt=1)  # true share of decisive votes to be shown
    power: float = Field(default=0.8, gt=0.05, lt=1)
    tie_share: float = Field(default=0.0, ge=0, lt=1)
    icc: Share = 0.3  # correlation of two raters' votes on the same prompt

    @model_validator(mode="after")
    def _is_one(self) -> TargetDesign:
        if (self.prompts is None) == (self.win_share is None):
            raise ValueError("`target` takes exactly one of `prompts` and `win_share`")
        return self


class ExclusionDesign(StrictConfig):
    """Whose ratings will not count; a rule that is null is not used."""

    min_attention: Share | None = 0.75  # share of attention checks passed
    min_consistency: Share | None = None  # share of repeats rated the same
    min_seconds: float | None = Field(default=1.0, ge=0, le=1e9)  # median seconds from showing to rating
    max_one_side: Share | None = None  # share of decisive votes on the same side
    min_checks: int = Field(default=2, ge=1, le=10**9)  # attention checks (or repeats) before such a rule speaks
    min_ratings: int = Field(default=10, ge=1, le=10**9)  # ratings before the rules on time and side speak


class StudyDesign(StrictConfig):
    """A study file."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Name
    question: str = Field(min_length=1, max_length=300)  # what raters are asked
    kind: StudyKind
    source: SourceDesign
    variants: tuple[Name, ...] = ()  # which, and the first of each pair first; all of the source when left out
    best_worst: bool = False  # ranking: the best and the worst alone, of three to six replies
    criteria: tuple[str, ...] = ()  # likert: shipped criteria by name
    panel: PanelDesign = PanelDesign()
    crowd: CrowdDesign | None = None  # instead of a panel
    target: TargetDesign
    repeats: Share = 0.1  # of a rater's items, shown again with sides swapped
    attention: int = Field(default=4, ge=0, le=50)  # checks per rater
    practice: bool = True  # two practice items first
    block: int = Field(
        default=10, ge=1, le=10**9
    )  # prompts that all raters finish before the next; order inside is random
    lease_minutes: float = Field(default=15, gt=0, le=1e9)  # how long an item waits for a rater who left
    exclusion: ExclusionDesign = ExclusionDesign()
    epsilon: float = Field(default=0.15, ge=0, lt=1)  # alternative-annotator test: what a human costs over a judge
    level: float = Field(default=0.95, gt=0.5, lt=1)
    skips: Share = 0.25  # of a rater's items may be left out; three always
    comments: bool = False  # raters may say why beside a rating
    # of buttons and instructions, where there are words of it (`en`, `de`); a link with `&lang=` asks for another
    language: str = Field(default="", max_length=20, exclude_if=operator.not_)
    thanks: str = Field(default="", max_length=2000)  # at the end, what it was for; a general sentence when left out
    rehearsal: bool = False  # every rating is a rehearsal and enters no result
    seed: Seed = 7

    @model_validator(mode="after")
    def _fits_its_kind(self) -> StudyDesign:
        if (self.kind == "likert") != bool(self.criteria):
            raise ValueError("`criteria` are named for kind likert, and for no other")
        if (self.kind == "audit") != (self.source.pairs is not None):
            raise ValueError("kind audit takes `source.pairs`, and no other kind does")
        if self.kind in ("likert", "ranking") and self.target.prompts is None:
            raise ValueError(f"`target.win_share` is about votes; kind {self.kind} takes `target.prompts`")
        if self.best_worst and self.kind != "ranking":
            raise ValueError("`best_worst` is a way of ranking, and for no other kind")
        if self.kind in ("likert", "ranking") and self.source.split == "train":
            raise ValueError("ratings of TRAIN prompts become preference pairs alone, from votes: use pairwise")
        return self

    @model_validator(mode="after")
    def _is_panel_or_crowd(self) -> StudyDesign:
        if self.crowd is None:
            return self
        usual = type(self).model_fields
        if clash := [name for name in ("panel", "repeats") if getattr(self, name) not in (usual[name].default, 0)]:
            raise ValueError(f"a `crowd` takes no `{clash[0]}`: its people are strangers, each with a few items")
        if self.crowd.screening and (self.kind in ("likert", "ranking") or not self.practice):
            raise ValueError(
                "`crowd.screening` needs practice with a reply that is better: `practice: true`, and no marks"
            )
        return self

    @property
    def spoken(self) -> str:
        """The language that is declared, or else the first of a crowd's instructions."""
        return self.language or next(iter(self.crowd.instructions if self.crowd else ()), "")

    @property
    def per_prompt(self) -> int:
        """Raters per prompt."""
        return self.panel.per_prompt if self.crowd is None else self.crowd.overlap

    def declaration_digest(self) -> str:
        """Digest of the whole declaration."""
        return digest_json(self.model_dump(mode="json", by_alias=True))
