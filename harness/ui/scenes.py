"""Scenes to play: the TEST prompts of the newest evaluation, or two lines of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.reporting.runs import analyses, record_of
from harness.store.artifacts import read_parquet
from harness.types import Message, Prompt
from harness.ui.gallery import PROMPTS, prepared_by

if TYPE_CHECKING:
    from harness.store.tracking import Tracking

MAX_SCENES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """Scenes to choose from."""

    prompts: tuple[Prompt, ...]
    prepared: str | None  # the run that they come from: playing one is a look at its TEST


def scenes_of_test(tracking: Tracking) -> Scenes:
    """Scenes of held-out films in which both characters have spoken; none before the first evaluation."""
    for info in analyses(tracking, limit=5):
        prepared = prepared_by(record_of(tracking, info.run_id))
        if prepared is not None:
            found = read_parquet(tracking.folder(prepared) / PROMPTS, Prompt)
            return Scenes(prompts=tuple([p for p in found if answerer_of(p)][:MAX_SCENES]), prepared=prepared)
    return Scenes(prompts=(), prepared=None)


def own_scene(*, partner: str, line: str) -> Prompt:
    """A scene that begins with one line.

    Raises:
        InputError: the line is empty.
    """
    if not line.strip():
        raise InputError("`line` must say something to answer, got nothing")
    message = Message(role="user", content=line.strip(), name=partner.strip() or None)
    return Prompt(id="own", messages=(message,), split="test", cluster="own scene")


def scene_title(prompt: Prompt) -> str:
    """Characters and last line, for a list."""
    names = list(dict.fromkeys(m.name for m in prompt.messages if m.name))
    last = prompt.messages[-1].content.replace("\n", " ")
    return f"{prompt.cluster} · {' and '.join(names) or 'two characters'} · {last[:60]}"


def answerer_of(prompt: Prompt) -> str:
    """Whose line is next, where the scene tells."""
    return next((m.name for m in reversed(prompt.messages) if m.role == "assistant" and m.name), "")


def partner_of(prompt: Prompt) -> str:
    """Who speaks with them."""
    return next((m.name for m in reversed(prompt.messages) if m.role == "user" and m.name), "")
