"""Ratings that were collected elsewhere, as a closed study: read whole, checked by row, stored in one transaction."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError

from harness.doors.files import read_rows
from harness.doors.forms import FormError, read_foreign
from harness.doors.ratings import VOTE, Answer, Answers, is_number, read_answers
from harness.doors.text import read_id, require_id, require_sound, shown
from harness.errors import CorpusError, InputError
from harness.store.artifacts import digest_file
from harness.store.database import writing
from harness.studies.items import ItemReply, StudyItem, check_items
from harness.studies.links import mint
from harness.studies.sql_schema import ratings, slots
from harness.studies.studies import (
    LABELS,
    POPULATION,
    NewStudy,
    Study,
    find_study,
    insert_items,
    insert_rater,
    insert_study,
    list_studies,
    new_slot,
)
from harness.studies.study_design import ExclusionDesign, PanelDesign, SourceDesign, StudyDesign, TargetDesign
from harness.types import Criterion

ITEMS = "items"  # in an imported study's lineage: item id -> prompt id, variant
REPLY = "reply"  # the variant of items of which no more is known
ANYBODY = "rater"  # where a file names none
_WINS: Mapping[str, str] = {
    **dict.fromkeys(("left", "model_a", "a", "first"), "left"),
    **dict.fromkeys(("right", "model_b", "b", "second"), "right"),
    **dict.fromkeys(("tie", "draw", "equal", "same"), "tie"),
    **dict.fromkeys(("both_bad", "tie (bothbad)", "both bad", "neither", "bothbad"), "both_bad"),
}
_SCALE = re.compile(r"\s*\[?\s*(-?\d+)\s*(?:-|–|\.\.|to|,)\s*(-?\d+)\s*\]?\s*")
Key = tuple[str, tuple[str, ...]]  # prompt id, variants


@dataclass(slots=True, kw_only=True)
class _Reading:
    """A file on its way into a study."""

    path: Path
    known: Mapping[str, StudyItem]  # what may be rated, by item id; nothing where no file says
    places: Mapping[tuple[str, str], StudyItem]  # the same by prompt and variant
    scales: dict[str, tuple[int, int]]
    default_scale: tuple[int, int] | None
    question: str | None  # the criterion of rows that name none
    items: dict[Key, StudyItem] = field(default_factory=dict)
    given: dict[tuple[str, Key], dict[str, Any]] = field(default_factory=dict)  # rater, item -> question -> value
    lines: dict[tuple[str, Key, str], int] = field(default_factory=dict)
    names: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A study made of a file."""

    study: Study
    form: str
    n_ratings: int
    n_raters: int
    n_items: int
    left_out: Mapping[str, int]
    is_new: bool  # False: the same file was imported before under this name


def import_ratings(
    engine: Engine,
    path: Path,
    *,
    name: str,
    items: Path | None = None,
    scale: tuple[int, int] | None = None,
    criteria: Sequence[str] = (),
    epsilon: float = 0.15,
) -> Imported:
    """Store a file of ratings as a closed study; nothing of a file with a fault.

    Args:
        path: in any form that `harness.doors.ratings` reads.
        items: JSONL of all that could be rated: item, variant, cluster, and prompt and reply in any known form.
        scale: lowest and highest mark of criteria whose rows name none.
        criteria: questions to take; one alone also names the criterion of rows without one.

    Raises:
        CorpusError: file, line and rule: an unknown item or variant, a mark outside its scale, an item that
            one rater rated twice, a side that is none.
        InputError: the name is taken by another study.
    """
    known = {} if items is None else read_items(items)
    answers = read_answers(path, items=known, questions=[*criteria, *([VOTE] if criteria else [])])
    reading = _Reading(
        path=path,
        known=known,
        places={(one.prompt_id, one.replies[0].variant): one for one in known.values()},
        scales={},
        default_scale=scale,
        question=criteria[0] if len(criteria) == 1 else None,
    )
    for answer in answers.rows:
        try:
            _take(reading, answer)
        except InputError as err:
            raise CorpusError(path, str(err), line=answer.line) from err
    new = _new_study(reading, answers, name=name, epsilon=epsilon)
    is_new = all(s.name != name or s.declaration != new.design.declaration_digest() for s in list_studies(engine))
    if is_new:
        _store(engine, new, reading, now=time.time())
    return Imported(
        study=find_study(engine, name),
        form=answers.form,
        n_ratings=sum(len(said) for said in reading.given.values()),
        n_raters=len({rater for rater, _ in reading.given}),
        n_items=len(reading.items),
        left_out=dict(answers.left_out),
        is_new=is_new,
    )


