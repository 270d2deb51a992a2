"""Where a study's replies come from: a finished evaluation, files of generations with their prompts, or pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.experiment.design import DataDesign
from harness.experiment.kinds import provider
from harness.experiment.measured_arms import GENERATIONS
from harness.experiment.preparing import prepare, prompts_of
from harness.experiment.session import Session
from harness.experiment.task_choice import choose_task
from harness.models.protocol import ReplyRequest
from harness.models.recorded import RecordedModel
from harness.reporting.finished_reports import record_of
from harness.store.artifacts import digest_file, read_parquet, verify_manifest
from harness.store.prepared import read_prompts
from harness.store.tracking import StageResult
from harness.studies.items import CHOSEN, REJECTED, ItemReply
from harness.studies.studies import LEFT_OUT, POPULATION, SILENT
from harness.studies.study_design import SourceDesign, StudyDesign
from harness.task_kinds import DIALOGUE, TASKS, TaskKind
from harness.types import NO_REPLY, Decoding, Generation, Prompt, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Prompts with the replies of every variant, and what else may serve as an attention check."""

    split: Split
    prompts: tuple[Prompt, ...]  # that every variant answered
    replies: Mapping[str, Mapping[str, ItemReply]]  # variant -> prompt id -> reply
    spare: tuple[Prompt, ...]  # other prompts of the same split
    lineage: Mapping[str, Any]
    kind: TaskKind = DIALOGUE  # what was asked


def load_source(session: Session, design: StudyDesign, *, folder: Path) -> Source:
    """The replies that a study file names; relative paths start from its folder.

    Raises InputError: a file, run or variant that is not there, or no prompt that all variants answered.
    """
    declared = design.source
    if declared.imported is not None:
        raise InputError("`source.imported` must not stand in a file: `screentest ratings import` makes such studies")
    if declared.pairs is not None:
        return _from_pairs(folder / declared.pairs, session, declared)
    if declared.run is not None:
        return _from_run(session, declared.run, design.variants)
    return _from_files(session, declared, design.variants, folder=folder)


def _from_run(session: Session, run: str, wanted: Sequence[str]) -> Source:
    record = record_of(session.tracking, run)
    folders = {line.run_id: session.tracking.folder(line.run_id) for line in record.stages}
    prepared = [line for line in record.stages if line.name == "prepare"]
    every = [line for line in record.stages if line.name == "generate"]
    # Of an arm with several seeds the first one's; records of earlier versions do not say whose replies a run has.
    generated = [line for line in every if line.arm] or every
    if not prepared or not generated:
        raise InputError(f"`source.run`: {run} must be an evaluation with its prompts and generations, it lists none")
    replies: dict[str, dict[str, ItemReply]] = {}
    for line in generated:
        verify_manifest(folders[line.run_id])
        for generation in read_parquet(folders[line.run_id] / GENERATIONS, Generation):
            if generation.draw == 0 and _is_there(generation.text, generation.finish_reason):
                name = line.arm or generation.variant
                replies.setdefault(name, {})[generation.prompt_id] = ItemReply(
                    variant=name, text=generation.text, draw=0
                )
    prompts = read_prompts(folders[prepared[-1].run_id], "test")
    lineage = {
        "run": record.run_id,
        "generations": {line.run_id: line.artifacts[GENERATIONS] for line in generated},
        "prepared": prepared[-1].run_id,
    }
    joined = _joined("test", prompts, _chosen(replies, wanted), lineage)
    return replace(joined, kind=TASKS.get(str(record.config.get("task")), DIALOGUE))


def _from_files(session: Session, declared: SourceDesign, wanted: Sequence[str], *, folder: Path) -> Source:
    file = None if declared.data is None else str((folder / declared.data).resolve())
    prepared = _prepared(session, declared, DataDesign(corpus=declared.corpus, file=file))
    prompts = prompts_of(prepared, declared.split)
    replies: dict[str, dict[str, ItemReply]] = {}
    for variant, name in declared.generations.items():
        model = RecordedModel.load(folder / name)
        answers = model.generate([ReplyRequest(key=p.id, messages=()) for p in prompts], decoding=Decoding())
        replies[variant] = {
            a.key: ItemReply(variant=variant, text=a.text) for a in answers if _is_there(a.text, a.finish_reason)
        }
    lineage = {
        "files": {variant: digest_file(folder / name) for variant, name in declared.generations.items()},
        "prepared": prepared.source_run_id,
    }
    joined = _joined(declared.split, prompts, _chosen(replies, wanted), lineage)
    return replace(joined, kind=choose_task(file).kind)


def _from_pairs(path: Path, session: Session, declared: SourceDesign) -> Source:
    prompts: dict[str, Prompt] = {}
    replies: dict[str, dict[str, ItemReply]] = {CHOSEN: {}, REJECTED: {}}
    for number, pair in enumerate(provider().pairs_of_file(path), start=1):
        prompt = pair.prompt
        if prompt.id in prompts:  # several pairs of one prompt are items of their own, in one film
            prompt = replace(prompt, id=f"{prompt.id}#{number}", reference=None)
        prompts[prompt.id] = prompt
        replies[CHOSEN][prompt.id] = ItemReply(variant=CHOSEN, text=pair.chosen)
        replies[REJECTED][prompt.id] = ItemReply(variant=REJECTED, text=pair.rejected)
    spare: tuple[Prompt, ...] = tuple(p for p in prompts.values() if p.reference)
    if declared.corpus is not None:
        prepared = _prepared(session, declared, DataDesign(corpus=declared.corpus))
        spare = tuple(prompts_of(prepared, "train"))
    joined = _joined("train", list(prompts.values()), replies, {"pairs": digest_file(path)})
    has_names = any(message.name for prompt in prompts.values() for message in prompt.messages)
    return replace(joined, spare=spare, kind=DIALOGUE if has_names else TASKS["chat"])


def _prepared(session: Session, declared: SourceDesign, data: DataDesign) -> StageResult:
    return prepare(session, data, base={"source": declared.base, "revision": None})


def _chosen(replies: Mapping[str, dict[str, ItemReply]], wanted: Sequence[str]) -> dict[str, dict[str, ItemReply]]:
    unknown = [name for name in wanted if name not in replies]
    if unknown:
        raise InputError(f"`variants` must be of {', '.join(sorted(replies))}, got {unknown[0]!r}")
    return {name: replies[name] for name in (wanted or replies)}


def _joined(
    split: Split, prompts: Sequence[Prompt], replies: Mapping[str, dict[str, ItemReply]], lineage: Mapping[str, Any]
) -> Source:
    asked = [p for p in prompts if any(p.id in of_variant for of_variant in replies.values())]
    whole = [p for p in asked if all(p.id in of_variant for of_variant in replies.values())]
    if not whole:
        names = ", ".join(replies)
        raise InputError(f"`source` must hold prompts of {split.upper()} that {names} all answered; there is none")
    known = {p.id for p in asked}
    return Source(
        split=split,
        prompts=tuple(whole),
        replies=replies,
        spare=tuple(p for p in prompts if p.id not in known),
        lineage={
            **lineage,
            LEFT_OUT: len(asked) - len(whole),
            SILENT: {name: sum(p.id not in given for p in asked) for name, given in replies.items()},
            POPULATION: [p.id for p in whole],
        },
    )


def _is_there(text: str, finish_reason: str) -> bool:
    """Whether there is a reply to look at: one that failed or is empty cannot be compared by reading."""
    return finish_reason not in NO_REPLY and bool(text.strip())
