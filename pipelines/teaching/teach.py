"""From prompts of TRAIN and VALIDATION films to a head: people's replies, faults planted in them, weights, calibration.

Two thirds of the TRAIN films teach. The rest stay strangers to the head, so that controls planted there qualify it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness import seeding
from harness.errors import InputError
from harness.judging.controls import FAMILIES, make_control_set
from harness.judging.controls.planting import spread_over_films
from harness.judging.learned.features import Bank, Turn, meant, plain
from harness.judging.learned.head import ALL, NEED_MEANING, SIGNS, Head, HumanRange, alphabet_of
from harness.judging.learned.speech import Speech
from harness.judging.neutralise import neutralise
from pipelines.teaching.fit import Bin, Marked, calibrated, fit_weights, reliability

if TYPE_CHECKING:
    from harness.models.encoder import Encoder
    from harness.models.protocol import OnProgress
    from harness.stats.rows import Floats
    from harness.types import Prompt

REVISION = 2
N_HUMAN = 900  # replies that show the human range
N_HOSTS = 250  # true replies per family that faults are planted in
N_VALIDATION = 150
MIN_FILMS, MIN_REPLIES = 3, 30  # of TRAIN, below which nothing can be taught

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """A head, and what its card says of it."""

    head: Head
    reliability: Mapping[str, Sequence[Bin]]  # by criterion
    calibrated_on: str  # which films made probabilities of its marks
    n_replies: int  # of people, that showed the human range


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Measures replies of TRAIN films beside other films alone."""

    encoder: Encoder
    speech: Mapping[str, Speech]  # film → what films of the other half say
    whole: Speech
    bank: Bank
    on_progress: OnProgress | None

    def figures(self, turns: Sequence[Turn], *, criterion: str) -> list[Figures]:
        """Figures of turns; those of meaning only where the criterion counts them."""
        found: list[Figures] = [plain(turn, self.speech.get(turn.film, self.whole)) for turn in turns]
        if criterion in NEED_MEANING:
            deeper = meant(turns, self.bank, self.encoder, on_progress=self.on_progress)
            found = [{**one, **more} for one, more in zip(found, deeper, strict=True)]
        return found


def teach(
    train: Sequence[Prompt],
    validation: Sequence[Prompt],
    *,
    encoder: Encoder,
    criteria: Sequence[str],
    seed: int,
    on_progress: OnProgress | None = None,
) -> Taught:
    """Teach a head on TRAIN prompts and calibrate it on VALIDATION prompts.

    Raises:
        InputError: TRAIN has too few films or too few different replies.
    """
    answered = [prompt for prompt in train if prompt.messages and (prompt.reference or "").strip()]
    films = _validate(answered)
    order = sorted(films, key=lambda film: seeding.derive(seed, "teach", film))
    taught = set(order[: math.ceil(2 * len(order) / 3)])
    own = [prompt for prompt in answered if prompt.cluster in taught]
    humans = [_turn(p, p.reference or "") for p in spread_over_films(own, seed=seed)[:N_HUMAN]]
    reader = _reader(own, humans, sorted(taught), encoder=encoder, on_progress=on_progress)
    human = HumanRange.of(reader.figures(humans, criterion="coherence"))
    held = [prompt for prompt in validation if prompt.messages and (prompt.reference or "").strip()]
    calibrating = held or [prompt for prompt in answered if prompt.cluster not in taught]
    weights, curves = {}, {}
    for criterion in criteria:
        prior = [sign.prior for sign in SIGNS[criterion]]
        shown = _marked(own, reader, human, criterion, n=N_HOSTS, seed=seed)
        checked = _marked(calibrating, reader, human, criterion, n=N_VALIDATION, seed=seed)
        if not len(shown.families) or not len(checked.families):
            raise InputError(
                f"TRAIN and VALIDATION must hold human replies of 4 to 40 words to plant faults of {criterion} in, "
                "got none; give the judge more data, or a head taught elsewhere (`head` in its file)"
            )
        weights[criterion] = {
            key: calibrated(fit_weights(shown.without(key), prior), checked.without(key))
            for key in (ALL, *FAMILIES[criterion])
        }
        curves[criterion] = reliability(weights[criterion][ALL], checked)
    head = Head(
        encoder=encoder.base.digest,
        films=tuple(sorted(taught)),
        taught={criterion: tuple(FAMILIES[criterion]) for criterion in criteria},
        weights=weights,
        human=human,
        alphabet=alphabet_of(text for prompt in own for text in (prompt.reference or "", *_context(prompt))),
        speech=reader.whole,
        bank=reader.bank,
    )
    on = "VALIDATION films" if held else "TRAIN films that did not teach it, there being no VALIDATION replies"
    return Taught(head=head, reliability=curves, calibrated_on=on, n_replies=len(humans))


