"""Small studies and raters that vote by a rule: `from panels import a_study, favouring, seats`."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, func, select

from harness.config import parse
from harness.studies.casting import Action, Cast, Receipt, cast_rating
from harness.studies.items import HUMAN, SHUFFLED, ItemReply, StudyItem, n_replies, practice_items
from harness.studies.links import Link
from harness.studies.serving import Finished, RatingTask, next_task
from harness.studies.sql_schema import items, ratings, slots
from harness.studies.studies import Created, NewStudy, create_study
from harness.studies.study_design import StudyDesign
from harness.types import Criterion, Message, VoteVerdict

CRITERIA = tuple(
    Criterion(name=name, definition=f"How {name} it is.", steps=("Read.", "Mark.")) for name in ("fluent", "relevant")
)


class Clock:
    """A clock that a test moves; every reading is a second later."""

    def __init__(self, now: float = 1_000_000.0, step: float = 1.0) -> None:
        self.now, self.step = now, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now

    def pass_minutes(self, minutes: float) -> None:
        self.now += 60 * minutes


def a_design(**changes: Any) -> StudyDesign:
    kind = changes.get("kind", "pairwise")
    source: dict[str, Any] = {"pairs": "pairs.jsonl"} if kind == "audit" else {"run": "latest"}
    data = {
        "schema": 1,
        "name": "which-is-better",
        "question": "Which line belongs in the scene?",
        "kind": kind,
        "source": source,
        "target": {"prompts": 4},
        "criteria": [c.name for c in CRITERIA] if kind == "likert" else [],
        "repeats": 0.0,
        "attention": 0,
        "practice": False,
        "exclusion": {"min_seconds": None},
        **changes,
    }
    return parse(data, StudyDesign, where="test")


def the_items(
    design: StudyDesign, *, n_prompts: int = 4, variants: Sequence[str] = ("base", "sft"), films: int | None = None
) -> tuple[StudyItem, ...]:
    """Main items for every prompt, then attention checks and practice as the design asks."""
    groups = list(itertools.combinations(variants, n_replies(design.kind, len(variants))))
    main = [
        _item("main", f"p{i}", f"film{i % (films or n_prompts)}", [(v, f"{v} says {i}") for v in group], 0.5)
        for i in range(n_prompts)
        for group in groups
    ]
    human = (HUMAN, "the line as it was spoken")
    shuffled = (SHUFFLED, "spoken was it as line the")
    checks = [
        _item("attention", f"a{i}", "film-a", [shuffled] if design.kind == "likert" else [human, shuffled], None)
        for i in range(design.attention)
    ]
    return (*main, *checks, *practice_items(design))


def _item(
    purpose: Any, prompt: str, film: str, replies: Sequence[tuple[str, str]], probability: float | None
) -> StudyItem:
    return StudyItem(
        purpose=purpose,
        prompt_id=prompt,
        cluster=film,
        messages=(
            Message(role="assistant", content="I was out.", name="ANN"),
            Message(role="user", content=f"Where, {prompt}?", name="BEN"),
        ),
        replies=tuple(ItemReply(variant=variant, text=text) for variant, text in replies),
        probability=probability,
    )


def a_study(
    engine: Engine,
    *,
    n_prompts: int = 4,
    variants: Sequence[str] = ("base", "sft"),
    films: int | None = None,
    split: Any = "test",
    clock: Callable[[], float] | None = None,
    **changes: Any,
) -> Created:
    design = a_design(**changes)
    new = NewStudy(
        design=design,
        split=split,
        items=the_items(design, n_prompts=n_prompts, variants=variants, films=films),
        criteria=CRITERIA if design.kind == "likert" else (),
        lineage={"source": "made up for a test"},
        plan="Enough for a test.",
        n_population=2 * n_prompts,
    )
    return create_study(engine, new, clock=clock or Clock())


def hidden(engine: Engine, slot: str) -> Any:
    """What the owner knows of a slot: its row joined with its item."""
    with engine.begin() as connection:
        joined = select(slots.c.kind, slots.c.is_flipped, slots.c.item_id, items.c.replies, items.c.prompt_id)
        query = joined.join(items, items.c.id == slots.c.item_id).where(slots.c.id == slot)
        return connection.execute(query).one()


Rule = Callable[[RatingTask, Any], Cast]  # of what is shown, and of what the owner knows of it


def sides(row: Any) -> list[str]:
    """The variants of a pair, from the left on."""
    return [reply["variant"] for reply in row.replies][:: -1 if row.is_flipped else 1]


def cast_for(task: RatingTask, **said: Any) -> Cast:
    """A vote, unless `said` is of another action, under a key that the slot gives."""
    return Cast(**{"key": task.slot, "action": "vote", "slot": task.slot, **said})


def saying(what: Callable[[Any], str]) -> Rule:
    """Votes for what is said of a row: a variant wherever it stands, or a verdict."""

    def rule(task: RatingTask, row: Any) -> Cast:
        said, names = what(row), sides(row)
        return cast_for(task, verdict=("left", "right")[names.index(said)] if said in names else said)

    return rule


def favouring(variant: str, *, otherwise: VoteVerdict = "tie") -> Rule:
    """Votes for a variant wherever it stands, and for the human line in checks."""
    return saying(lambda row: next((n for n in (variant, HUMAN, "practice-0") if n in sides(row)), otherwise))


def rate_all(engine: Engine, token: str, rule: Rule, *, clock: Any, limit: int = 10_000) -> int:
    """Rate until nothing is left (or `limit` is reached); returns how many ratings that were."""
    for n in range(limit):
        task = next_task(engine, token, clock=clock)
        if not isinstance(task, RatingTask):
            return n
        cast_rating(engine, token, rule(task, hidden(engine, task.slot)), clock=clock)
    return limit


@dataclass(frozen=True)
class Seat:
    """A rater at their page."""

    engine: Engine
    token: str
    clock: Clock

    def task(self) -> RatingTask | Finished:
        return next_task(self.engine, self.token, clock=self.clock)

    def due(self) -> RatingTask:
        task = self.task()
        assert isinstance(task, RatingTask)
        return task

    def cast(self, action: Action, slot: str | None = None, *, key: str = "", **said: Any) -> Receipt:
        cast = Cast(key=key or uuid.uuid4().hex, action=action, slot=slot, **said)
        return cast_rating(self.engine, self.token, cast, clock=self.clock)

    def vote(self, slot: str | None = None, verdict: VoteVerdict = "left", *, key: str = "") -> Receipt:
        """On a slot, or on the one that is due."""
        return self.cast("vote", slot or self.due().slot, key=key, verdict=verdict)

    def rate(self, rule: Rule, *, limit: int = 10_000) -> int:
        return rate_all(self.engine, self.token, rule, clock=self.clock, limit=limit)


def seats(engine: Engine, created: Created, *links: Link, clock: Clock | None = None) -> list[Seat]:
    """The raters of a study, or those of some links, who share a clock."""
    together = clock or Clock()
    return [Seat(engine, link.token, together) for link in links or created.links]


def n_rows(engine: Engine) -> int:
    """Ratings of any kind in the store."""
    with engine.begin() as connection:
        return int(connection.execute(select(func.count()).select_from(ratings)).scalar_one())
