"""What people (or a judge) said of items, as other tools write it down: one `Answer` for each, whatever the form.

Known: rows of ours and of evalica or Chatbot Arena; exports of Argilla, Label Studio and Potato; survey tables with a
column an item (Google Forms, and what participants of Prolific fill in); marks by rater (`{rater: {item: mark}}`).
The form is told by its keys. What a rater withdrew, drafted or skipped is left out and counted.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness.doors.files import Row
from harness.doors.records import read_records
from harness.doors.text import is_absent, read_id, shown, shown_keys
from harness.errors import CorpusError, InputError

VOTE = "winner"  # the question whose answer is a side
_KEYS: Mapping[str, tuple[str, ...]] = {
    "item": ("item", "item_id", "instance_id", "prompt_id", "question_id", "id"),
    "prompt_id": ("prompt_id", "question_id", "prompt_key"),
    "rater": (
        *("rater", "rater_id", "annotator", "annotator_id", "user_id", "worker_id", "workerid", "participant_id"),
        *("prolific_pid", "prolific_id", "username", "email_address", "email", "responseid", "response_id", "judge"),
        *("submission_id", "user"),
    ),
    "criterion": ("criterion", "dimension", "aspect", "metric", "question"),
    "value": ("value", "mark", "rating", "score", "label", "samples", "all_responses"),
    "scale": ("scale",),
    "cluster": ("cluster", "film", "movie", "dialogue"),
    "variant": ("variant", "model", "system", "system_id"),
    "left": ("left", "left_variant", "model_a", "variant_a"),
    "right": ("right", "right_variant", "model_b", "variant_b"),
    "winner": ("winner", "verdict", "preference"),
}  # fmt: skip
FACTS = ("item", "prompt_id", "cluster", "variant", "left", "right", "scale")
_TIMES = frozenset({"timestamp", "created_at", "updated_at", "lead_time", "annotation_id", "agreement", "status"})
_REGIONS = ("rating", "number", "choices")  # of Label Studio, that hold a mark or a label
_UNFINISHED = frozenset({"draft", "discarded", "pending", "returned", "timed-out", "rejected"})
_GRID = re.compile(r"^(.*\S)\s*\[(.+)\]$", re.DOTALL)  # Google Forms: question [row]
_SPLIT = re.compile(r"\s*(?::::|::|: | - | \| |/)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One rater's answer to one question about one item, not interpreted yet."""

    line: int
    facts: Mapping[str, Any]  # what the row says of the item, by the names in FACTS
    rater: str | None
    question: str | None  # a criterion, VOTE, or None where the row does not name one
    value: Any  # JSON


@dataclass(slots=True, kw_only=True)
class Answers:
    """All that a file holds."""

    form: str
    rows: list[Answer] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)  # why -> how many


@dataclass(frozen=True, slots=True)
class _Wanted:
    items: Collection[str]  # known ones, where an items file was given
    questions: Collection[str]  # to take; none: all that can be read


_Reader = Callable[[Row, _Wanted, Counter[str]], Iterator[Answer]]


def read_answers(path: Path, *, items: Collection[str] = (), questions: Collection[str] = ()) -> Answers:
    """Every answer of a file.

    Args:
        items: the ids there are, which tell items from criteria in survey tables.
        questions: criteria to take; others are left out and counted.

    Raises:
        CorpusError: it is of no known form, or a row is not of the file's form; it names file and line.
    """
    rows = list(read_records(path, of="ratings"))
    try:
        form, read = _form_of(rows[0].value, rows)
    except InputError as err:
        raise CorpusError(path, str(err), line=rows[0].number) from err
    found = Answers(form=form)
    wanted = _Wanted(items, questions)
    for row in rows:
        try:
            for answer in read(row, wanted, found.left_out):
                if _is_wanted(answer, wanted, found.left_out):
                    found.rows.append(answer)
        except InputError as err:
            raise err if isinstance(err, CorpusError) else CorpusError(path, str(err), line=row.number) from err
    if not found.rows:
        why = "; ".join(f"{n} left out: {why}" for why, n in found.left_out.items()) or "none was found"
        raise CorpusError(path, f"must hold at least one rating ({form}), {why}")
    return found


