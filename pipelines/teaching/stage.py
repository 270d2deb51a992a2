"""The stage that teaches a judge on prepared data and publishes its head with a card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.experiment.analysis.contrasts import called
from harness.experiment.judges.judge_uses import local_base
from harness.experiment.preparing import prompts_of
from harness.experiment.session import OnProgress, Session
from harness.judging.learned import features
from harness.judging.learned.head import save
from harness.judging.learned.head_registry import HEAD_FOLDER, publish_head
from harness.store.artifacts import write_json
from harness.store.prepared import read_summary
from harness.store.tracking import Stage, StageResult
from harness.types import BaseModel
from pipelines.teaching import teach

if TYPE_CHECKING:
    from harness.judging.spec import JudgeSpec
    from pipelines.teaching.teach import Taught


def teach_stage(session: Session, spec: JudgeSpec, *, prepared: StageResult, seed: int) -> StageResult:
    """TRAIN and VALIDATION films → the head of a learned judge, a version of the registry under the judge's name.

    Raises:
        InputError: the films have too few human replies to teach on.
    """
    base = local_base(spec)
    if base is None:
        raise TypeError(f"a judge of method {spec.method} has an encoder in this process")
    criteria = [criterion.name for criterion in spec.criteria]

    def work(stage: Stage, on_progress: OnProgress) -> None:
        taught = teach.teach(
            prompts_of(prepared, "train"),
            prompts_of(prepared, "validation"),
            encoder=session.encoder(base),
            criteria=criteria,
            seed=seed,
            on_progress=on_progress,
        )
        save(taught.head, stage.folder / HEAD_FOLDER)
        write_json(stage.folder / "reliability.json", taught.reliability)
        data = read_summary(prepared.folder)
        write_card(taught, stage.folder, name=spec.name, base=base, corpus=data.corpus, noun=data.cluster_unit)
        stage.log_metric("taught_films", len(taught.head.films))

    found = session.stage(
        "teach",
        label=f"Teach ({spec.name})",
        revision=teach.REVISION,
        config={"criteria": criteria, "seed": seed, "features": features.REVISION},
        inputs={"prepared": prepared.digest, "encoder": base.digest},
        work=work,
    )
    publish_head(session.tracking, found, name=spec.name, card=(found.folder / CARD).read_text(encoding="utf-8"))
    return found


CARD = "README.md"


def write_card(taught: Taught, folder: Path, *, name: str, base: BaseModel, corpus: str, noun: str) -> None:
    """Write the card beside the head; `noun` is what the data are clustered by."""
    head = taught.head
    lines = [
        f"# {name}: a learned judge",
        "",
        "It gives a reply the probability that a person wrote it and that it is not a planted fault, where either is "
        "as likely. Whether it may be believed is for its controls to say: `screentest judge qualify`.",
        "",
        f"- Encoder: {base.source} ({base.digest[:12]}), family {base.family}; it is not changed.",
        f"- Taught on {len(head.films)} TRAIN {noun}s of {corpus}; {taught.n_replies:,} replies of theirs show what "
        "people's replies look like.",
        *(
            f"- Faults planted for {criterion}: {', '.join(families).replace('film', noun)}."
            for criterion, families in head.taught.items()
        ),
        f"- Made probabilities on {called(taught.calibrated_on, noun)}.",
        "- It knows no facts: a contradiction, a negation or a wrong name looks to it like the truth.",
        "- Beside people it is weak: on 360 replies of Topical-Chat, heads taught on the sample and on Cornell went "
        "with their marks by .18 and .15 (coherence) and .05 (fluency), Spearman.",
        "- A reply in another script, without letters or of more than 150 words gets no score.",
        "",
        f"Reliability, each {noun} calibrated on the others:",
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
