"""The card of a learned judge: what taught it, how far its probabilities hold, and what it must not be used for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.types import BaseModel

if TYPE_CHECKING:
    from pipelines.teaching.teach import Taught

CARD = "README.md"


def write_card(taught: Taught, folder: Path, *, name: str, base: BaseModel, corpus: str) -> None:
    """Write the card beside the head."""
    head = taught.head
    lines = [
        f"# {name}: a learned judge",
        "",
        "It gives a reply the probability that a person wrote it and that it is not a planted fault, where either is "
        "as likely. Whether it may be believed is for its controls to say: `screentest judge qualify`.",
        "",
        f"- Encoder: {base.source} ({base.digest[:12]}), family {base.family}; it is not changed.",
        f"- Taught on {len(head.films)} TRAIN films of {corpus}; {taught.n_replies:,} replies of theirs show what "
        "people's replies look like.",
        *(f"- Faults planted for {criterion}: {', '.join(families)}." for criterion, families in head.taught.items()),
        f"- Made probabilities on {taught.calibrated_on}.",
        "- It knows no facts: a contradiction, a negation or a wrong name looks to it like the truth.",
        "- Beside people it is weak: on 360 replies of Topical-Chat, heads taught on the sample and on Cornell went "
        "with their marks by .18 and .15 (coherence) and .05 (fluency), Spearman.",
        "- A reply in another script, without letters or of more than 150 words gets no score.",
        "",
        "Reliability, each film calibrated on the others:",
        "",
        "| criterion | predicted | observed | replies |",
        "|---|---:|---:|---:|",
        *(
            f"| {criterion} | {point.predicted:.2f} | {point.observed:.2f} | {point.n:,} |"
            for criterion, curve in taught.reliability.items()
            for point in curve
        ),
    ]
    (folder / CARD).write_text("\n".join(lines) + "\n", encoding="utf-8")
