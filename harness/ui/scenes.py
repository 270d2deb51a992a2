"""Conversations to play: the TEST prompts of the newest evaluation, or a first line of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.reporting.finished_reports import analyses, record_of
from harness.store.artifacts import read_parquet
from harness.store.prepared import read_summary
from harness.task_kinds import DIALOGUE, TASKS
from harness.types import Message, Prompt
from harness.ui.drawing import last_speaker
from harness.ui.gallery import PROMPTS, prepared_by

if TYPE_CHECKING:
    from harness.store.tracking import Tracking

MAX_SCENES = 400
SCENE = "scene"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """Conversations to choose from."""

    prompts: tuple[Prompt, ...] = ()
    prepared: str | None = None  # the run that they come from: playing one is a look at its TEST
    noun: str = "conversation"  # what one of them is called
    system: str | None = None  # what their variants were asked with, where an adapter has none of its own


def scenes_of_test(tracking: Tracking) -> Scenes:
    """Held-out prompts, of films those in which both characters have spoken; none before the first evaluation."""
    for info in analyses(tracking, limit=5):
        record = record_of(tracking, info.run_id)
        if (prepared := prepared_by(record)) is not None:
            folder = tracking.folder(prepared)
            kind, summary = TASKS.get(str(record.config.get("task")), DIALOGUE), read_summary(folder)
            is_film = summary.cluster_unit == "film"
            held_out = read_parquet(folder / PROMPTS, Prompt)
            kept = [p for p in held_out if last_speaker(p.messages, "assistant") or not is_film][:MAX_SCENES]
            noun = SCENE if is_film else "conversation" if kind.is_dialogue else kind.noun
            return Scenes(prompts=tuple(kept), prepared=prepared, noun=noun, system=summary.system)
    return Scenes()


def own_scene(*, partner: str, line: str) -> Prompt:
    """A conversation that begins with one line.

    Raises:
        InputError: the line is empty.
    """
    if not line.strip():
        raise InputError("`line` must say something to answer, got nothing")
    message = Message(role="user", content=line.strip(), name=partner.strip() or None)
    return Prompt(id="own", messages=(message,), split="test", cluster="own")


def scene_title(prompt: Prompt) -> str:
    """Who speaks, and the last line, for a list."""
    names = " and ".join(dict.fromkeys(m.name for m in prompt.messages if m.name))
    last = " ".join(prompt.messages[-1].content.split())
    return " · ".join(filter(None, (prompt.cluster, names, last[:60])))
