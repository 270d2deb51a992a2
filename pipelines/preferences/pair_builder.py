"""Preference pairs from TRAIN prompts: candidates ranked by a judge, the human reply against a sample, or imported.

| file | what |
|---|---|
| `pairs.jsonl` | one pair a line in TRL's form, with judge, margin, words, candidates |
| `audit.json` | what distinguishes chosen from rejected replies (`pipelines.preferences.audit`) |
| `summary.json` | how many prompts were asked, and why some gave no pair |
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from harness.config import Seed, StrictConfig
from harness.errors import InputError
from harness.experiment.preparing import draw_prompts
from harness.generation import generate
from harness.models.chat_templates import chat_messages, render
from harness.store.artifacts import from_json, read_json, write_json
from harness.store.prepared import read_prompts, read_summary
from harness.types import Adapter, Decoding, Generation, PreferencePair, Progress, Prompt, Split, Variant
from pipelines.preferences.held_out import held_out_prompts, near_held_out, require_apart
from pipelines.preferences.pair_files import import_file, write_pairs
from pipelines.preferences.ranking import Ranker

if TYPE_CHECKING:
    from harness.models.protocol import LanguageModel

REVISION = 2  # raise when the same config, data and parent would give other pairs
SUMMARY = "summary.json"
CANDIDATES = "candidates"  # the variant's name in the journal
TRAIN_ONLY: tuple[Split, ...] = ("train",)
_BLOCK = (8, 64)  # prompts that are asked together: fewest, most


class PairsConfig(StrictConfig):
    """Every setting of a set of pairs."""

    # the judge's best against its worst, the human reply against a sample, or against one to another prompt
    method: Literal["judge", "reference", "other"] = "judge"
    n_pairs: Annotated[int, Field(ge=1, le=10**9)] = (
        10_000  # wanted; prompts are drawn until there are so many, or none is left
    )
    n_candidates: Annotated[int, Field(ge=1, le=64)] = 4  # replies of the parent to each prompt
    judge: str | None = None  # folder of a judge
    criterion: str | None = None  # of that judge; its first when left out
    min_margin: Annotated[float, Field(ge=0, le=1e9)] = 0.0  # in the judge's units; a smaller difference makes no pair
    max_prompt_tokens: Annotated[int, Field(ge=8, le=10**6)] = 384  # a longer prompt is passed over
    max_new_tokens: Annotated[int, Field(ge=1, le=10**6)] = 64
    temperature: Annotated[float, Field(gt=0, le=5)] = 0.8
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    seed: Seed = 0

    @model_validator(mode="after")
    def _fits_its_method(self) -> Self:
        if self.method == "judge" and self.judge is None:
            raise ValueError("`judge` must name a judge's folder with `method: judge`")
        if self.method == "judge" and self.n_candidates < 2:
            raise ValueError("`n_candidates` must be at least 2 with `method: judge`, or there is nothing to rank")
        if self.method != "judge" and (self.judge or self.criterion or self.min_margin):
            raise ValueError(f"`judge`, `criterion` and `min_margin` have no meaning with `method: {self.method}`")
        return self

    def as_decoding(self) -> Decoding:
        """How candidates are drawn."""
        return Decoding(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            n_draws=self.n_candidates,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsSummary:
    """Where the pairs came from and what it took; `summary.json`."""

    method: str  # "judge", "reference", "other" or "import"
    preferred_by: str  # judge id, "reference", "other reply", or what the imported rows say
    n_pairs: int
    n_films: int
    n_prompts: int = 0  # asked
    n_generations: int = 0  # candidates generated
    n_generated_tokens: int = 0
    n_cut_off: int = 0  # candidates that ran into the length cap and stood back
    n_judged: int = 0  # candidates that a judge was shown
    dropped: Mapping[str, int] = field(default_factory=dict)  # prompts without a pair, by reason
    n_own_system: int = 0  # imported rows whose system message gave way to that of the data


COUNTS = (
    "n_pairs", "n_prompts", "n_generations", "n_generated_tokens", "n_cut_off", "n_judged",
)  # fmt: skip  # of the summary, that are metrics of the run


def run(
    config: PairsConfig,
    *,
    prepared: Path,
    parent: Adapter,
    model: LanguageModel,
    ranker: Ranker,
    folder: Path,
    on_progress: Callable[[Progress], None] | None = None,
) -> PairsSummary:
    """Make pairs of TRAIN prompts into `folder`; killed at any moment, the next call goes on where it was.

    Prompts are drawn with films taking turns and asked block by block. A candidate that was cut off or failed stands
    back; a pair that a held-out row nearly repeats is dropped.

    Args:
        parent: the SFT adapter whose replies are the candidates.
        model: of the parent's base, the parent added.
        ranker: who prefers.
        on_progress: told of pairs made of those wanted.

    Raises:
        SplitError: a prompt of another split than TRAIN.
        InputError: no pair could be made.
    """
    system = read_summary(prepared).system
    variant = candidates_of(parent, system=system)
    train = read_prompts(prepared, "train")
    prompts = draw_prompts(train, n=len(train), seed=config.seed, allowed=("train",))
    short = _short(prompts, parent, system=system, most=config.max_prompt_tokens)
    tally = _Tally(held_out_prompts(prepared))
    for number, size in enumerate(_sizes(config.n_pairs, tally)):
        block = [prompt for _, prompt in zip(range(size), short, strict=False)]
        if not block:
            break
        journal = folder / f"{CANDIDATES}-{number:05}.jsonl"
        generations = (
            []
            if config.method == "other"
            else generate(
                model, [variant], block, decoding=config.as_decoding(), allowed_splits=TRAIN_ONLY, journal=journal
            )
        )
        standing = tally.ask(block, generations, is_judged=config.method == "judge")
        tally.keep(ranker.choose(block, standing), min_margin=config.min_margin)
        if on_progress is not None:
            on_progress(Progress(done=min(len(tally.pairs), config.n_pairs), total=config.n_pairs, unit="pairs"))
    pairs = tally.pairs[: config.n_pairs]
    if not pairs:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in tally.dropped.items() if n) or "none was short enough"
        raise InputError(f"no pair could be made of {tally.counts['n_prompts']} prompts: {reasons}")
    dropped = {reason: n for reason, n in sorted(tally.dropped.items()) if n}
    summary = _keep(
        folder, pairs, system=system, seed=config.seed, method=config.method, dropped=dropped, **tally.counts
    )
    for journal in folder.glob("*-[0-9][0-9][0-9][0-9][0-9].jsonl"):
        journal.unlink()
    return summary


def import_pairs(file: Path, *, prepared: Path, folder: Path) -> PairsSummary:
    """Preferences made elsewhere into `folder`, refused when a row is held out, or nearly.

    A row whose prompt id is one of the TRAIN prompts gets that prompt's film and human reply.

    Raises:
        InputError: the file breaks the format. SplitError: a row is near a row of VALIDATION or TEST.
    """
    known = {prompt.id: prompt for prompt in read_prompts(prepared, "train")}
    imported = import_file(file, films={prompt.id: prompt.cluster for prompt in known.values()})
    require_apart(imported.pairs, prepared)
    pairs = [_placed(pair, known.get(pair.prompt.id)) for pair in imported.pairs]
    return _keep(
        folder, pairs, system=read_summary(prepared).system, seed=0, method="import",
        n_prompts=len({pair.prompt.id for pair in pairs}), n_own_system=imported.n_own_system,
    )  # fmt: skip


def _keep(
    folder: Path, pairs: Sequence[PreferencePair], *, system: str | None, seed: int, **known: Any
) -> PairsSummary:
    """Write pairs, their audit and, last, their summary, of which `known` are the other fields."""
    from pipelines.preferences.audit import audit_pairs

    audit = audit_pairs(pairs, seed=seed)
    summary = PairsSummary(preferred_by=audit.preferred_by, n_pairs=audit.n_pairs, n_films=audit.n_films, **known)
    write_pairs(folder, pairs, system=system)
    write_json(folder / "audit.json", audit)
    write_json(folder / SUMMARY, summary)
    return summary


def candidates_of(parent: Adapter, *, system: str | None) -> Variant:
    """The variant whose replies are the candidates: the parent, prompted as it was trained."""
    return Variant(name=CANDIDATES, kind="model", base=parent.base, adapter=parent, system=system)


def read_pairs_summary(folder: Path) -> PairsSummary:
    """What was recorded of the pairs in a folder."""
    return from_json(PairsSummary, read_json(folder / SUMMARY))


class _Tally:
    """Pairs so far, and what became of the prompts that gave none."""

    def __init__(self, held: Sequence[Prompt]) -> None:
        self._held = held
        self.pairs: list[PreferencePair] = []
        self.counts = Counter[str]()  # by the names of the summary's fields
        self.dropped: Counter[str] = Counter()

    def ask(
        self, block: Sequence[Prompt], generations: Sequence[Generation], *, is_judged: bool
    ) -> dict[str, list[Generation]]:
        """Count what was generated, and what a judge is shown of it; the complete replies by prompt."""
        standing: dict[str, list[Generation]] = {prompt.id: [] for prompt in block}
        for g in generations:
            if g.finish_reason in ("stop", "unknown") and g.text.strip():
                standing[g.prompt_id].append(g)
        self.counts.update(
            n_prompts=len(block),
            n_generations=len(generations),
            n_generated_tokens=sum(g.n_tokens or 0 for g in generations),
            n_cut_off=sum(g.finish_reason == "length" for g in generations),
            n_judged=sum(map(len, standing.values())) if is_judged else 0,
        )
        return standing

    def keep(self, preferred: Mapping[str, PreferencePair | None], *, min_margin: float) -> None:
        """Take the clear preferences in, and count the others by reason."""
        clear = []
        for pair in preferred.values():
            reason = _why_not(pair, min_margin=min_margin)
            if pair is None or reason:
                self.dropped[reason] += 1
            else:
                clear.append(pair)
        near = {row.row for row in near_held_out(clear, self._held)}
        self.dropped["nearly the same as a held-out row"] += len(near)
        self.pairs += [pair for row, pair in enumerate(clear) if row not in near]


def _why_not(pair: PreferencePair | None, *, min_margin: float) -> str:
    if pair is None:
        return "no two different complete replies of different rank"
    if pair.orders_agree is False:
        return "the verdict turned with the sides"
    if pair.margin is not None and pair.margin < min_margin:
        return "margin below `min_margin`"
    return ""


def _placed(pair: PreferencePair, known: Prompt | None) -> PreferencePair:
    if known is None:
        return pair
    reference = pair.prompt.reference or known.reference
    return replace(pair, prompt=replace(pair.prompt, cluster=known.cluster, reference=reference))


def _sizes(n_wanted: int, tally: _Tally) -> Iterator[int]:
    """Prompts of the next block: what is lacking, by the share of prompts that gave a pair so far."""
    while len(tally.pairs) < n_wanted:
        share = (len(tally.pairs) + 1) / (tally.counts["n_prompts"] + 1)
        wanted = math.ceil((n_wanted - len(tally.pairs)) / share)
        yield min(max(wanted, _BLOCK[0]), _BLOCK[1])


def _short(prompts: Sequence[Prompt], parent: Adapter, *, system: str | None, most: int) -> Iterator[Prompt]:
    """The prompts that are short enough, measured as they are asked for."""
    from harness.models.bases import load_tokenizer

    tokenizer = load_tokenizer(parent.base)
    for prompt in prompts:
        if len(render(tokenizer, chat_messages(prompt.messages, system=system))) <= most:
            yield prompt
