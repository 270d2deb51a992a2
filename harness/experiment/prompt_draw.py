"""Which prompts are asked: drawn evenly over films, so that no long film decides a result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.errors import InputError, SplitError
from harness.seeding import stream
from harness.types import Prompt, Split


def draw_prompts(prompts: Sequence[Prompt], *, n: int, seed: int, allowed: Iterable[Split] = ("test",)) -> list[Prompt]:
    """`n` prompts with a human reply, films taking turns in a seeded order; all of them when there are fewer.

    A smaller draw is the beginning of a larger one with the same seed, so that measures with different sizes share
    prompts.

    Raises:
        SplitError: a prompt of a split that is not allowed.
        InputError: no prompt is left.
    """
    permitted = set(allowed)
    strangers = sorted({p.split for p in prompts} - permitted)
    if strangers:
        raise SplitError(f"`prompts` must be of {', '.join(sorted(permitted))}, got some of {', '.join(strangers)}")
    films: dict[str, list[Prompt]] = {}
    for prompt in sorted(prompts, key=lambda p: p.id):
        films.setdefault(prompt.cluster, []).append(prompt)
    if not films:
        raise InputError("`prompts` must hold at least one prompt of TEST; this data has none")
    rng = stream(seed, "prompts")
    order = sorted(films)
    order = [order[i] for i in rng.permutation(len(order))]
    queues = [[films[name][i] for i in rng.permutation(len(films[name]))] for name in order]
    drawn: list[Prompt] = []
    depth = 0
    while len(drawn) < n and depth < max(map(len, queues)):
        drawn += [queue[depth] for queue in queues if depth < len(queue)][: n - len(drawn)]
        depth += 1
    return drawn
