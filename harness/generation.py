"""Variants × prompts → generations: resumable, of the allowed splits only, each with how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.composing import compose
from harness.errors import InputError, SplitError
from harness.models.chat_templates import chat_messages
from harness.models.protocol import (
    Agreement,
    Drawn,
    LanguageModel,
    OnProgress,
    Repeatable,
    Reply,
    ReplyRequest,
    adapter_name,
    require,
)
from harness.store.artifacts import Journal, to_json
from harness.types import Decoding, Generation, JsonObject, Progress, Prompt, Split, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationCount:
    """How a variant's replies ended."""

    variant: str
    n: int  # generations, failed ones included
    n_cut_off: int  # ran into the length cap
    n_failed: int  # there is no reply: missing in every measure
    n_refused: int  # of those, the ones that the model refused
    n_thinking: int  # came with thinking, which is kept beside the reply
    n_repaired: int  # characters that could not be stored
    n_tokens: int  # generated tokens where known, thinking included


_Place = tuple[str, str, int]  # which generation a reply is: variant, prompt, draw


def generate(
    model: LanguageModel,
    variants: Sequence[Variant],
    prompts: Sequence[Prompt],
    *,
    decoding: Decoding,
    allowed_splits: Collection[Split],
    journal: Path | None = None,
    on_progress: OnProgress | None = None,
) -> list[Generation]:
    """Generate for every variant, prompt and draw, in this order.

    Args:
        model: answers for all the variants: one base with their adapters added, an endpoint, or a file.
        journal: file that keeps what is complete; called again after a kill, only the rest is generated.
        on_progress: gets replies done of all, with the rate and the share cut off so far.

    Raises:
        SplitError: a prompt is of another split.
        InputError: ids or names stand twice, or the journal is of another decoding.
    """
    _validate(variants, prompts, allowed_splits)
    require(model, "generate", who="generation")
    store = None if journal is None else Journal(journal, Generation)
    done = {} if store is None else _resume(store, decoding)
    clusters = {prompt.id: prompt.cluster for prompt in prompts}
    wanted = {
        (variant.name, prompt.id, draw): (variant, prompt)
        for variant in variants
        for prompt in prompts
        for draw in (model.draws_of(prompt.id) if isinstance(model, Drawn) else range(decoding.n_draws))
    }
    requests = [reply_request(*wanted[place], draw=place[2]) for place in wanted if place not in done]
    ended = Counter(generation.finish_reason for generation in done.values())

    def keep(reply: Reply) -> None:
        own = {"prompt_id": reply.key, "variant": reply.tag, "cluster": clusters[reply.key]}
        generation = compose(Generation, reply, **own, seed=decoding.seed, reason=reply.error)
        if store is not None:
            store.append(generation)
        done[_place(generation)] = generation
        ended[generation.finish_reason] += 1

    def relay(progress: Progress) -> None:
        """Of the whole instead of the rest, with the share cut off so far."""
        if on_progress is not None:
            note = f"{progress.note}, {ended['length'] / max(ended.total(), 1):.0%} cut off"
            n_before = len(wanted) - len(requests)
            on_progress(Progress(done=n_before + progress.done, total=len(wanted), unit=progress.unit, note=note))

    if requests:
        model.generate(requests, decoding=decoding, on_reply=keep, on_progress=relay if on_progress else None)
    return [done[place] for place in wanted]


def decoding_json(decoding: Decoding) -> JsonObject:
    """A decoding as it decides a stage: a setting that came later is left out where it changes nothing."""
    data = dict(to_json(decoding))
    return data if decoding.keep_thinking else {key: value for key, value in data.items() if key != "keep_thinking"}


def agreement(
    model: LanguageModel,
    variant: Variant,
    prompts: Sequence[Prompt],
    generations: Sequence[Generation],
    *,
    decoding: Decoding,
) -> Agreement | None:
    """How often a reply is the same when generated alone; None where that is certain, or the model cannot say."""
    if not isinstance(model, Repeatable) or model.is_batch_invariant:
        return None
    by_id = {prompt.id: prompt for prompt in prompts}
    whole = [g for g in generations if not g.is_missing]
    if not whole:
        return None
    requests = [reply_request(variant, by_id[g.prompt_id], draw=g.draw) for g in whole]
    return model.agreement_rate(requests, [g.text for g in whole], decoding=decoding)


def count(generations: Iterable[Generation]) -> list[GenerationCount]:
    """How each variant's replies ended, in the order in which variants first appear."""
    groups: dict[str, list[Generation]] = {}
    for generation in generations:
        groups.setdefault(generation.variant, []).append(generation)
    return [
        GenerationCount(
            variant=variant,
            n=len(group),
            n_cut_off=sum(g.finish_reason == "length" for g in group),
            n_failed=sum(g.is_missing for g in group),
            n_refused=sum(g.finish_reason == "refused" for g in group),
            n_thinking=sum(bool(g.thinking) for g in group),
            n_repaired=sum(g.n_repaired for g in group),
            n_tokens=sum(g.n_tokens or 0 for g in group),
        )
        for variant, group in groups.items()
    ]


def _validate(variants: Sequence[Variant], prompts: Sequence[Prompt], allowed_splits: Collection[Split]) -> None:
    for prompt in prompts:
        if prompt.split not in allowed_splits:
            raise SplitError(
                f"`{prompt.id}` must be of split {' or '.join(sorted(allowed_splits))} here, got {prompt.split}; "
                "choose other prompts"
            )
    for what, names in (("variants", [v.name for v in variants]), ("prompts", [p.id for p in prompts])):
        twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
        if twice is not None:
            raise InputError(f"`{what}` must all be different, got `{twice}` twice; drop one or rename it")


def _resume(store: Journal[Generation], decoding: Decoding) -> dict[_Place, Generation]:
    done: dict[_Place, Generation] = {}
    for generation in store.records():
        if generation.seed != decoding.seed:
            raise InputError(
                f"`{store.path}` must be of seed {decoding.seed} to be continued, got seed {generation.seed}; "
                "delete it or name another file"
            )
        done[_place(generation)] = generation
    return done


def _place(generation: Generation) -> _Place:
    return generation.variant, generation.prompt_id, generation.draw


def reply_request(variant: Variant, prompt: Prompt, *, draw: int) -> ReplyRequest:
    """How a variant is asked for a draw of its reply to a prompt."""
    return ReplyRequest(
        key=prompt.id,
        draw=draw,
        messages=chat_messages(prompt.messages, system=variant.system, shots=variant.shots),
        adapter=None if variant.adapter is None else adapter_name(variant.adapter),
        tag=variant.name,
    )
