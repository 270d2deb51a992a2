"""Small studies and raters that vote by a rule: `from panels import a_study, rate_all`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Engine, select

from harness.config import parse
from harness.studies.casting import Cast, Receipt, cast_rating
from harness.studies.items import HUMAN, SHUFFLED, ItemReply, StudyItem, practice_items
from harness.studies.serving import RatingTask, next_task
from harness.studies.sql_schema import items, slots
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
    size = {"likert": 1, "ranking": len(variants)}.get(design.kind, 2)
    groups = list(itertools.combinations(variants, size))
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
    return (*main, *checks, *(practice_items(design.kind, language=design.spoken) if design.practice else ()))


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
        provenance={"source": "made up for a test"},
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


def vote(
    engine: Engine, token: str, slot: str, verdict: VoteVerdict = "left", *, key: str = "", clock: Any = None
) -> Receipt:
    cast = Cast(key=key or f"vote {slot}", action="vote", slot=slot, verdict=verdict)
    return cast_rating(engine, token, cast, clock=clock or Clock())


Rule = Callable[[RatingTask, Any], Cast]


def favouring(variant: str, *, otherwise: VoteVerdict = "tie") -> Rule:
    """Votes for a variant wherever it stands, and for the human line in checks."""

    def rule(task: RatingTask, row: Any) -> Cast:
        names = [r["variant"] for r in row.replies]
        shown = names[::-1] if row.is_flipped else names
        wanted = next((n for n in (variant, HUMAN, "practice-0") if n in shown), None)
        verdict: VoteVerdict = otherwise if wanted is None else ("left" if shown[0] == wanted else "right")
        return Cast(key=f"{task.slot}", action="vote", slot=task.slot, verdict=verdict)

    return rule


def rate_all(engine: Engine, token: str, rule: Rule, *, clock: Any, limit: int = 10_000) -> int:
    """Rate until nothing is left (or `limit` is reached); returns how many ratings that were."""
    for n in range(limit):
        task = next_task(engine, token, clock=clock)
        if not isinstance(task, RatingTask):
            return n
        cast_rating(engine, token, rule(task, hidden(engine, task.slot)), clock=clock)
    return limit
