"""Pairs collected in the chat, and the rating study that is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config import parse
from harness.store.artifacts import digest_file, digest_json, to_json, write_jsonl
from harness.studies.items import ItemReply, StudyItem, practice_items
from harness.studies.studies import Created, NewStudy, create_study
from harness.studies.study_design import StudyDesign
from harness.types import Message

if TYPE_CHECKING:
    from sqlalchemy import Engine

PLAN = "The pairs were picked by hand in the chat: what is said holds for these pairs, not for a population of prompts."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two variants' replies to one conversation."""

    cluster: str  # of the prompt
    messages: tuple[Message, ...]
    replies: tuple[ItemReply, ItemReply]  # in the order of the variants' names

    @property
    def id(self) -> str:
        """The same for the same turns and replies."""
        return f"chat-{digest_json(to_json(self))[:16]}"


def make_pair(cluster: str, turns: Sequence[Message], lines: Sequence[tuple[str, str]]) -> Pair:
    """A pair of (variant, line)."""
    first, second = (ItemReply(variant=variant, text=text) for variant, text in sorted(lines))
    return Pair(cluster=cluster, messages=tuple(turns), replies=(first, second))


def study_of(
    engine: Engine, pairs: Sequence[Pair], *, name: str, question: str, raters: int, folder: Path, rehearsal: bool
) -> Created:
    """A pairwise study of hand-picked pairs; the pairs are kept in a file that the study names.

    Raises:
        InputError: the name is taken, or fewer than two pairs.
    """
    unique = list({pair.id: pair for pair in pairs}.values())
    file = folder / f"{name}.jsonl"
    variants = sorted({reply.variant for pair in unique for reply in pair.replies})
    design = parse(
        {
            "schema": 1,
            "name": name,
            "question": question,
            "kind": "pairwise",
            "source": {"generations": {_plain(v): file.name for v in variants}, "data": file.name},
            "panel": {"raters": raters},
            "target": {"prompts": len(unique)},
            "attention": 0,  # there is no human reply to plant
            "rehearsal": rehearsal,
        },
        StudyDesign,
        where="the chat",
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(file, unique)
    has_names = any(message.name for pair in unique for message in pair.messages)
    items = tuple(
        StudyItem(
            purpose="main",
            prompt_id=pair.id,
            cluster=pair.cluster,
            messages=pair.messages,
            replies=pair.replies,
            probability=1.0,  # all of them are rated
        )
        for pair in unique
    )
    new = NewStudy(
        design=design,
        split="test",
        items=(*items, *practice_items(design, is_dialogue=has_names)),
        lineage={"chat": digest_file(file)},
        plan=PLAN,
        n_population=len(unique),
    )
    return create_study(engine, new)


def _plain(variant: str) -> str:
    """A variant's name as study files spell it: `film@candidate` has a sign that names may not have."""
    return variant.replace("@", "-").replace("/", "-")