def _reader(
    own: Sequence[Prompt],
    humans: Sequence[Turn],
    films: Sequence[str],
    *,
    encoder: Encoder,
    on_progress: OnProgress | None,
) -> _Reader:
    """Speech of either half of the films reads the other half, lest a reply be found likely for being known."""
    half = {film: i % 2 for i, film in enumerate(films)}
    said = [[neutralise(p.reference or "") for p in own if half[p.cluster] == side] for side in (0, 1)]
    halves = [Speech.of(texts) for texts in said]
    before = _vectors(encoder, ["".join(turn.context[-2:-1]) for turn in humans], on_progress)
    before[[len(turn.context) < 2 for turn in humans]] = 0
    bank = Bank(
        replies=_vectors(encoder, [turn.reply for turn in humans], on_progress),
        turns=_vectors(encoder, [turn.context[-1] for turn in humans], on_progress),
        before=before,
        films=tuple(turn.film for turn in humans),
    )
    speech = {film: halves[1 - side] for film, side in half.items()}
    whole = Speech.of([*said[0], *said[1]])
    return _Reader(encoder=encoder, speech=speech, whole=whole, bank=bank, on_progress=on_progress)


def _vectors(encoder: Encoder, texts: Sequence[str], on_progress: OnProgress | None) -> Floats:
    """As they are kept: of single precision."""
    return encoder.encode(texts, on_progress=on_progress).astype(np.float32).astype(float)


def _marked(
    prompts: Sequence[Prompt], reader: _Reader, human: HumanRange, criterion: str, *, n: int, seed: int
) -> Marked:
    """True replies and faults planted in them, each once."""
    turns: dict[Turn, str] = {}
    for control in make_control_set(prompts, seed=seed, n=n, criteria=[criterion]):
        context = tuple(neutralise(m.content) for m in control.messages)
        for reply, family in ((control.true_reply, ""), (control.control_reply, control.family)):
            turns.setdefault(Turn(context=context, reply=neutralise(reply), film=control.cluster), family)
    figures = reader.figures(list(turns), criterion=criterion)
    return Marked(
        strengths=human.strengths(criterion, figures) if figures else np.zeros((0, len(SIGNS[criterion]))),
        families=np.array(list(turns.values()), dtype=np.str_),
        films=np.array([turn.film for turn in turns], dtype=np.str_),
    )


def _turn(prompt: Prompt, reply: str) -> Turn:
    return Turn(context=_context(prompt), reply=neutralise(reply), film=prompt.cluster)


def _context(prompt: Prompt) -> tuple[str, ...]:
    return tuple(neutralise(message.content) for message in prompt.messages)


def _validate(answered: Sequence[Prompt]) -> list[str]:
    """The films of TRAIN; they and their replies must suffice."""
    films = sorted({prompt.cluster for prompt in answered})
    replies = {prompt.reference for prompt in answered}
    advice = "give the judge more data, or a head taught elsewhere (`head` in its file, e.g. learned/1)"
    if len(films) < MIN_FILMS:
        raise InputError(
            f"TRAIN must hold human replies of at least {MIN_FILMS} clusters (films, customers) to teach a judge and "
            f"qualify it on others, got {len(films)}; {advice}"
        )
    if len(replies) < MIN_REPLIES:
        raise InputError(
            f"TRAIN must hold at least {MIN_REPLIES} different human replies to teach a judge what people say, "
            f"got {len(replies)}; {advice}"
        )
    return films
