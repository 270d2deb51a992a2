"""The nouns of Screentest: frozen dataclasses, standard library only.

Reading this file gives the whole vocabulary. Everything else in the project makes, stores, compares or draws one of
these. Words are used strictly: a *generation* is a model's, a *reference* is a human's; a *score* is a judge's, a
*rating* is a human's; a *variant* is what is compared, an *arm* is a cell of an ablation; a *cluster* is the unit that
is resampled (a film).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "validation", "test"]
FinishReason = Literal["stop", "length", "error", "refused", "unknown"]
ScoreStatus = Literal["ok", "low_mass", "empty", "truncated", "refused", "failed", "unparsable", "unsupported"]
VerdictLabel = Literal["better", "worse", "equivalent", "inconclusive", "exploratory"]
AbsenceKind = Literal["mute", "few_replies", "no_rows", "missing", "unused", "lost", "failed"]
Direction = Literal["higher", "lower"]
Place = Literal["first", "second"]  # of a reply in a pair
PreferredReply = Literal["first", "second", "tie"]
VoteVerdict = Literal["left", "right", "tie", "both_bad"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
NO_REPLY: Mapping[FinishReason, ScoreStatus] = {
    "error": "failed",
    "refused": "refused",
}  # with the status of the missing


# ── dialogue ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One line that one character speaks."""

    id: str  # the corpus's own line id
    speaker_id: str  # the character's id
    speaker: str  # the character's name as printed
    text: str  # cleaned text; may be empty, as 0.09 % of Cornell's lines are


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """An ordered exchange between characters of one film."""

    id: str  # id of its first line, prefixed by the film
    cluster: str  # the film's id: the unit of splitting and resampling
    title: str  # the film's title
    utterances: tuple[Utterance, ...]  # in the order spoken


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn as a chat template sees it."""

    role: Role
    content: str
    name: str | None = None  # the character, for people; templates ignore it


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a variant is asked to continue. Never holds the reply itself except as `reference`."""

    id: str
    messages: tuple[Message, ...]  # the history; the last is the turn to answer. No system message: variants bring it
    split: Split
    cluster: str  # the film
    reference: str | None = None  # the human's reply, if known


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One training window: a prompt and its completion as token ids. Loss falls on the completion only."""

    prompt_id: str
    cluster: str
    split: Split
    input_ids: tuple[int, ...]  # template(prompt) + completion + end token
    n_prompt_tokens: int  # tokens before the completion: no loss on these
    n_completion_bytes: int  # UTF-8 bytes of the completion, for loss in bits per byte

    @property
    def loss_mask(self) -> tuple[bool, ...]:
        """True where a token carries loss; same length as `input_ids`."""
        return tuple(i >= self.n_prompt_tokens for i in range(len(self.input_ids)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A reply that stood for choice when a preference was made."""

    text: str
    score: float | None  # in the judge's units; None where it has none
    n_tokens: int | None  # generated tokens, end token included; None where unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """A prompt with a preferred and a rejected reply."""

    prompt: Prompt
    chosen: str
    rejected: str
    margin: float | None  # preference strength in the judge's units; None where unknown
    preferred_by: str  # judge id, "reference" or "import"
    reason: str = ""
    candidates: tuple[Candidate, ...] = ()  # all that stood for choice, the human reply excluded
    orders_agree: bool | None = None  # whether the verdict held with sides swapped; None where no sides were shown


