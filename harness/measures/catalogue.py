"""The measures that need no judge, with the words a reader gets for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from harness.types import Direction, Grain

Origin = Literal["heldout", "replies", "variant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguedMeasure:
    """A measure by name: how it reads and where its rows come from."""

    name: str
    label: str
    unit: str
    better: Direction | None  # None: descriptive, more is neither better nor worse
    description: str
    origin: Origin  # heldout: human replies; replies: one value a generation; variant: one value for all of them
    grain: Grain = Grain.PROMPT
    is_rate: bool = False  # every row is a share in [0, 1]: its mean is a rate, with a rate's interval and warning


_ALL = (
    CataloguedMeasure(
        name="heldout_loss",
        label="Held-out loss",
        unit="bits per byte",
        better="lower",
        description=(
            "How surprised the model is by what the human wrote: bits per UTF-8 byte of the human reply, end token "
            "included. It compares across tokenizers and needs no judge."
        ),
        origin="heldout",
    ),
    CataloguedMeasure(
        name="distinct_1",
        label="Distinct-1",
        unit="share",
        better=None,
        description="Share of different words among all words of a variant's replies (Li et al. 2016).",
        origin="variant",
    ),
    CataloguedMeasure(
        name="distinct_2",
        label="Distinct-2",
        unit="share",
        better="higher",
        description="Share of different word pairs among all word pairs of a variant's replies (Li et al. 2016).",
        origin="variant",
    ),
    CataloguedMeasure(
        name="self_bleu",
        label="Self-BLEU",
        unit="share",
        better="lower",
        description="How much each reply shares with the variant's other replies (Zhu et al. 2018); high means alike.",
        origin="variant",
    ),
    CataloguedMeasure(
        name="repetition",
        label="Repetition",
        unit="share",
        better="lower",
        description="Share of a reply's word n-grams that it has said before: loops show here.",
        origin="replies",
        grain=Grain.REPLY,
        is_rate=True,
    ),
    CataloguedMeasure(
        name="echo",
        label="Echo of the context",
        unit="share",
        better="lower",
        description="Share of a reply's word n-grams copied from the conversation so far.",
        origin="replies",
        grain=Grain.REPLY,
        is_rate=True,
    ),
    CataloguedMeasure(
        name="length",
        label="Length",
        unit="words",
        better=None,
        description="Words per reply.",
        origin="replies",
        grain=Grain.REPLY,
    ),
    CataloguedMeasure(
        name="no_text",
        label="Replies without text",
        unit="share",
        better="lower",
        description="Share of replies that are empty, were refused or failed: the other measures leave them out.",
        origin="replies",
        grain=Grain.REPLY,
        is_rate=True,
    ),
    CataloguedMeasure(
        name="cut_off",
        label="Cut off",
        unit="share",
        better="lower",
        description="Share of replies that ran into the length cap instead of ending.",
        origin="replies",
        grain=Grain.REPLY,
        is_rate=True,
    ),
)

CATALOGUE: Mapping[str, CataloguedMeasure] = MappingProxyType({m.name: m for m in _ALL})
