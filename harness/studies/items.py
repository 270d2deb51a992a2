"""What is rated: prompts with one reply (marks) or two (a vote), and the two invented scenes to practise on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import InputError
from harness.seeding import derive, stream
from harness.studies.study_design import StudyDesign, StudyKind
from harness.types import Message

Purpose = Literal["main", "attention", "practice"]
HUMAN, SHUFFLED = "human", "shuffled"  # variants of an attention check; no model bears these names in a study
REPLIES: dict[StudyKind, tuple[int, int]] = {"likert": (1, 1), "pairwise": (2, 2), "audit": (2, 2), "ranking": (3, 6)}
PRACTICE = Path(__file__).with_name("practice.json")
CHOSEN, REJECTED = "chosen", "rejected"  # variants of an audit


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemReply:
    """A reply under its variant's name: never leaves the server."""

    variant: str
    text: str
    draw: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyItem:
    """One thing to rate."""

    purpose: Purpose
    prompt_id: str
    cluster: str
    messages: tuple[Message, ...]
    replies: tuple[ItemReply, ...]  # two to compare, or one to mark
    probability: float | None = None  # with which its prompt was drawn; main items only

    @property
    def group(self) -> str:
        """The pair of variants."""
        return " ".join(sorted(reply.variant for reply in self.replies))


def shown_order(slot: str, n: int, *, is_flipped: bool) -> tuple[int, ...]:
    """Which reply stands where, from the first place on: as stored for two, by the slot's random id for more."""
    if n > 2:
        return tuple(stream(derive(0, slot), "order").permutation(n).tolist())
    return (1, 0) if is_flipped and n == 2 else tuple(range(n))


def check_items(items: tuple[StudyItem, ...], *, kind: StudyKind) -> None:
    """Refuse what cannot be rated.

    Raises:
        InputError: no main item, a wrong number of replies, a probability that is lacking or impossible, or a variant
            under the name of an attention check.
    """
    least, most = REPLIES[kind]
    main = [item for item in items if item.purpose == "main"]
    if not main:
        raise InputError("`items` must hold at least one to rate, got none; does the source have replies?")
    for item in items:
        where = f"item of prompt `{item.prompt_id}`"
        if not least <= len(item.replies) <= most:
            wanted = f"{least}" if least == most else f"{least} to {most}"
            raise InputError(f"{where} must hold {wanted} replies for kind {kind}, got {len(item.replies)}")
        if len({reply.variant for reply in item.replies}) != len(item.replies):
            raise InputError(f"{where} must compare two variants, got {item.replies[0].variant} twice")
    for item in main:
        if item.probability is None or not 0 < item.probability <= 1:
            raise InputError(
                f"item of prompt `{item.prompt_id}` must carry the probability it was drawn with, got "
                f"{item.probability}: draw prompts with `draw_sample`"
            )
        if taken := {HUMAN, SHUFFLED} & {reply.variant for reply in item.replies}:
            raise InputError(f"a variant must not be named {taken.pop()!r}: that is an attention check; rename it")


def n_replies(kind: StudyKind, n_variants: int) -> int:
    """Replies of one item: one to mark, two to compare, all to rank."""
    return {"likert": 1, "ranking": n_variants}.get(kind, 2)


def practice_items(design: StudyDesign, *, is_dialogue: bool = True) -> tuple[StudyItem, ...]:
    """Two invented scenes, or questions, so that nobody learns the keys on an item that counts; a ranking has none.

    In English where there are none in the language.
    """
    if design.kind == "ranking" or not design.practice:
        return ()
    told = json.loads(PRACTICE.read_text(encoding="utf-8"))
    scenes = told.get(design.spoken, told["en"])["scenes" if is_dialogue else "questions"]
    return tuple(
        StudyItem(
            purpose="practice",
            prompt_id=f"practice-{number}",
            cluster="practice",
            messages=_turns(scene["lines"]),
            replies=tuple(
                ItemReply(variant=f"practice-{i}", text=text)
                for i, text in enumerate(scene["replies"][: n_replies(design.kind, 2)])
            ),
        )
        for number, scene in enumerate(scenes, start=1)
    )


def _turns(lines: list[tuple[str | None, str]]) -> tuple[Message, ...]:
    """Lines as turns: the last is answered, so every other one before it is the answerer's."""
    return tuple(
        Message(role="assistant" if (len(lines) - n) % 2 == 0 else "user", content=text, name=name)
        for n, (name, text) in enumerate(lines)
    )
