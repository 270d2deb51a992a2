"""What is rated: prompts with one reply (marks) or two (a vote), and the two invented scenes to practise on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.errors import InputError
from harness.seeding import derive, stream
from harness.studies.design import StudyKind
from harness.types import Message

Purpose = Literal["main", "attention", "practice"]
HUMAN, SHUFFLED = "human", "shuffled"  # variants of an attention check; no model bears these names in a study
REPLIES: dict[StudyKind, tuple[int, int]] = {"likert": (1, 1), "pairwise": (2, 2), "audit": (2, 2), "ranking": (3, 6)}
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


def practice_items(kind: StudyKind, *, is_dialogue: bool = True) -> tuple[StudyItem, ...]:
    """Two invented scenes, or questions, so that nobody learns the keys on an item that counts; a ranking has none."""
    if kind == "ranking":
        return ()
    return tuple(
        StudyItem(
            purpose="practice",
            prompt_id=f"practice-{number}",
            cluster="practice",
            messages=messages,
            replies=tuple(ItemReply(variant=f"practice-{i}", text=text) for i, text in enumerate(texts))[
                : 1 if kind == "likert" else 2
            ],
        )
        for number, (messages, texts) in enumerate(_SCENES if is_dialogue else _QUESTIONS, start=1)
    )


_SCENES = (
    (
        (
            Message(role="user", content="You kept the lighthouse running all winter? Alone?", name="MARA"),
            Message(role="assistant", content="There was the dog.", name="OLD TOBIN"),
            Message(role="user", content="And what did the dog do?", name="MARA"),
        ),
        ("Complained, mostly. Same as you.", "The lighthouse is a tower with a lamp on it."),
    ),
    (
        (Message(role="user", content="Somebody has been sitting in the director's chair again.", name="PRIYA"),),
        ("I only wanted to see what it all looks like from there.", "Chair chair the director the director's chair."),
    ),
)
_QUESTIONS = (
    (
        (Message(role="user", content="Why does ice float on water?"),),
        ("Water expands as it freezes, so ice weighs less than the water around it.", "Ice and water are both cold."),
    ),
    (
        (Message(role="user", content="Name a fruit that is yellow and long."),),
        ("A banana.", "Yellow is a colour, and long is a length of a fruit that is yellow."),
    ),
)
