"""Judges outside an experiment: what `screentest judge run` and `judge qualify` do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.experiment import measured_arms as rows
from harness.experiment.analysis.values import per_prompt
from harness.experiment.design import DataDesign, DecodingDesign, VariantDesign
from harness.experiment.graph import Builder
from harness.experiment.judges.costing import plan_controls, plan_scores
from harness.experiment.judges.judge_uses import judge_use, score_stage
from harness.experiment.judges.pairwise_stages import PREFERENCES, compare_stage
from harness.experiment.judges.qualifications import hosts_of, qualify_stage, read_own_controls
from harness.experiment.judges.teaching import taught_on
from harness.experiment.measured_arms import Replies
from harness.experiment.planning.preflight_table import Preflight
from harness.experiment.preparing import prepare, prepare_settings
from harness.experiment.record_parts import called_as, cluster_noun
from harness.experiment.session import Session
from harness.experiment.task_choice import told_judge
from harness.experiment.tasks import test_prompts
from harness.experiment.workers.here import run_here
from harness.generation import decoding_json
from harness.judging.preferences import (
    ComparedGenerations,
    PairwiseEstimates,
    item_values,
    judged_pairs,
    pairwise_estimates,
)
from harness.judging.scored import judged_items
from harness.judging.spec import JudgeSpec, LocalChoice, load_judge_spec
from harness.models.embedded import EMBEDDED
from harness.seeding import stream
from harness.stats import mean_estimate, proportion_estimate
from harness.store.artifacts import read_parquet
from harness.store.prepared import read_summary
from harness.store.tracking import StageResult
from harness.types import Estimate, Prompt, Qualification

REPLIES = "replies"
AGAINST = "against"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """One JSONL of replies to TEST prompts, or two, and the data that the prompts are of."""

    generations: Path
    against: Path | None = None
    corpus: str
    data: Path | None  # instead of a corpus
    seed: int  # of draws

    @property
    def named(self) -> dict[str, Path]:
        """Each file under its name."""
        return {REPLIES: self.generations} | ({} if self.against is None else {AGAINST: self.against})

    @property
    def source(self) -> str:
        """What names the data."""
        return str(self.data or self.corpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A judge's scores on a file of replies."""

    stage: StageResult
    judge_id: str
    unit: str
    estimates: Mapping[str, Estimate]  # by criterion; one that no reply has a score for is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A pairwise judge's verdicts on two files of replies."""

    stage: StageResult
    judge_id: str
    estimates: tuple[PairwiseEstimates, ...]  # by criterion; one without a pair that has both verdicts is left out
    missing: Mapping[str, int]  # verdicts without one, by status


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Files of replies to TEST prompts, as stages."""

    prompts: Sequence[Prompt]  # that every file answers
    replies: Mapping[str, Replies]  # by the name given to each file
    prepared: StageResult


def score_file(session: Session, judge: Path, files: Files) -> Scored:
    """Score a JSONL of replies to TEST prompts. Raises InputError: the file holds no reply to a prompt of this data."""
    judge = told_judge(judge, source=files.source, say=session.say)
    spec = load_judge_spec(judge)
    recorded = read_files(session, spec, files)
    use = judge_use(session, taught_on(session, spec, prepared=recorded.prepared, judge=judge, seed=files.seed))
    scored = score_stage(session, use, replies=recorded.replies, prompts=recorded.prompts)
    measures = {c.name: judge_use(session, use.spec, criterion=c.name) for c in use.spec.criteria}
    estimates, noun = {}, cluster_noun(recorded.prepared, use.spec.kind)
    for arm in rows.score_arms(scored, measures=measures, variants=(REPLIES,)):
        merged = per_prompt(arm.rows)
        there = merged.there()
        if len(there):
            clusters, n = there.clusters.codes, merged.n_missing
            estimate = (
                proportion_estimate(there.values, clusters=clusters, n_missing=n)
                if use.spec.declared.is_share
                else mean_estimate(there.values, clusters=clusters, rng=stream(files.seed, "judge run"), n_missing=n)
            )
            estimates[arm.measure] = replace(estimate, cluster=noun)
    return Scored(stage=scored, judge_id=use.judge_id, unit=use.spec.declared.unit, estimates=estimates)


def compare_files(session: Session, judge: Path, files: Files) -> Compared:
    """Compare two JSONL of replies to the same TEST prompts, by every criterion of a pairwise judge.

    Raises InputError: the files have no TEST prompt of this data in common.
    """
    use = judge_use(session, load_judge_spec(told_judge(judge, source=files.source, say=session.say)))
    recorded = read_files(session, use.spec, files)
    stage = compare_stage(
        session, use, first=recorded.replies[REPLIES], second=recorded.replies[AGAINST], prompts=recorded.prompts
    )
    said = read_parquet(stage.folder / PREFERENCES, ComparedGenerations)
    estimates = []
    for criterion in use.spec.criteria:
        of = [row for row in said if row.criterion == criterion.name]
        if any(share is not None for share in item_values(of).values()):
            estimates.append(pairwise_estimates(of, rng=stream(files.seed, "judge run", criterion.name)))
    missing = Counter(str(row.status) for row in said if row.preferred is None)
    return Compared(stage=stage, judge_id=use.judge_id, estimates=tuple(estimates), missing=missing)


def check_files(session: Session, judges: Sequence[Path], files: Files) -> Preflight:
    """Whether a file of replies, or two, can be judged, and what that would ask endpoints for; nothing is sent."""
    found = Preflight()
    specs = [say_judge(found, told_judge(j, source=files.source, say=session.say)) for j in judges]

    def words(recorded: Recorded) -> str:
        n = sum(len(replies.generations) for replies in recorded.replies.values())
        return f"{n:,} to {len(recorded.prompts):,} prompts that every file answers"

    if (recorded := found.ask("replies", partial(read_files, session, specs[0], files), words=words)) is not None:
        sides = [replies.generations for replies in recorded.replies.values()]
        for spec in specs:
            if spec.is_remote and spec.declared.compares and files.against is not None:
                found.planned += plan_scores(session, spec, judged_pairs(recorded.prompts, *sides))
            elif spec.is_remote:
                items = [item for side in sides for item in judged_items(recorded.prompts, side)]
                found.planned += plan_scores(session, spec, items)
        found.say_money(session)
    return found


def say_judge(found: Preflight, judge: Path) -> JudgeSpec:
    """A line on a judge."""
    spec = load_judge_spec(judge)
    found.say("judge", f"{spec.name}: {spec.source}, {spec.method}, {spec.mode}")
    return spec


def read_files(session: Session, spec: JudgeSpec, files: Files) -> Recorded:
    """Files of replies with the TEST prompts that all of them answer. Raises InputError: there is no such prompt."""
    # Without the seed: it is that of draws, and would split the corpus anew.
    source = DataDesign(corpus=None if files.data else files.corpus, file=str(files.data) if files.data else None)
    decoding = decoding_json(DecodingDesign().as_decoding(seed=files.seed))
    asked = {"n": None, "seed": files.seed, "common": [str(path) for path in files.named.values()]}
    builder = Builder()
    prepared = builder.add("prepare", prepare_settings(source, base=_tokenizer(spec)), {}, "Prepare")
    keys = {}
    for name, path in files.named.items():
        variant = VariantDesign(generations=str(path)).model_dump(mode="json")
        settings = {**asked, "variant": variant, "name": name, "decoding": decoding}
        keys[name] = builder.add("generate", settings, {"prepared": prepared}, f"Generate {name}")
    results = run_here(session, builder.tasks)
    for said in read_summary(results[prepared].folder).row_notes if files.data else ():
        session.say(f"data: {said}")
    return Recorded(
        prompts=test_prompts(session, asked, results[prepared]),
        replies={name: rows.read_replies(name, results[key]) for name, key in keys.items()},
        prepared=results[prepared],
    )


def qualify_judge(
    session: Session, judge: Path, *, corpus: str, n: int | None, seed: int, own_controls: Path | None = None
) -> tuple[Qualification, ...]:
    """Run a judge's planted controls on a corpus's TRAIN and VALIDATION prompts, and a user's own besides."""
    judge = told_judge(judge, source=corpus, say=session.say)
    spec = load_judge_spec(judge)
    read_own_controls(own_controls, spec)  # what cannot be used is refused before a server is asked anything
    prepared = _prepared(session, spec, corpus)
    use = judge_use(session, taught_on(session, spec, prepared=prepared, judge=judge, seed=seed))
    n = use.spec.qualification.n_controls if n is None else n
    found = qualify_stage(session, use, prepared=prepared, n=n, seed=seed, own_controls=own_controls)
    return tuple(called_as(q, cluster_noun(prepared, spec.kind)) for q in found)


