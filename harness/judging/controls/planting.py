"""Planting controls: which faults are planted for which criterion, and in which replies.

A family stands under a criterion only where a careful reader would call it a fault in that criterion: a stock reply is
perfectly fluent, and a looped phrase contradicts nothing. Planted there, it would disqualify the best judge. Replies
to requests have faults of their own: the answer to another request, a number that the request gives otherwise.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from harness import seeding
from harness.errors import InputError, SplitError
from harness.judging.controls import faults, unseen
from harness.judging.controls.foreign import ForeignReplies
from harness.judging.controls.unseen import Plant
from harness.store.artifacts import read_jsonl
from harness.task_kinds import DIALOGUE, TaskKind
from harness.types import ControlItem, ControlKind, Prompt

_DERAILED: Mapping[str, ControlKind] = {  # what a reply to this conversation must not be
    "echo": "adversarial",
    "looped": "adversarial",
    "stock": "adversarial",
    "generic": "adversarial",
    "cut_off": "adversarial",
}
_GARBLED: Mapping[str, ControlKind] = {
    "shuffled_words": "discrimination",
    "corrupted_word": "discrimination",
    "looped": "adversarial",
    "cut_off": "adversarial",
}
FAMILIES: Mapping[str, Mapping[str, ControlKind]] = MappingProxyType(
    {
        "coherence": {"other_film": "discrimination", **_DERAILED},
        "relevance": {"other_film": "discrimination", **_DERAILED},
        "fluency": _GARBLED,
        # An echo speaks as the other person, an assistant's phrase as nobody in the film; a shrug is no contradiction.
        "consistency": {"contradiction": "discrimination", "echo": "adversarial", "generic": "adversarial"},
    }
)
# Of tasks other than dialogue.
FAMILIES_OF_ANSWERS: Mapping[str, Mapping[str, ControlKind]] = MappingProxyType(
    {
        # Another town in the place of the right one is no answer, but hangs together.
        "coherence": {**_DERAILED, "shuffled_words": "discrimination"},
        "relevance": {**_DERAILED, "other_answer": "discrimination"},
        "fluency": _GARBLED,
        "consistency": {"wrong_number": "discrimination"},
    }
)
# What no learned judge is taught, and what is planted for it besides.
UNSEEN: Mapping[str, Mapping[str, ControlKind]] = MappingProxyType(
    {
        "coherence": {
            "comment": "adversarial",
            "narration": "adversarial",
            "instruction": "adversarial",
            "turn_before": "adversarial",
            "others_line": "adversarial",
            # They contradict what was said, which is a matter of consistency.
            "negated": "beside",
            "swapped_name": "beside",
        },
        "fluency": {
            "swapped_neighbours": "discrimination",
            "backwards": "discrimination",
            "wrong_forms": "discrimination",
            "telegraphic": "discrimination",
            "run_together": "adversarial",
            "doubled": "adversarial",
        },
    }
)
PLANTED: Mapping[str, Plant] = MappingProxyType(
    {
        "shuffled_words": lambda host, rng: faults.shuffled_words(host.reference or "", rng=rng),
        "corrupted_word": lambda host, rng: faults.corrupted_word(host.reference or "", rng=rng),
        "echo": lambda host, rng: host.messages[-1].content,
        "looped": lambda host, rng: faults.looped(host.reference or ""),
        "stock": lambda host, rng: faults.STOCK_REPLY,
        "generic": lambda host, rng: faults.GENERIC_REPLIES[int(rng.integers(len(faults.GENERIC_REPLIES)))],
        "cut_off": lambda host, rng: faults.cut_off(host.reference or ""),
        "wrong_number": lambda host, rng: faults.wrong_number(
            host.reference or "", " ".join(m.content for m in host.messages)
        ),
        **unseen.PLANTED,
    }
)
MIN_WORDS, MAX_WORDS = 4, 40  # of a true reply: shorter ones offer no place for a fault, longer ones cost too much
MIN_WORDS_OF_AN_ANSWER, MAX_WORDS_OF_AN_ANSWER = 1, 200


def make_control_set(
    prompts: Sequence[Prompt],
    *,
    seed: int,
    n: int,
    criteria: Sequence[str],
    allow_test: bool = False,
    with_unseen: bool = False,
    kind: TaskKind = DIALOGUE,
) -> list[ControlItem]:
    """Controls of some criteria: `n` true replies at most, each with one control per family, sharing their context.

    True replies are the prompts' references of 4 to 40 words, in other tasks up to 200. They are the same for every
    criterion, so that a judge of several criteria encodes each context once. `consistency` of dialogue is planted in
    the reviewed contexts that ship with the package. `with_unseen` plants what no learned judge is taught as well. A
    criterion that nothing is planted for has no controls: of a judge of such criteria alone nothing is known.

    Raises SplitError on a TEST prompt unless `allow_test`.
    """
    known = [criterion for criterion in criteria if criterion in FAMILIES]  # those of answers have the same names
    if not known:
        return []
    _validate(prompts, n=n, allow_test=allow_test)
    drawn = int(seeding.stream(seed, "controls").integers(2**62))
    return [
        item
        for criterion in known
        for item in _controls(prompts, criterion, seed=drawn, n=n, with_unseen=with_unseen, kind=kind)
    ]


def _controls(
    prompts: Sequence[Prompt], criterion: str, *, seed: int, n: int, with_unseen: bool, kind: TaskKind
) -> list[ControlItem]:
    families = {**families_of(kind)[criterion], **(UNSEEN.get(criterion, {}) if with_unseen else {})}
    contradictions = {item.id: item for item in reviewed_contradictions()} if "contradiction" in families else {}
    hosts = [_host(item) for item in contradictions.values()] or [p for p in prompts if _can_host(p, kind)]
    hosts = spread_over_films(hosts, seed=seed)[:n]
    planted: dict[str, Plant] = {**PLANTED, "contradiction": lambda host, rng: contradictions[host.id].control_reply}
    if {"other_film", "other_answer", "swapped_name"} & families.keys():
        foreign = ForeignReplies(prompts)
        name_all = functools.partial(foreign.pick, may_name=True)
        planted |= {"other_film": foreign.pick, "other_answer": name_all, "swapped_name": foreign.swap_name}
    items = []
    for family, control_kind in families.items():
        for host in hosts:
            reply = planted[family](host, seeding.stream(seed, family, host.id))
            if reply and not faults.same_words(reply, host.reference or ""):
                items.append(_item(host, criterion=criterion, family=family, kind=control_kind, control_reply=reply))
    return items


def families_of(kind: TaskKind) -> Mapping[str, Mapping[str, ControlKind]]:
    """What is planted in replies of a task, by criterion and family."""
    return FAMILIES if kind.is_dialogue else FAMILIES_OF_ANSWERS


def read_controls(path: Path) -> list[ControlItem]:
    """A user's own controls: JSONL with the fields of `ControlItem`, one true reply and one control a line.

    Raises InputError with file and line on anything else, on a repeated id, and on a control equal to its true reply.
    """
    items = read_jsonl(path, ControlItem)
    seen: set[str] = set()
    for number, item in enumerate(items, start=1):
        if item.id in seen:
            raise InputError(f"`{path}` line {number}: `id` must be unique, got {item.id!r} twice; rename one")
        if not item.messages:
            raise InputError(f"`{path}` line {number}: `messages` must hold the conversation, got none; add a turn")
        if faults.same_words(item.true_reply, item.control_reply):
            raise InputError(
                f"`{path}` line {number}: `control_reply` must differ from `true_reply`, got the same words"
            )
        seen.add(item.id)
    return items


def reviewed_contradictions() -> list[ControlItem]:
    """The shipped contexts in which the speaker has said what he is asked: one reply agrees with it, one does not."""
    resource = importlib.resources.files("harness.judging.controls") / "contradictions.jsonl"
    with importlib.resources.as_file(resource) as path:
        return read_controls(path)


def _can_host(prompt: Prompt, kind: TaskKind) -> bool:
    low, high = (MIN_WORDS, MAX_WORDS) if kind.is_dialogue else (MIN_WORDS_OF_AN_ANSWER, MAX_WORDS_OF_AN_ANSWER)
    return bool(prompt.messages) and low <= len(faults.words(prompt.reference or "")) <= high


def spread_over_films(hosts: Sequence[Prompt], *, seed: int) -> list[Prompt]:
    """Random order in which every film has its first prompt before any has its second: most clusters for a given n."""
    films: dict[str, list[Prompt]] = defaultdict(list)
    for host in sorted(hosts, key=lambda h: seeding.derive(seed, "order", h.id)):
        films[host.cluster].append(host)
    ranked = [(rank, i, host) for i, film in enumerate(films.values()) for rank, host in enumerate(film)]
    return [host for _, _, host in sorted(ranked, key=lambda r: r[:2])]


def _host(item: ControlItem) -> Prompt:
    return Prompt(id=item.id, messages=item.messages, split="train", cluster=item.cluster, reference=item.true_reply)


def _item(host: Prompt, *, criterion: str, family: str, kind: ControlKind, control_reply: str) -> ControlItem:
    return ControlItem(
        id=f"{criterion}/{family}/{host.id}",
        criterion=criterion,
        family=family,
        kind=kind,
        messages=host.messages,
        true_reply=host.reference or "",
        control_reply=control_reply,
        cluster=host.cluster,
    )


def _validate(prompts: Sequence[Prompt], *, n: int, allow_test: bool) -> None:
    if n < 1:
        raise InputError(f"`n` must be at least 1 control per family, got {n}")
    leaked = next((p for p in prompts if p.split == "test"), None)
    if leaked is not None and not allow_test:
        raise SplitError(
            f"`{leaked.id}` is a TEST prompt, and controls choose whether a judge is believed; "
            "give validation prompts, or allow TEST on purpose"
        )