def read_items(path: Path) -> dict[str, StudyItem]:
    """What there is to rate, by item id; a prompt and a reply are read where the row has them.

    Raises CorpusError: a row without an id, or an id that stands twice.
    """
    found: dict[str, StudyItem] = {}
    for row in read_rows(path, of="items"):
        try:
            item, known = _known(row.value)
            if item in found:
                raise InputError(f"`item` must stand once, got {shown(item)} again")
            found[item] = known
        except InputError as err:
            raise CorpusError(path, str(err), line=row.number) from err
    return found


def _known(row: Mapping[str, Any]) -> tuple[str, StudyItem]:
    """An item's id, and what its row says of it."""
    prompt, variant = read_id(row.get("prompt_id"), "prompt_id"), read_id(row.get("variant"), "variant")
    item = read_id(row.get("item", row.get("id")), "item")
    item = item or (f"{prompt}/{variant}" if prompt and variant else prompt) or require_id(row, "item")
    try:
        shape = read_foreign(row)
        messages, text = shape.history, shape.reply or ""
    except FormError:
        messages, text = (), ""
    cluster = read_id(row.get("cluster"), "cluster") or ""
    return item, replace(_item(prompt or item, variant or REPLY, text), cluster=cluster, messages=messages)


def _item(prompt: str, variant: str, text: str = "") -> StudyItem:
    """One reply, its cluster not known yet."""
    replies = (ItemReply(variant=variant, text=text),)
    return StudyItem(purpose="main", prompt_id=prompt, cluster="", messages=(), replies=replies, probability=1.0)


def read_scale(value: Any) -> tuple[int, int]:
    """`1-5`, `[1, 5]`, `1 to 5`. Raises InputError: it is none, or does not rise."""
    text = "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if (match := _SCALE.fullmatch(text)) is None or int(match[1]) >= int(match[2]):
        raise InputError(f"`scale` must be lowest and highest mark, as 1-5, got {shown(value)}")
    return int(match[1]), int(match[2])


def _take(reading: _Reading, answer: Answer) -> None:
    rater = require_sound(answer.rater or ANYBODY, "rater")
    key: Key
    value: Any
    if len(rater) > 80:
        raise InputError(f"`rater` must have at most 80 characters, got {len(rater)}")
    key, value = _vote(reading, answer) if answer.question == VOTE else (_marked(reading, answer), answer.value)
    question = answer.question or reading.question or "mark"
    line = reading.lines.setdefault((rater, key, question), answer.line)
    if question in reading.given.setdefault((rater, key), {}):
        again = f"got {shown(rater)} again on {shown(key[0])} ({question}); first on line {line}"
        raise InputError(f"a rater must rate an item once, {again}")
    if answer.question != VOTE:
        value = _value(reading, question, value, answer.facts.get("scale"))
    reading.given[rater, key][question] = value


def _marked(reading: _Reading, answer: Answer) -> Key:
    facts = answer.facts
    item, variant = read_id(facts.get("item"), "item"), read_id(facts.get("variant"), "variant")
    prompt = read_id(facts.get("prompt_id"), "prompt_id")
    if item is None:
        raise InputError("`item` must say what was rated, got none")
    known = reading.known.get(item) or reading.places.get((prompt or item, variant or REPLY))
    if reading.known and known is None:
        raise InputError(f"`item` must be one of the {len(reading.known):,} items there are, got {shown(item)}")
    known = known or _item(prompt or item, variant or REPLY)
    of_item = known.replies[0].variant
    if variant not in (None, of_item):
        raise InputError(f"`variant` of {shown(item)} must be {shown(of_item)}, got {shown(variant)}")
    reading.names[item] = (known.prompt_id, of_item)
    return _keep(reading, known, read_id(facts.get("cluster"), "cluster"))


