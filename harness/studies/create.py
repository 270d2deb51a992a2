"""From a study file to a study: replies drawn with known probability, checks planted; and more prompts for an open one.

More prompts are those that a larger sample would have drawn next, and the study says that they were added.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, func, select, update

from harness.config import load_yaml
from harness.errors import InputError
from harness.experiment.session import Session
from harness.judging.controls import faults
from harness.judging.criterion_files import load_criterion
from harness.reporting.numbers import write_count
from harness.seeding import derive, stream
from harness.stats import votes_power, votes_sample_size
from harness.store.database import writing
from harness.studies.items import HUMAN, SHUFFLED, ItemReply, StudyItem, n_replies, practice_items
from harness.studies.reply_sources import Source, load_source
from harness.studies.sql_schema import items, raters, ratings, slots, studies
from harness.studies.studies import (
    POPULATION,
    NewStudy,
    Study,
    find_study,
    insert_items,
    insert_slots,
    schedule_of,
)
from harness.studies.study_design import StudyDesign, TargetDesign
from harness.types import Prompt

CHECK_WORDS = (5, 40)  # of a human line that is shuffled: shorter ones can still be read
ADDED = "added"  # in a study's lineage: what was added when


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Prompts drawn at random, each with the same known probability."""

    prompts: tuple[Prompt, ...]
    probability: float
    plan: str  # what this number can show


def draw_study(session: Session, file: Path, *, name: str | None = None) -> NewStudy:
    """The study that a file declares, drawn and not yet stored.

    Raises InputError: its source, sample or checks cannot be had.
    """
    return draw_declared(session, _declared(file, name), folder=file.resolve().parent)


def _declared(file: Path, name: str | None) -> StudyDesign:
    """What a file declares, under another name where one is given."""
    design = load_yaml(file, StudyDesign)
    return design if name is None else design.model_copy(update={"name": name})


def draw_declared(session: Session, design: StudyDesign, *, folder: Path) -> NewStudy:
    """A declared study, drawn; relative paths of its source start from `folder`. Raises what `draw_study` raises."""
    source = load_source(session, design, folder=folder)
    sample = draw_sample(source.prompts, design.target, design.per_prompt, seed=design.seed, level=design.level)
    drawn = {prompt.id for prompt in sample.prompts}
    spare = [p for p in (*source.prompts, *source.spare) if p.id not in drawn]
    texts = [reply.text for of_variant in source.replies.values() for reply in of_variant.values()]
    return NewStudy(
        design=design,
        split=source.split,
        items=(
            *main_items(design, sample.prompts, source, probability=sample.probability),
            *attention_items(design, spare, like=texts, n_variants=len(source.replies)),
            *practice_items(design, is_dialogue=source.kind.is_dialogue),
        ),
        criteria=tuple(load_criterion(criterion, kind=source.kind) for criterion in design.criteria),
        lineage=source.lineage,
        plan=sample.plan,
        n_population=len(source.prompts),
    )


def draw_sample(prompts: Sequence[Prompt], target: TargetDesign, per_prompt: int, *, seed: int, level: float) -> Sample:
    """A simple random sample: every prompt with probability n / N, as correcting a judge needs it.

    From a win share, the number of prompts is that of `votes_sample_size`, with a prompt's raters as the votes that
    share an error: m votes a prompt count as m / (1 + (m − 1) ICC).

    Raises InputError: a number of prompts was asked for that the source does not have.
    """
    if target.prompts is not None:
        n = target.prompts
        if n > len(prompts):
            raise InputError(f"`target.prompts` must be at most the {len(prompts)} answered prompts, got {n}")
        plan = f"{n} prompts, {per_prompt} raters each."
    else:
        share = target.win_share or 0.5
        how: dict[str, Any] = {
            "tie_share": target.tie_share,
            "votes_per_rater": per_prompt,
            "icc": target.icc,
            "level": level,
        }
        votes = votes_sample_size(share, power=target.power, **how)
        n = min(math.ceil(votes.n / per_prompt), len(prompts))
        reached = votes_power(share, n_votes=n * per_prompt, **how)
        plan = f"{n} prompts, {per_prompt} raters each: {reached.sentence}"
        if votes.n > n * per_prompt:
            plan += f" Power {target.power:.0%} would take {math.ceil(votes.n / per_prompt)} prompts; there are {n}."
    drawn = sample_order(prompts, seed=seed)[:n]
    return Sample(prompts=tuple(drawn), probability=n / len(prompts), plan=plan)


def sample_order(prompts: Sequence[Prompt], *, seed: int) -> list[Prompt]:
    """All prompts as a sample of any size takes them."""
    by_id = sorted(prompts, key=lambda p: p.id)
    return [by_id[i] for i in stream(seed, "sample").permutation(len(prompts)).tolist()]


