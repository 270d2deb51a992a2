"""Studies in the store: made whole in one transaction, found by name, closed for good."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from harness.composing import compose
from harness.config import parse
from harness.errors import InputError
from harness.seeding import derive
from harness.store.artifacts import from_json, to_json
from harness.store.database import writing
from harness.studies.item_schedule import Schedule, draw_schedule
from harness.studies.items import StudyItem, check_items
from harness.studies.links import TOKEN_BYTES, Link, OpenLink, hash_token, mint
from harness.studies.sql_schema import items as items_table
from harness.studies.sql_schema import raters, slots, studies
from harness.studies.study_design import StudyDesign, StudyKind
from harness.types import Criterion, Split

Clock = Callable[[], float]  # seconds since 1970, UTC
SLOT_BYTES = 12
LABELS = "labels"  # in an imported study's lineage: criterion -> what was marked in words, numbered from 0
LEFT_OUT, SILENT = "left_out", "silent"  # in a study's lineage: prompts not rated, and how many each variant left
POPULATION = "population"  # there too: ids of the prompts that its sample was drawn from


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStudy:
    """A study before it is stored."""

    design: StudyDesign
    split: Split
    items: tuple[StudyItem, ...]  # main, attention and practice
    criteria: tuple[Criterion, ...] = ()  # likert
    lineage: Mapping[str, Any]  # runs and digests that the items come from
    plan: str  # what the number of prompts can show, in a sentence
    n_population: int  # prompts that the sample was drawn from


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study as it stands in the store."""

    id: int
    name: str
    kind: StudyKind
    split: Split
    design: StudyDesign
    declaration: str
    criteria: tuple[Criterion, ...]
    lineage: Mapping[str, Any]
    plan: str
    n_population: int
    created_at: float
    closed_at: float | None

    @property
    def is_open(self) -> bool:
        """Whether it takes ratings."""
        return self.closed_at is None

    @property
    def labels(self) -> Mapping[str, Sequence[str]]:
        """Criteria that were marked with words instead of numbers, each with its words in the order of their codes."""
        found: Mapping[str, Sequence[str]] = self.lineage.get(LABELS, {})
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A study just made, with the links of its raters: shown now or never."""

    study: Study
    links: tuple[Link, ...]
    opened: OpenLink | None = None  # a crowd's


def create_study(engine: Engine, new: NewStudy, *, clock: Clock = time.time) -> Created:
    """Store a study with its items, raters and every showing.

    Raises InputError: the items cannot be rated, or the name is taken.
    """
    check_items(new.items, kind=new.design.kind)
    design = new.design
    names = design.panel.rater_names if design.crowd is None else ()  # a crowd's people are drawn for when they come
    links = tuple(mint(name, is_rehearsal=design.rehearsal) for name in names)
    opened = None if design.crowd is None else OpenLink(token=secrets.token_urlsafe(TOKEN_BYTES))
    schedule = schedule_of(new.items, design, n_raters=len(links), seed=design.seed)
    try:
        with writing(engine) as connection:
            study_id = insert_study(connection, new, opened=opened, now=clock())
            item_ids = insert_items(connection, study_id, new.items, schedule.ranks)
            rater_ids = [insert_rater(connection, study_id, link, now=clock()) for link in links]
            insert_slots(connection, study_id, schedule, item_ids=item_ids, rater_ids=rater_ids)
    except IntegrityError as err:
        raise _taken(design.name) from err
    return Created(study=find_study(engine, design.name), links=links, opened=opened)


def require_free(engine: Engine, name: str) -> str:
    """The name, where no study has it. Raises InputError: one has."""
    if any(study.name == name for study in list_studies(engine)):
        raise _taken(name)
    return name


def _taken(name: str) -> InputError:
    return InputError(f"`name` must be new, got {name!r}, which is a study already; choose another")


def find_study(engine: Engine, name: str) -> Study:
    """The study of that name. Raises InputError: there is none; the message lists those there are."""
    known = list_studies(engine)
    for study in known:
        if study.name == name:
            return study
    listed = ", ".join(study.name for study in known) or "none yet"
    raise InputError(f"`{name}` must be a study in this store; there are: {listed}")


def list_studies(engine: Engine) -> list[Study]:
    """Every study, newest first."""
    with engine.begin() as connection:
        rows = connection.execute(select(studies).order_by(studies.c.id.desc())).all()
    return [_study(row) for row in rows]


def close_study(engine: Engine, name: str) -> Study:
    """Take no more ratings; closing again changes nothing."""
    study = find_study(engine, name)
    with writing(engine) as connection:
        still_open = (studies.c.id == study.id) & studies.c.closed_at.is_(None)
        connection.execute(update(studies).where(still_open).values(closed_at=time.time()))
    return find_study(engine, name)


def renew_link(engine: Engine, study: Study, rater: str) -> Link:
    """A new link for a rater; the old one stops working, their ratings stay.

    Raises InputError: the study has no such rater.
    """
    with writing(engine) as connection:
        row = _rater(connection, study, rater)
        link = mint(rater, is_rehearsal=row.is_rehearsal)
        changed = {"token_hash": hash_token(link.token), "revoked_at": None}
        connection.execute(update(raters).where(raters.c.id == row.id).values(**changed))
    return link


def revoke_link(engine: Engine, study: Study, rater: str) -> None:
    """Withdraw a rater's link; the ratings they gave stay, and nobody waits for the rest."""
    with writing(engine) as connection:
        row = _rater(connection, study, rater)
        connection.execute(update(raters).where(raters.c.id == row.id).values(revoked_at=time.time()))


