"""More prompts for an open study: those that a larger sample would have drawn next, and on record as added."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select, update

from harness.config import load_yaml
from harness.errors import InputError
from harness.experiment.session import Session
from harness.reporting.numbers import write_count
from harness.seeding import derive
from harness.store.database import writing
from harness.studies.corrected import POPULATION
from harness.studies.create import main_items, sample_order
from harness.studies.items import StudyItem
from harness.studies.reply_sources import load_source
from harness.studies.sql_schema import items, raters, ratings, slots, studies
from harness.studies.studies import Clock, Study, find_study, insert_items, insert_slots, schedule_of
from harness.studies.study_design import StudyDesign

ADDED = "added"  # in a study's provenance


def add_prompts(session: Session, engine: Engine, file: Path, n: int, *, name: str | None = None) -> Study:
    """Draw `n` more prompts from the source that a study's file names.

    Raises InputError: the file is not the one that declared the study, or its source has no `n` prompts left.
    """
    design = load_yaml(file, StudyDesign)
    study = find_study(engine, name or design.name)
    declared = design if name is None else design.model_copy(update={"name": name})
    if declared.declaration_digest() != study.declaration:
        raise InputError(
            f"`{file}` must be the file that declared {study.name}, got another; undo what was changed in it"
        )
    source = load_source(session, design, folder=file.resolve().parent)
    with engine.begin() as connection:
        rows = connection.execute(select(items.c.prompt_id, items.c.purpose).where(items.c.study_id == study.id)).all()
    taken = {row.prompt_id for row in rows}
    population = set(study.provenance[POPULATION])
    left = [p for p in sample_order(source.prompts, seed=design.seed) if p.id in population and p.id not in taken]
    if len(left) < n:
        raise InputError(f"`--prompts` must be at most the {len(left)} that are left in the source, got {n}")
    n_main = len({row.prompt_id for row in rows if row.purpose == "main"}) + n
    return extend(engine, study, main_items(design, left[:n], source, probability=n_main / len(population)))


def extend(engine: Engine, study: Study, new: Sequence[StudyItem], *, clock: Clock = time.time) -> Study:
    """Append main items to an open study, behind what raters have still to do, declared with the ratings given before.

    Raises InputError: the study is closed.
    """
    if not study.is_open:
        raise InputError(f"`{study.name}` must be open to take more prompts, got a study that is closed")
    n = len({item.prompt_id for item in new})
    with writing(engine) as connection:
        of_study = select(func.count()).select_from(ratings).join(slots, slots.c.id == ratings.c.slot_id)
        before = connection.execute(of_study.where(slots.c.study_id == study.id)).scalar_one()
        main = (items.c.study_id == study.id) & (items.c.purpose == "main")
        connection.execute(update(items).where(main).values(probability=new[0].probability))
        panel = (
            (raters.c.study_id == study.id)
            & raters.c.is_rehearsal.is_(study.design.rehearsal)
            & raters.c.person.is_(None)
        )
        rater_ids = connection.execute(select(raters.c.id).where(panel).order_by(raters.c.id)).scalars().all()
        added = list(study.provenance.get(ADDED, []))
        _append(connection, study, new, rater_ids=rater_ids, seed=derive(study.design.seed, ADDED, len(added)))
        what = f"{write_count(n, 'prompt')} {'was' if n == 1 else 'were'}"
        told = f"{study.plan} {what} added after {write_count(before, 'rating')}."
        provenance = {**study.provenance, ADDED: [*added, {"prompts": n, "ratings_before": before, "at": clock()}]}
        connection.execute(update(studies).where(studies.c.id == study.id).values(plan=told, provenance=provenance))
    return replace(study, plan=told, provenance=provenance)


def _append(
    connection: Connection, study: Study, new: Sequence[StudyItem], *, rater_ids: Sequence[int], seed: int
) -> None:
    """Main items behind all that stand, with showings for these raters behind all of theirs."""
    schedule = schedule_of(new, study.design, n_raters=len(rater_ids), seed=seed)
    last = select(func.max(items.c.rank)).where(items.c.study_id == study.id)
    first_rank = int(connection.execute(last).scalar() or 0) + 1
    ranks = {prompt: rank + first_rank for prompt, rank in schedule.ranks.items()}
    item_ids = insert_items(connection, study.id, new, ranks)
    taken = select(slots.c.rater_id, func.max(slots.c.position) + 1).where(slots.c.study_id == study.id)
    behind = {rater: place for rater, place in connection.execute(taken.group_by(slots.c.rater_id)).all()}
    insert_slots(connection, study.id, schedule, item_ids=item_ids, rater_ids=rater_ids, behind=behind)