def main_items(
    design: StudyDesign, prompts: Sequence[Prompt], source: Source, *, probability: float
) -> list[StudyItem]:
    """Every pair of variants (or every single one, to be marked) on every prompt drawn."""
    names = list(source.replies)
    return [
        StudyItem(
            purpose="main",
            prompt_id=prompt.id,
            cluster=prompt.cluster,
            messages=prompt.messages,
            replies=tuple(source.replies[name][prompt.id] for name in group),
            probability=probability,
        )
        for prompt in prompts
        for group in itertools.combinations(names, n_replies(design.kind, len(names)))
    ]


def attention_items(
    design: StudyDesign, spare: Sequence[Prompt], *, like: Sequence[str] = (), n_variants: int = 2
) -> list[StudyItem]:
    """The human line against the same words shuffled, on prompts that are not rated otherwise.

    Lines about as long as the replies `like` come first, so that a check is not known by its length.

    Raises InputError: too few prompts are left with a human line long enough.
    """
    rng = stream(design.seed, "attention")
    n_shown = n_replies(design.kind, n_variants)
    low, high = CHECK_WORDS
    hosts = sorted((p for p in spare if low <= len((p.reference or "").split()) <= high), key=lambda p: p.id)
    if len(hosts) < design.attention:
        raise InputError(
            f"`attention` asks for {design.attention} checks, and {len(hosts)} prompts beside the sample have a human "
            f"line of {low} to {high} words; lower it, or rate fewer prompts"
        )
    words = sorted(len(text.split()) for text in like) or [low, high]
    usual = range(words[len(words) // 10], words[-1 - len(words) // 10] + 1)
    order = sorted(
        rng.permutation(len(hosts)).tolist(), key=lambda i: len((hosts[i].reference or "").split()) not in usual
    )
    checks: list[StudyItem] = []
    for i in order:
        if len(checks) == design.attention:
            break
        prompt, truth = hosts[i], hosts[i].reference or ""
        shuffled = [faults.shuffled_words(truth, rng=rng) for _ in range(n_shown - 1 or 1)]
        found = [
            ItemReply(variant=SHUFFLED if k == 0 else f"{SHUFFLED}-{k}", text=t) for k, t in enumerate(shuffled) if t
        ]
        if len(found) < len(shuffled):
            continue
        replies = tuple(found) if n_shown == 1 else (ItemReply(variant=HUMAN, text=truth), *found)
        checks.append(
            StudyItem(
                purpose="attention",
                prompt_id=prompt.id,
                cluster=prompt.cluster,
                messages=prompt.messages,
                replies=replies,
            )
        )
    return checks


def add_prompts(session: Session, engine: Engine, file: Path, n: int, *, name: str | None = None) -> Study:
    """Draw `n` more prompts from the source that a study's file names.

    Raises InputError: the file is not the one that declared the study, or its source has no `n` prompts left.
    """
    design = _declared(file, name)
    study = find_study(engine, design.name)
    if design.declaration_digest() != study.declaration:
        raise InputError(
            f"`{file}` must be the file that declared {study.name}, got another; undo what was changed in it"
        )
    source = load_source(session, design, folder=file.resolve().parent)
    with engine.begin() as connection:
        rows = connection.execute(select(items.c.prompt_id, items.c.purpose).where(items.c.study_id == study.id)).all()
    taken = {row.prompt_id for row in rows}
    population = set(study.lineage[POPULATION])
    left = [p for p in sample_order(source.prompts, seed=design.seed) if p.id in population and p.id not in taken]
    if len(left) < n:
        raise InputError(f"`--prompts` must be at most the {len(left)} that are left in the source, got {n}")
    n_main = len({row.prompt_id for row in rows if row.purpose == "main"}) + n
    return extend(engine, study, main_items(design, left[:n], source, probability=n_main / len(population)))


def extend(engine: Engine, study: Study, new: Sequence[StudyItem]) -> Study:
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
        added = list(study.lineage.get(ADDED, []))
        _append(connection, study, new, rater_ids=rater_ids, seed=derive(study.design.seed, ADDED, len(added)))
        what = f"{write_count(n, 'prompt')} {'was' if n == 1 else 'were'}"
        told = f"{study.plan} {what} added after {write_count(before, 'rating')}."
        lineage = {**study.lineage, ADDED: [*added, {"prompts": n, "ratings_before": before, "at": time.time()}]}
        connection.execute(update(studies).where(studies.c.id == study.id).values(plan=told, lineage=lineage))
    return replace(study, plan=told, lineage=lineage)


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