def add_rehearsal(engine: Engine, study: Study, name: str, *, clock: Clock = time.time) -> Link:
    """A link to try the study with: every item in an order of its own, and no rating that ever enters a result.

    Raises InputError: the name is taken.
    """
    link = mint(name, is_rehearsal=True)
    seed = derive(study.design.seed, "rehearsal", name)
    try:
        with writing(engine) as connection:
            rows = connection.execute(select(items_table).where(items_table.c.study_id == study.id)).all()
            stored = tuple(stored_item(row) for row in rows)
            schedule = schedule_of(stored, study.design, n_raters=1, seed=seed)
            rater_id = insert_rater(connection, study.id, link, now=clock())
            insert_slots(connection, study.id, schedule, item_ids=[row.id for row in rows], rater_ids=[rater_id])
    except IntegrityError as err:
        raise InputError(f"`{name}` must be a new rater's name in {study.name}, got one that is taken") from err
    return link


def new_slot(**placed: Any) -> dict[str, Any]:
    """A row for a showing that is to come; its random id says nothing of the item."""
    return {"id": secrets.token_urlsafe(SLOT_BYTES), "state": "pending", **placed}


def stored_item(row: Any) -> StudyItem:
    """An item from its row."""
    alike = {name: getattr(row, name) for name in ("purpose", "prompt_id", "cluster", "replies", "probability")}
    return from_json(StudyItem, {**alike, "messages": row.scene})


def schedule_of(items: Sequence[StudyItem], design: StudyDesign, *, n_raters: int, seed: int) -> Schedule:
    """Who sees what, as the study declares it, for so many raters."""
    overlap = min(design.panel.per_prompt, n_raters)
    return draw_schedule(
        items, n_raters=n_raters, overlap=overlap, block=design.block, repeats=design.repeats, seed=seed
    )


def insert_study(
    connection: Connection, new: NewStudy, *, now: float, closed_at: float | None = None, opened: OpenLink | None = None
) -> int:
    """A row for a study; closed from the beginning where its ratings were collected elsewhere."""
    values = {
        "name": new.design.name,
        "kind": new.design.kind,
        "split": new.split,
        "question": new.design.question,
        "design": new.design.model_dump(mode="json", by_alias=True),
        "declaration": new.design.declaration_digest(),
        "criteria": to_json(new.criteria),
        "lineage": to_json(new.lineage),
        "plan": new.plan,
        "n_population": new.n_population,
        "created_at": now,
        "closed_at": closed_at,
        "open_hash": None if opened is None else hash_token(opened.token),
    }
    return int(connection.execute(insert(studies).returning(studies.c.id), values).scalar_one())


def insert_items(
    connection: Connection, study_id: int, items: Sequence[StudyItem], ranks: Mapping[str, int]
) -> list[int]:
    """Rows for items; `ranks` are the places of their prompts in the order that raters share."""
    rows = [
        {
            "study_id": study_id,
            "purpose": item.purpose,
            "prompt_id": item.prompt_id,
            "cluster": item.cluster,
            "scene": to_json(item.messages),
            "replies": to_json(item.replies),
            "probability": item.probability,
            "rank": ranks.get(item.prompt_id, -1) if item.purpose == "main" else -1,
        }
        for item in items
    ]
    returned = insert(items_table).returning(items_table.c.id, sort_by_parameter_order=True)
    return [int(i) for i in connection.execute(returned, rows).scalars()]


def insert_rater(connection: Connection, study_id: int, link: Link, *, now: float, **of_crowd: Any) -> int:
    """A row for a rater; of one of a crowd with who they are and what was said on coming."""
    values = {
        "study_id": study_id,
        "name": link.rater,
        "token_hash": hash_token(link.token),
        "is_rehearsal": link.is_rehearsal,
        "created_at": now,
        **of_crowd,
    }
    return int(connection.execute(insert(raters).returning(raters.c.id), values).scalar_one())


def insert_slots(
    connection: Connection,
    study_id: int,
    schedule: Schedule,
    *,
    item_ids: Sequence[int],
    rater_ids: Sequence[int],
    behind: Mapping[int, int] | None = None,
) -> None:
    """Rows for showings; `behind` are the places that raters have taken before."""
    rows = [
        new_slot(
            study_id=study_id,
            item_id=item_ids[slot.item],
            rater_id=rater_ids[slot.rater],
            kind=slot.kind,
            position=slot.position + (behind or {}).get(rater_ids[slot.rater], 0),
            is_flipped=slot.is_flipped,
        )
        for slot in schedule.slots
    ]
    if rows:  # in random order: rows next to each other must not tell which slots share an item
        connection.execute(insert(slots), sorted(rows, key=lambda row: str(row["id"])))


def _rater(connection: Connection, study: Study, name: str) -> Any:
    found = connection.execute(select(raters).where(raters.c.study_id == study.id)).all()
    for row in found:
        if row.name == name:
            return row
    raise InputError(f"`{name}` must be a rater of {study.name}; there are: {', '.join(row.name for row in found)}")


def _study(row: Any) -> Study:
    design = parse(row.design, StudyDesign, where=row.name)
    return compose(Study, row, design=design, criteria=tuple(from_json(Criterion, data) for data in row.criteria))
