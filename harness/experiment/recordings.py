"""Files of replies and scores as part of an experiment: what they answer, and what of them is not looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.errors import InputError
from harness.experiment.imported_scores import ImportedScore
from harness.experiment.measured_arms import Replies, Scored
from harness.experiment.preparing import draw_prompts
from harness.models.recorded import RecordedModel
from harness.types import Absence, Prompt, Variant

N_NAMED = 3  # of the prompts that match nothing


def asked_prompts(
    test: Sequence[Prompt], *, n: int | None, seed: int, files: Iterable[str] = (), common: Sequence[str] = ()
) -> list[Prompt]:
    """`n` prompts of an experiment; where that is open, all that its `files` of replies answer, or all of TEST.

    A prompt that one file answers and another lacks is asked, and missing there; with `common`, files of replies, those
    are asked that all of them answer, as they stand in TEST.

    Raises InputError: there is no such prompt.
    """
    if common:
        answers = [RecordedModel.load(Path(file)).prompt_ids for file in common]
        if shared := [p for p in test if all(p.id in ids for ids in answers)]:
            return shared
        named = ", ".join(f"`{file}`" for file in common)
        raise InputError(
            f"{named} must hold replies to TEST prompts of this data; none of the ids is one: replies to "
            f"{named_few(sorted(set().union(*answers)))}, prompts {named_few(sorted(p.id for p in test))}"
        )
    if n is not None:
        return draw_prompts(test, n=n, seed=seed)
    answered = {key for file in files for key in RecordedModel.load(Path(file)).prompt_ids}
    return draw_prompts([p for p in test if p.id in answered] or test, n=len(test), seed=seed)


def unused_replies(
    variants: Iterable[Variant], *, prompts: Sequence[Prompt], test: Sequence[Prompt]
) -> tuple[Absence, ...]:
    """What a join of files with TEST loses: replies whose prompt is not there or was not drawn, prompts without any."""
    asked, known = {p.id for p in prompts}, {p.id for p in test}
    found = []
    for variant in variants:
        if variant.kind != "file":
            continue
        held = RecordedModel.load(Path(variant.path or "")).prompt_ids
        if lacking := sorted(asked - held):
            said = f"{len(lacking):,} of {len(asked):,} prompts have no reply in `{Path(variant.path or '').name}`"
            found.append(Absence(kind="lost", said=f"{said} ({named_few(lacking)}).", variants=(variant.name,)))
        where = f"prompts in `{Path(variant.path or '').name}`"
        if strangers := sorted(held - known):
            said = f"{len(strangers):,} of {len(held):,} {where} match no test prompt ({named_few(strangers)}): "
            found.append(_unused(said + "their replies were not looked at.", variant.name))
        if undrawn := (held & known) - asked:
            said = f"{len(undrawn):,} of {len(held):,} {where} were not drawn: their replies were not looked at; "
            found.append(_unused(f"{said}ask for {len(known | held):,} prompts, or for all.", variant.name))
    return tuple(found)


def unused_rows(file: str, left_out: Mapping[str, int]) -> tuple[Absence, ...]:
    """Rows of the user's own test file that became no prompt; a limit that was asked for is none of the file's."""
    return tuple(
        Absence(
            kind="unused",
            said=f"{n:,} rows of `{Path(file).name}` were left out ({reason}): raise `data.max_tokens` in "
            "an experiment file, or take them out.",
        )
        for reason, n in left_out.items()
        if "max_tokens" in reason
    )


def unused_scores(measure: str, scores: Sequence[ImportedScore], given: Mapping[str, Scored]) -> tuple[Absence, ...]:
    """Imported scores of these variants that belong to no reply at hand."""
    found = []
    for variant, scored in given.items():
        there = {(place.prompt_id, place.draw) for place in scored.places}
        own = [score for score in scores if score.variant == variant]
        lost = [score for score in own if (score.prompt_id, score.draw) not in there]
        if lost:
            named = named_few([f"{score.prompt_id} draw {score.draw}" for score in lost])
            said = f"{len(lost):,} of {len(own):,} imported scores of `{variant}` match no reply ({named})."
            found.append(Absence(kind="unused", said=said, variants=(variant,), measures=(measure,)))
    return tuple(found)


def shared_draws(replies: Mapping[str, Replies]) -> dict[str, Replies]:
    """The replies whose prompt and draw every variant has: what can be compared in pairs."""
    places = [{(g.prompt_id, g.draw) for g in reply.generations} for reply in replies.values()]
    shared = set.intersection(*places)
    return {
        name: replace(reply, generations=tuple(g for g in reply.generations if (g.prompt_id, g.draw) in shared))
        for name, reply in replies.items()
    }


def unpaired_draws(
    replies: Mapping[str, Replies], shared: Mapping[str, Replies], *, measures: Sequence[str]
) -> tuple[Absence, ...]:
    """Replies that a pairwise judge did not see, since another variant has no such draw."""
    return tuple(
        Absence(
            kind="unused",
            said=f"{n:,} of {len(replies[name].generations):,} replies of `{name}` have no counterpart of their draw: "
            "the pairwise judge did not see them.",
            variants=(name,),
            measures=tuple(measures),
        )
        for name, reply in shared.items()
        if (n := len(replies[name].generations) - len(reply.generations))
    )


def _unused(said: str, variant: str) -> Absence:
    return Absence(kind="unused", said=said, variants=(variant,))


def named_few(keys: Sequence[str]) -> str:
    """The first few of many ids."""
    return ", ".join(f"`{key}`" for key in keys[:N_NAMED]) + (", …" if len(keys) > N_NAMED else "")
