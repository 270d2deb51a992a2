"""Whether replies are like people's: how well a classifier tells them apart, how near they stay to the last turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from harness.measures.detectability import MIN_FILMS, Detection, detect, features
from harness.measures.measure import Measure, MeasuredReply, Taken
from harness.measures.text_measures import blank_row, reply_status
from harness.seeding import stream
from harness.stats.rows import Floats, code_labels
from harness.types import Generation, Prompt, SmallestEffect

if TYPE_CHECKING:
    from harness.models.encoder import Encoder
    from harness.models.protocol import OnProgress

REVISION = 2  # raise when a function here would give other values
ENOUGH_FILMS = 10  # with fewer a classifier has little to learn from
SHOWN = 0.3  # standard deviations from which a difference is named


def detectability_rows(
    generations: Sequence[Generation],
    prompts: Sequence[Prompt],
    *,
    encoder: Encoder,
    on_progress: OnProgress | None = None,
) -> Taken:
    """A row per reply, each variant by itself against people's replies to the prompts that it answered."""
    by_id = {prompt.id: prompt for prompt in prompts}
    beside = [text for prompt in prompts for text in (_last_turn(prompt), _said_by_a_person(prompt))]
    vectors = _encoded(encoder, [*_texts(generations), *beside], on_progress)
    rows, remarks = [_asked(g, by_id[g.prompt_id]) for g in generations], {}
    by_variant: dict[str, list[int]] = {}
    for place, generation in enumerate(generations):
        by_variant.setdefault(generation.variant, []).append(place)
    for variant, places in by_variant.items():
        known = [place for place in places if rows[place].status == "ok"]
        n_films = len({rows[place].cluster for place in known})
        if n_films < MIN_FILMS:
            for place in known:
                why = f"replies of {MIN_FILMS} films are needed, to fit on some and read another; there are {n_films}"
                rows[place] = replace(rows[place], status="unsupported", reason=why)
            continue
        found = _detection([generations[place] for place in known], by_id, vectors)
        for place, value, margin in zip(known, found.rows, found.margins, strict=True):
            rows[place] = replace(rows[place], value=float(value), margin=float(margin))
        remarks[variant] = _said(found, n_films)
    return Taken(rows=tuple(rows), remarks=remarks)


def context_similarity_rows(
    generations: Sequence[Generation],
    prompts: Sequence[Prompt],
    *,
    encoder: Encoder,
    on_progress: OnProgress | None = None,
) -> Taken:
    """Cosine of each reply and the turn that it answers."""
    by_id = {prompt.id: prompt for prompt in prompts}
    vectors = _encoded(encoder, [*_texts(generations), *map(_last_turn, prompts)], on_progress)
    rows = []
    for generation in generations:
        row = blank_row(generation)
        if row.status == "ok":
            turn = vectors[_last_turn(by_id[generation.prompt_id])]
            row = replace(row, value=float(vectors[generation.text] @ turn))
        rows.append(row)
    return Taken(rows=tuple(rows))


MEASURES = (
    Measure(
        name="detectability",
        label="Detectability",
        unit="share",
        better="lower",
        description=(
            "How well a classifier that has seen other films tells the replies from people's: given one of each, how "
            "often it picks the model's (ROC AUC). 50 % is guessing: nothing tells them apart. A reply's margin is the "
            "share of people's replies that it holds for a model's sooner."
        ),
        phrase=("is harder to tell from people", "is easier to tell from people"),
        meaning="a classifier finds it in {own} instead of {others} of pairs",
        origin="people",
        smallest_effect=SmallestEffect(value=0.05, unit="share"),
        take=detectability_rows,
        margin="Margin of detectability",
        code=f"detectability {REVISION}",
    ),
    Measure(
        name="context_similarity",
        label="Nearness to the last turn",
        unit="cosine",
        better=None,
        description=(
            "Cosine of a reply and the turn that it answers, as a sentence encoder reads them: 0 is unrelated, 1 says "
            "the same. Replies that keep to the context are nearer, and an echo is nearest."
        ),
        origin="replies",
        take=context_similarity_rows,
        code="context_similarity 1",
    ),
)


def _encoded(encoder: Encoder, texts: Sequence[str], on_progress: OnProgress | None) -> dict[str, Floats]:
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, encoder.encode(distinct, on_progress=on_progress), strict=True))


def _texts(generations: Sequence[Generation]) -> list[str]:
    return [g.text for g in generations if reply_status(g) == "ok"]


def _asked(generation: Generation, prompt: Prompt) -> MeasuredReply:
    """A reply's row before it has a value: one without text, or without a person's reply beside it, gets none."""
    row = blank_row(generation)
    if row.status == "ok" and not _said_by_a_person(prompt):
        return replace(row, status="unsupported", reason="the prompt has no reference")
    return row


def _said_by_a_person(prompt: Prompt) -> str:
    return (prompt.reference or "").strip()


def _last_turn(prompt: Prompt) -> str:
    return prompt.messages[-1].content


def _detection(known: Sequence[Generation], by_id: Mapping[str, Prompt], vectors: Mapping[str, Floats]) -> Detection:
    answered = [by_id[prompt_id] for prompt_id in dict.fromkeys(g.prompt_id for g in known)]
    place = {prompt.id: i for i, prompt in enumerate(answered)}

    def seen(texts: list[str], to: list[Prompt]) -> Floats:
        turns = np.array([vectors[_last_turn(prompt)] for prompt in to])
        return features(np.array([vectors[text] for text in texts]), turns, texts)

    return detect(
        seen([_said_by_a_person(prompt) for prompt in answered], answered),
        seen([g.text for g in known], [by_id[g.prompt_id] for g in known]),
        owners=np.array([place[g.prompt_id] for g in known]),
        films=code_labels("clusters", [prompt.cluster for prompt in answered]).codes,
        rng=stream(0, "detectability"),
    )


def _said(found: Detection, n_films: int) -> tuple[str, ...]:
    """What a person wants to know beside the number."""
    how = (
        f"p {'=' if found.p_value > 0.001 else '≤'} {found.p_value:.3f}, whose replies are whose shuffled film by film"
    )
    named = ", ".join(f"{words} ({size:.1f})" for words, size in found.giveaways if size >= SHOWN)
    said = [f"Told from people's replies {'beyond' if found.p_value < 0.05 else 'no better than by'} chance ({how})."]
    said.append(f"What shows at a glance, in standard deviations: {named or 'nothing'}.")
    if n_films < ENOUGH_FILMS:
        said.append(
            f"A classifier learns little from {n_films} films: near 50 % does not show that nothing tells them."
        )
    return tuple(said)