def check_qualification(
    session: Session, judge: Path, *, corpus: str, n: int | None, seed: int, own_controls: Path | None = None
) -> Preflight:
    """Where a judge's controls would be planted, and what they would ask an endpoint for; nothing is sent."""
    found = Preflight()
    spec = say_judge(found, told_judge(judge, source=corpus, say=session.say))
    prepared = _prepared(session, spec, corpus)
    n_hosts, own = len(hosts_of(prepared)), read_own_controls(own_controls, spec)
    found.say("controls", f"planted in {n_hosts:,} true replies of TRAIN and VALIDATION; {len(own):,} of your own")
    if spec.is_remote:
        n = spec.qualification.n_controls if n is None else n
        found.planned += plan_controls(session, spec, prepared=prepared, n=n, seed=seed, own_controls=own)
        found.say_money(session)
    return found


def qualification_rows(qualifications: Sequence[Qualification]) -> list[dict[str, Any]]:
    """A row per criterion and control family; one alone where a criterion has no controls."""
    rows = []
    for found in qualifications:
        shared = {"criterion": found.criterion, "standing": found.status, "reason": found.reason}
        for family in found.families or (None,):
            auc = None if family is None else family.auc
            figures = {key: getattr(auc, key, None) for key in ("value", "low", "high", "n", "n_clusters", "n_missing")}
            named = {key: getattr(family, key, None) for key in ("family", "kind", "basis", "status", "settle")}
            rows.append({**shared, **named, "auc": figures.pop("value"), **figures})
    return rows


def _prepared(session: Session, spec: JudgeSpec, corpus: str) -> StageResult:
    return prepare(session, DataDesign(corpus=corpus), base=_tokenizer(spec))


def _tokenizer(spec: JudgeSpec) -> dict[str, str | None]:
    """What measures the windows: the judge's own tokenizer, or the embedded one where that is behind an endpoint."""
    if isinstance(spec.model, LocalChoice) and not spec.declared.is_taught:  # an encoder cuts no windows
        return {"source": spec.model.source, "revision": spec.model.revision}
    return {"source": EMBEDDED, "revision": None}