def _vote(reading: _Reading, answer: Answer) -> tuple[Key, tuple[str, str]]:
    """The item voted on, and the verdict with the variant that stood left."""
    facts = answer.facts
    left, right = (read_id(facts.get(side), side) for side in ("left", "right"))
    if left is None or right is None or left == right:
        raise InputError(f"`left` and `right` must name two variants, got {shown(left)} and {shown(right)}")
    said = str(answer.value).strip()
    verdict = "left" if said == left else "right" if said == right else _WINS.get(said.lower())
    if verdict is None:
        raise InputError(f"`winner` must be left, right, tie, both_bad, {left} or {right}, got {shown(said)}")
    item = read_id(facts.get("item"), "item") or f"row-{answer.line}"
    of_prompt = {k.replies[0].variant: k for i, k in reading.known.items() if item in (k.prompt_id, i)}
    if reading.known and not of_prompt:
        raise InputError(f"`item` must be one of the {len(reading.known):,} items there are, got {shown(item)}")
    for variant in (left, right):
        if of_prompt and variant not in of_prompt:
            listed = ", ".join(sorted(of_prompt))
            raise InputError(f"a vote must be between variants of its item ({listed}), got {shown(variant)}")
    first, second = (of_prompt.get(variant) or _item(item, variant) for variant in sorted((left, right)))
    both = replace(first, replies=(*first.replies, *second.replies))
    return _keep(reading, both, read_id(facts.get("cluster"), "cluster")), (verdict, left)


def _keep(reading: _Reading, known: StudyItem, cluster: str | None) -> Key:
    key = (known.prompt_id, tuple(reply.variant for reply in known.replies))
    item, cluster = reading.items.get(key, known), known.cluster or cluster or ""
    if cluster and item.cluster not in ("", cluster):
        raise InputError(f"`cluster` of an item must be one, got {shown(cluster)} after {shown(item.cluster)}")
    reading.items[key] = replace(item, cluster=item.cluster or cluster)
    return key


def _value(reading: _Reading, question: str, value: Any, scale: Any) -> float | str:
    """A mark within its scale, or a label where there is none."""
    declared = reading.default_scale if scale is None else read_scale(scale)
    before = reading.scales.setdefault(question, declared) if declared is not None else reading.scales.get(question)
    if declared is not None and before != declared:
        raise InputError(f"`scale` of {question} must be the same on all rows, got {shown(scale)} after {before}")
    if is_number(value):
        mark = float(value)
        if before is not None and not before[0] <= mark <= before[1]:
            raise InputError(f"`value` of {question} must lie on its scale {before[0]}-{before[1]}, got {shown(value)}")
        return mark
    if not isinstance(value, str) or before is not None:
        raise InputError(
            f"`value` of {question} must be a number{' on its scale' if before else ''}, got {shown(value)}"
        )
    return require_sound(value.strip(), "value")


