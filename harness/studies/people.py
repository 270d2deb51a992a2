"""Who came to a crowd study and what they did: to approve and pay them, and to say how long it took."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from harness.errors import InputError
from harness.studies.exclusion import rater_qualities
from harness.studies.rating_rows import read_rows
from harness.studies.sql_schema import raters
from harness.studies.studies import Study
from harness.studies.study_design import CrowdDesign

# What sites that send people call them and their visit.
SITES = ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID", "workerId", "assignmentId", "hitId")
_COLUMNS = (
    *SITES, "agreed", "language", "rated", "skipped", "is_complete", "checks_passed", "minutes", "pay", "excluded_for"
)  # fmt: skip


def foretell(crowd: CrowdDesign, *, n_checks: int) -> str:
    """Time and pay by the declared seconds per item, for the owner, before anybody is asked."""
    time, each = f"About {crowd.minutes(n_checks)} min each", crowd.pay(n_checks)
    if not each:
        return f"{time}."
    return f"{time}, {crowd.currency} {each:.2f}; {crowd.currency} {each * crowd.people:.2f} for all."


def write_people(engine: Engine, study: Study, path: Path) -> int:
    """One line a person, with what the site that sent them calls them; returns how many.

    Raises InputError: the study is no crowd's.
    """
    crowd = study.design.crowd
    if crowd is None:
        raise InputError(f"`--format people` is for a study with a `crowd`, got {study.name}, which has a panel")
    lines = [_line(study, crowd, *one) for one in _people(engine, study)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["rater", *_COLUMNS, *(q.ask for q in crowd.questions)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return len(lines)


def _people(engine: Engine, study: Study) -> list[tuple[Any, Any, float]]:
    """Each person's row, quality (None before their first item), and minutes from item to item."""
    rows = read_rows(engine, study)
    known = {quality.rater: quality for quality in rater_qualities(study, rows)}
    with engine.begin() as connection:
        came = connection.execute(select(raters).where(raters.c.study_id == study.id).order_by(raters.c.id)).all()
    seconds: dict[str, list[float]] = {}
    for row in rows:
        if row.seconds is not None:
            seconds.setdefault(row.rater, []).append(row.seconds)
    # Somebody who left for lunch was not at work: nothing counts for more than ten times their usual item.
    return [
        (row, known.get(row.name), sum(min(s, 10 * statistics.median(times)) for s in times) / 60)
        for row in came
        if row.person is not None
        for times in (seconds.get(row.name, []),)
    ]


def _line(study: Study, crowd: CrowdDesign, row: Any, quality: Any, minutes: float) -> dict[str, object]:
    arrival = row.arrival
    n_rated = 0 if quality is None else quality.n_rated
    n_done = n_rated + (0 if quality is None else quality.n_skipped)
    share = min(1.0, n_done / crowd.items)
    told: dict[str, object] = {name: arrival["sent"].get(name, "") for name in SITES}
    told |= {q.ask: arrival.get("answers", {}).get(q.ask, "") for q in crowd.questions}
    return told | {
        "rater": row.name,
        "agreed": "agreed_at" in arrival,
        "language": arrival.get("language", ""),
        "rated": n_rated,
        "skipped": n_done - n_rated,
        "is_complete": n_done >= crowd.items,
        "checks_passed": "" if quality is None or quality.attention is None else f"{quality.attention.value:.2f}",
        "minutes": f"{minutes:.1f}",
        "pay": f"{share * crowd.pay(study.design.attention):.2f}",
        "excluded_for": "" if quality is None else "; ".join(quality.excluded_for),
    }