# ── models and variants ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """A base language model, named so that the same name gives the same weights."""

    source: str  # "embedded", a hub id, or a folder
    revision: str | None  # commit of a hub id; None for embedded and folders
    digest: str  # sha256 over its weights and tokenizer
    family: str  # e.g. "smollm2", "qwen2.5": decides when a judge judges its own kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A LoRA adapter and where it came from."""

    name: str  # registered model name, or the folder's name
    version: str | None  # registry version; None for a bare folder
    path: str  # local folder with adapter_config.json and adapter_model.safetensors
    digest: str  # sha256 over its files
    base: BaseModel
    recipe_digest: str | None = None
    data_digest: str | None = None
    parent: str | None = None  # digest of the adapter that it continued from


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How replies are drawn; shared by every variant of a comparison."""

    max_new_tokens: int = 64
    temperature: float = 0.8  # 0 is greedy
    top_p: float = 0.95
    seed: int = 0
    n_draws: int = 1  # independent replies per prompt
    stop: tuple[str, ...] = ()  # besides the model's own end tokens
    keep_thinking: bool = False  # leave blocks of thinking in the reply's text instead of beside it


VariantKind = Literal["model", "endpoint", "file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What is compared: a model (with or without adapter), an endpoint, or a file of generations."""

    name: str
    kind: VariantKind
    base: BaseModel | None = None  # kind "model"
    adapter: Adapter | None = None  # kind "model"
    endpoint: str | None = None  # kind "endpoint": base URL
    model: str | None = None  # kind "endpoint": model name there
    path: str | None = None  # kind "file"
    system: str | None = None  # system prompt
    shots: tuple[tuple[Message, ...], ...] = ()  # few-shot exchanges put before every prompt
    template: tuple[str, ...] = ()  # how the base's chat template is adapted, a phrase each
    without: tuple[str, ...] = ()  # kind "endpoint": fields of decoding that the server refuses, so not sent
    opens_thinking: bool = False  # kind "endpoint": the server's template opens a block of thinking before the reply
    digest: str = ""  # decides identity: base, adapter, system prompt, shots, template


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A variant's reply to a prompt."""

    prompt_id: str
    variant: str
    draw: int  # 0 … n_draws-1
    text: str
    seed: int
    n_tokens: int | None  # generated tokens, thinking and end token included; None where unknown
    finish_reason: FinishReason
    cluster: str
    thinking: str = ""  # what the model wrote before its reply; never judged, rated or measured
    reason: str = ""  # why there is no reply
    n_repaired: int = 0  # characters that could not be stored, each now U+FFFD

    @property
    def is_missing(self) -> bool:
        """Whether the model failed or refused: there is no reply, and nothing about it was measured."""
        return self.finish_reason in NO_REPLY


# ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One quality that a judge scores."""

    name: str
    definition: str
    steps: tuple[str, ...]  # evaluation steps, written once and frozen
    scale: tuple[int, int] = (1, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedItem:
    """A reply in its context, as a judge sees it: no variant name, no reference."""

    id: str  # unique among the items of one call
    messages: tuple[Message, ...]
    reply: str
    cluster: str
    is_truncated: bool = False  # finish_reason was "length"
    missing: ScoreStatus | None = None  # why there is no reply; None where there is one
    criteria: tuple[str, ...] = ()  # score these of the judge's criteria only; empty is all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A judge's value for one reply and criterion, or the recorded reason why there is none."""

    item_id: str
    criterion: str
    judge_id: str
    value: float | None  # None is missing: never 0, never the middle
    status: ScoreStatus
    probabilities: tuple[float, ...] | None = None  # closed set, in scale order, sums to 1
    mass: float | None = None  # probability captured by the closed set
    entropy: float | None = None  # of `probabilities`, nats: 0 is certain
    total: float | None = None  # likelihood: the sum that `value` is the mean of
    n_tokens: int | None = None  # likelihood: reply tokens
    mode: str = ""  # exact | logprobs | sampled | likelihood
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) == (self.status == "ok"):
            raise ValueError(
                f"`status` must be ok exactly when `value` is there, got {self.status!r} with {self.value!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPair:
    """Two replies in one context, as a pairwise judge sees them: no variant names, no reference."""

    id: str  # unique among the pairs of one call
    messages: tuple[Message, ...]
    first: str
    second: str
    cluster: str
    is_first_truncated: bool = False  # finish_reason was "length"
    is_second_truncated: bool = False
    missing: ScoreStatus | None = None  # why one of the replies is not there; None where both are
    criteria: tuple[str, ...] = ()  # compare on these of the judge's criteria only; empty is all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A judge's verdict on a pair shown in one order, or the recorded reason why there is none."""

    pair_id: str
    criterion: str
    judge_id: str
    shown_first: Place  # which reply of the pair stood where a reader begins
    preferred: PreferredReply | None  # None is missing: never a tie
    status: ScoreStatus
    probabilities: tuple[float, float, float] | None = None  # of first, second and tie; sums to 1
    mass: float | None = None  # probability captured by the three verdicts
    entropy: float | None = None  # of `probabilities`, nats
    mode: str = ""  # exact | logprobs | sampled
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.preferred is None) == (self.status == "ok"):
            raise ValueError(
                f"`status` must be ok exactly when `preferred` is there, got {self.status!r} with {self.preferred!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two generations of one prompt with their sides assigned."""

    id: str
    prompt_id: str
    left: Generation
    right: Generation
    rater: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """A human's verdict on a comparison, or Likert marks. Append-only: a correction is a new rating."""

    comparison_id: str
    rater: str
    verdict: VoteVerdict | None
    marks: Mapping[str, int] = field(default_factory=dict)
    is_rehearsal: bool = False


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


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


JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a long piece of work is; what shows it decides how."""

    done: float
    total: float
    unit: str  # "tokens", "replies", "items"
    note: str = ""  # e.g. "validation loss 3.41"