def _new_study(reading: _Reading, answers: Answers, *, name: str, epsilon: float) -> NewStudy:
    questions = list(dict.fromkeys(q for said in reading.given.values() for q in said))
    is_voted = VOTE in questions
    if is_voted and len(questions) > 1:
        raise CorpusError(reading.path, f"must hold votes or marks, got votes and {', '.join(questions[1:])}; take one "
                          "with `--criterion`")  # fmt: skip
    labels: dict[str, list[str]] = {}
    criteria = [] if is_voted else [_criterion(reading, question, labels) for question in questions]
    items = tuple(replace(item, cluster=item.cluster or item.prompt_id) for item in reading.items.values())
    raters, prompts = {rater for rater, _ in reading.given}, list(dict.fromkeys(item.prompt_id for item in items))
    design = StudyDesign(
        schema=1,
        name=name,
        question=f"Collected elsewhere ({answers.form}).",
        kind="pairwise" if is_voted else "likert",
        source=SourceDesign(imported=digest_file(reading.path)),
        criteria=tuple(criterion.name for criterion in criteria),
        panel=PanelDesign(raters=len(raters)),
        target=TargetDesign(prompts=max(2, len(prompts))),
        repeats=0,
        attention=0,
        practice=False,
        exclusion=ExclusionDesign(min_attention=None, min_seconds=None),
        epsilon=epsilon,
    )
    return NewStudy(
        design=design,
        split="test",
        items=items,
        criteria=tuple(criteria),
        lineage={"imported": reading.path.name, LABELS: labels, ITEMS: reading.names, POPULATION: prompts,
                    "left_out": dict(answers.left_out)},
        plan=f"Imported from {reading.path.name}: {len(items):,} items, {len(raters):,} raters.",
        n_population=len(prompts),
    )  # fmt: skip


def _criterion(reading: _Reading, name: str, labels: dict[str, list[str]]) -> Criterion:
    """A criterion on its scale: as declared, else from the lowest to the highest mark; of labels, their numbers."""
    values = [said[name] for said in reading.given.values() if name in said]
    words = sorted({value for value in values if isinstance(value, str)})
    if words:
        if len(words) < len(set(values)):
            raise CorpusError(
                reading.path, f"`value` of {name} must be numbers or labels, got both, as {shown(words[0])}"
            )
        labels[name] = words
        for said in reading.given.values():
            if name in said:
                said[name] = words.index(said[name])
        scale = (0, max(1, len(words) - 1))
    else:
        low, high = int(min(values) // 1), int(-(-max(values) // 1))
        scale = reading.scales.get(name) or (low, max(high, low + 1))
    return Criterion(name=name, definition="", steps=(), scale=scale)


def _store(engine: Engine, new: NewStudy, reading: _Reading, *, now: float) -> None:
    check_items(new.items, kind=new.design.kind)
    names = list(dict.fromkeys(rater for rater, _ in reading.given))
    try:
        with writing(engine) as connection:
            study = insert_study(connection, new, now=now, closed_at=now)
            rank = {item.prompt_id: place for place, item in enumerate(new.items)}
            items = dict(zip(reading.items, insert_items(connection, study, new.items, rank), strict=True))
            raters = {name: insert_rater(connection, study, mint(name, is_rehearsal=False), now=now) for name in names}
            shown_slots, said_rows = _rows(study, reading, items, raters, now)
            connection.execute(insert(slots), shown_slots)
            connection.execute(insert(ratings), said_rows)
    except IntegrityError as err:
        raise InputError(
            f"`{new.design.name}` is a study already, of other ratings; give another with `--name`"
        ) from err


def _rows(
    study: int, reading: _Reading, items: Mapping[Key, int], raters: Mapping[str, int], now: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A showing and its rating for each rater and item; when it was is not known, so it took no time."""
    places: dict[str, int] = dict.fromkeys(raters, 0)
    shows, said_rows = [], []
    for (rater, key), said in reading.given.items():
        verdict, left = said.get(VOTE, (None, key[1][0]))
        slot = new_slot(study_id=study, item_id=items[key], rater_id=raters[rater], kind="main", state="rated",
                        position=places[rater], is_flipped=left != key[1][0])  # fmt: skip
        shows.append(slot)
        marks = {} if verdict else said
        said_rows.append({"slot_id": slot["id"], "rater_id": raters[rater], "key": f"imported-{slot['id']}",
                          "action": "vote", "verdict": verdict, "marks": marks, "reason": "", "shown_at": now,
                          "cast_at": now, "is_rehearsal": False})  # fmt: skip
        places[rater] += 1
    return shows, said_rows


def study_name(file: Path) -> str:
    """A study's name from a file's, free of what names may not hold."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", file.stem).lstrip("-.+_")[:80] or "ratings"
