"""Planted controls, and how a judge did on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.types.dialogue import Message
from harness.types.findings import Estimate

QualificationStatus = Literal["qualified", "not_qualified", "inconclusive"]


# beside: a fault of another criterion; what a judge makes of it is shown and does not count
ControlKind = Literal["discrimination", "adversarial", "beside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlItem:
    """A true reply beside a planted fault in the same context: what a judge must tell apart to be believed."""

    id: str  # unique in one set
    criterion: str
    family: str  # e.g. "other_film", "shuffled_words", "echo"
    kind: ControlKind
    messages: tuple[Message, ...]  # the context that both replies share
    true_reply: str
    control_reply: str
    cluster: str  # the film


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlResult:
    """How well a judge tells true replies from one family of planted controls."""

    criterion: str
    family: str  # e.g. "other_film", "shuffled_words", "echo"
    kind: ControlKind
    auc: Estimate  # unpaired ROC AUC, film-clustered interval
    concordance: Estimate  # share of pairs in which the true reply scores higher (ties half)
    status: QualificationStatus
    settle: str = ""  # number of controls that would settle it
    basis: Literal["", "taught", "untaught"] = ""  # of a learned judge: whether what scored had been taught the family

    @property
    def counts(self) -> bool:
        """Whether it bears on the criterion's status; a family that was taught shows only that it was learned."""
        return self.basis != "taught" and self.kind != "beside"

    @property
    def label(self) -> str:
        """The family as a reader meets it."""
        return self.family.replace("_", " ") + (f", {self.basis}" if self.basis else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Qualification:
    """Whether a judge may support claims on one criterion."""

    judge_id: str
    criterion: str
    status: QualificationStatus
    families: tuple[ControlResult, ...]
    repeatability: Estimate | None = None  # share of items scored the same twice
    length_sensitivity: Estimate | None = None  # rank correlation of score and reply length on true replies
    position_consistency: Estimate | None = None  # pairwise: share of pairs with the same verdict in both orders
    first_position: Estimate | None = None  # pairwise: share of decisive verdicts for the reply shown first
    reason: str = ""