def _is_wanted(answer: Answer, wanted: _Wanted, left_out: Counter[str]) -> bool:
    if answer.value is None or (isinstance(answer.value, str) and is_absent(answer.value)):
        left_out["no answer"] += 1
    elif wanted.questions and answer.question is not None and answer.question not in wanted.questions:
        left_out[f"question `{answer.question}`"] += 1
    else:
        return True
    return False


def _form_of(first: Mapping[str, Any], rows: Sequence[Row]) -> tuple[str, _Reader]:
    """What a file is called and how its rows are read, by the keys of its first row."""
    names = {_name(key) for key in first}
    kinds = {key: type(value) for key, value in first.items()}
    forms: tuple[tuple[bool, str, _Reader], ...] = (
        (kinds.get("responses") is dict and kinds.get("fields") is dict, "Argilla", _argilla),
        (any(key.endswith(".responses.users") for row in rows for key in row.value), "Argilla", _argilla_flat),
        (kinds.get("annotations") is list and kinds.get("data") is dict, "Label Studio", _label_studio),
        ({"annotation_id", "annotator"} <= names, "Label Studio", _columns),
        ({"instance_id", "user_id"} <= names, "Potato", _potato),
        (kinds.get("marks") is dict and "verdict" in first, "a Screentest export", _own_export),
        (all(_keys(first, what) for what in ("winner", "left", "right")), "votes", partial(_mark, is_vote=True)),
        (bool(_keys(first, "value") and _keys(first, "item")), "marks", _mark),
        (len(rows) == 1 and bool(first) and set(kinds.values()) == {dict}, "marks by rater", _by_rater),
        (set(kinds.values()) == {str}, "a survey table", _columns),
    )
    for is_it, form, read in forms:
        if is_it:
            return form, read
    raise InputError(
        "ratings must be rows with `item`, `rater`, `criterion` and `value`, or with `left`, `right` and `winner`, or "
        f"an export of Argilla, Label Studio, Potato or a form, got keys {shown_keys(first)}"
    )


def _name(key: str) -> str:
    return key.strip().lower().replace(" ", "_").removeprefix("\ufeff")


def _keys(row: Mapping[str, Any], what: str) -> str | None:
    """The key that a row has for this, by name."""
    names = {_name(key): key for key in row}
    return next((names[name] for name in _KEYS[what] if name in names), None)


def _get(row: Mapping[str, Any], what: str) -> Any:
    key = _keys(row, what)
    value = None if key is None else row[key]
    return None if isinstance(value, str) and is_absent(value) else value


def _facts(*rows: Mapping[str, Any]) -> dict[str, Any]:
    """What rows say of the item; the first that says anything is believed."""
    found: dict[str, Any] = {}
    for row in rows:
        found = {name: value for name in FACTS if (value := _get(row, name)) is not None} | found
    return found


