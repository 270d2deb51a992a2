"""The stage that teaches a judge on prepared data and publishes its head with a card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.experiment.judges.judge_uses import local_base
from harness.experiment.preparing import prompts_of
from harness.experiment.session import OnProgress, Session
from harness.judging.learned import features
from harness.judging.learned.head import save
from harness.judging.learned.registry import HEAD_FOLDER, publish_head
from harness.store.artifacts import write_json
from harness.store.prepared import read_summary
from harness.store.tracking import Stage, StageResult
from pipelines.teaching import teach
from pipelines.teaching.card import CARD, write_card

if TYPE_CHECKING:
    from harness.judging.spec import JudgeSpec


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
        write_card(taught, stage.folder, name=spec.name, base=base, corpus=read_summary(prepared.folder).corpus)
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