def _rater(value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("email") or value.get("username") or value.get("id")
    return read_id(value, "rater")


def _object(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object below a key; one that is absent is empty."""
    if not isinstance(value := row.get(key) or {}, Mapping):
        raise InputError(f"`{key}` must be an object, got {shown(value)}")
    return value


def _objects(row: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    """A list of objects below a key; one that is absent is empty."""
    value = row.get(key) or []
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise InputError(f"`{key}` must be a list of objects, got {shown(value)}")
    return value


def _mark(row: Row, wanted: _Wanted, left_out: Counter[str], *, is_vote: bool = False) -> Iterator[Answer]:
    criterion = VOTE if is_vote else _get(row.value, "criterion")
    yield Answer(
        line=row.number,
        facts=_facts(row.value),
        rater=_rater(_get(row.value, "rater")),
        question=None if criterion is None else str(criterion),
        value=_get(row.value, "winner" if is_vote else "value"),
    )


def _own_export(row: Row, wanted: _Wanted, left_out: Counter[str]) -> Iterator[Answer]:
    said = row.value
    if said.get("kind") != "main" or said.get("is_rehearsal") or said.get("is_excluded"):
        left_out["checks, repeats, rehearsals and excluded raters"] += 1
        return
    pair = (
        {"left": said.get("left"), "right": said.get("right")} if said.get("right") else {"variant": said.get("left")}
    )
    facts = {"item": said.get("prompt_id"), "cluster": said.get("cluster"), **pair}
    answers = _object(said, "marks") or {VOTE: said.get("verdict")}
    for question, value in answers.items():
        yield Answer(line=row.number, facts=facts, rater=_rater(said.get("rater")), question=question, value=value)


def _by_rater(row: Row, wanted: _Wanted, left_out: Counter[str]) -> Iterator[Answer]:
    for rater in row.value:
        for item, value in _object(row.value, rater).items():
            yield Answer(line=row.number, facts={"item": item}, rater=rater, question=None, value=value)


def _argilla(row: Row, wanted: _Wanted, left_out: Counter[str]) -> Iterator[Answer]:
    facts = _facts(_object(row.value, "metadata"), _object(row.value, "fields"), {"id": row.value.get("id")})
    responses = _object(row.value, "responses")
    for question in responses:
        for one in _objects(responses, question):
            if str(one.get("status", "submitted")).lower() in _UNFINISHED:
                left_out["drafted or discarded"] += 1
                continue
            yield from _typed(row, facts, _rater(one.get("user_id")), question, one.get("value"), wanted, left_out)


def _argilla_flat(row: Row, wanted: _Wanted, left_out: Counter[str]) -> Iterator[Answer]:
    questions = [key.removesuffix(".responses.users") for key in row.value if key.endswith(".responses.users")]
    for question in questions:
        values, users, states = (
            _listed(row.value.get(f"{question}.responses{end}")) for end in ("", ".users", ".status")
        )
        if len(values) != len(users):
            raise InputError(f"`{question}.responses` must have as many users, got {len(values)} and {len(users)}")
        for place, (value, user) in enumerate(zip(values, users, strict=True)):
            if place < len(states) and str(states[place]).lower() in _UNFINISHED:
                left_out["drafted or discarded"] += 1
                continue
            yield from _typed(row, _facts(row.value), _rater(user), question, value, wanted, left_out)


def _listed(value: Any) -> list[Any]:
    """A list, which a CSV holds as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value or "[]")
        except (ValueError, RecursionError) as err:
            raise InputError(f"a list of responses must be JSON, got {shown(value)}") from err
    if value is None or isinstance(value, list):
        return value or []
    raise InputError(f"responses must be a list, got {shown(value)}")


def _label_studio(row: Row, wanted: _Wanted, left_out: Counter[str]) -> Iterator[Answer]:
    facts = _facts(_object(row.value, "data"), _object(row.value, "meta"), {"id": row.value.get("id")})
    for done in _objects(row.value, "annotations"):
        if done.get("was_cancelled"):
            left_out["skipped by their rater"] += 1
            continue
        rater = _rater(done.get("completed_by"))
        for result in _objects(done, "result"):
            kind, value = str(result.get("type")), _object(result, "value")
            if kind == "pairwise":
                yield Answer(line=row.number, facts=facts, rater=rater, question=VOTE, value=value.get("selected"))
            elif kind in _REGIONS:
                yield from _typed(row, facts, rater, str(result.get("from_name")), value.get(kind), wanted, left_out)
            else:
                left_out[f"answers of type {kind}"] += 1


def _potato(row: Row, wanted: _Wanted, left_out: Counter[str]) -> Iterator[Answer]:
    said, rater = row.value, _rater(row.value.get("user_id"))
    labels = dict(_object(said, "labels") or _object(said, "label_annotations"))
    if not labels:  # a table: a column `schema.label` for each label that somebody gave
        labels = {}
        for key, value in said.items():
            schema, dot, label = key.partition(".") if ":::" not in key else key.partition(":::")
            if dot and not label.startswith("_") and not is_absent(str(value or "")):
                labels[schema] = {**labels.get(schema, {}), label: value}
    for schema, given in labels.items():
        values = list(given.values()) if isinstance(given, dict) else [given]
        value = values[0] if len(values) == 1 else values
        if isinstance(given, dict) and value is True:
            value = next(iter(given))
        yield from _typed(row, _facts(said), rater, schema, value, wanted, left_out)


def _typed(
    row: Row, facts: Mapping[str, Any], rater: str | None, question: str, value: Any, wanted: _Wanted,
    left_out: Counter[str],
) -> Iterator[Answer]:  # fmt: skip
    """An answer of a tool that knows kinds of questions: a mark or one label; free text and several labels are none."""
    one = value[0] if isinstance(value, list) and len(value) == 1 else value
    is_plain = isinstance(one, int | float | str) and not (isinstance(one, str) and len(one.split()) > 2)
    if not is_plain and not (facts.get("left") and isinstance(one, str) and question in wanted.questions):
        if one is not None:
            left_out[f"`{question}`: neither a number nor one label"] += 1
        return
    is_side = isinstance(one, str) and facts.get("left") is not None and facts.get("right") is not None
    yield Answer(line=row.number, facts=facts, rater=rater, question=VOTE if is_side else question, value=one)


def _columns(row: Row, wanted: _Wanted, left_out: Counter[str]) -> Iterator[Answer]:
    """A row a rater with a column an item, or a row a task with a column a question (Label Studio's flat exports)."""
    status = next((str(v) for k, v in row.value.items() if _name(k) == "status"), "")
    if status.strip().lower() in _UNFINISHED:
        left_out[f"submissions {status.strip().lower()}"] += 1
        return
    rater = _rater(_get(row.value, "rater")) or f"response-{row.number}"
    is_task = _keys(row.value, "item") is not None
    known = {name for what in ("rater", *(FACTS if is_task else ())) for name in _KEYS[what]} | _TIMES
    for key, value in row.value.items():
        if _name(key) in known:
            continue
        if is_task:
            value = _flat(value)
            if key in wanted.questions or is_number(value):
                yield Answer(line=row.number, facts=_facts(row.value), rater=rater, question=key, value=value)
            else:
                left_out[f"column `{key[:40]}`"] += 1
        elif (parted := _parted(key, wanted)) is not None:
            item, question = parted
            yield Answer(line=row.number, facts={"item": item}, rater=rater, question=question, value=value)
        else:
            left_out[f"column `{key[:40]}`"] += 1


def _flat(value: Any) -> Any:
    """A cell of Label Studio's flat exports: a plain one, or the one region that was rated, as `[{"rating": 4}]`."""
    regions = _listed(value) if isinstance(value, str) and value.startswith("[{") else value
    if isinstance(regions, list) and len(regions) == 1 and isinstance(regions[0], dict):
        return regions[0].get("rating", regions[0].get("number"))
    return value


def _parted(header: str, wanted: _Wanted) -> tuple[str, str | None] | None:
    """A column's item and criterion: `criterion [item]`, `item [criterion]`, `item: criterion`, or an item alone."""
    if header in wanted.items:
        return header, None
    grid = _GRID.match(header)
    parts: Iterable[str] = grid.groups() if grid else _SPLIT.split(header, maxsplit=1)
    first, *rest = (part.strip() for part in parts)
    if not rest:
        return None
    for item, question in ((rest[0], first), (first, rest[0])):
        is_item = item in wanted.items if wanted.items else bool(grid) and item not in wanted.questions
        if is_item and (not wanted.items or question not in wanted.items):
            return item, question
    return None


def is_number(value: Any) -> bool:
    """Whether a cell is a finite number."""
    try:
        return not isinstance(value, bool) and abs(float(value)) < 1e12
    except (TypeError, ValueError):
        return False
