"""Judges outside an experiment: what `screentest judge run` and `judge qualify` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.ablation.design import DataDesign, DecodingDesign, VariantDesign
from harness.ablation.rows import per_prompt
from harness.errors import InputError
from harness.judging.results import judged_items
from harness.judging.spec import JudgeSpec, LocalChoice, load_judge_spec
from harness.models.embedded import EMBEDDED
from harness.seeding import stream
from harness.stats import mean_estimate
from harness.tracking import StageResult
from harness.types import Estimate, Prompt, Qualification
from pipelines import rows
from pipelines.costing import plan_controls, plan_scores
from pipelines.judges import JudgeUse, judge_use, qualify_stage, score_stage
from pipelines.measuring import generate_stage
from pipelines.session import Session
from pipelines.spending import Planned
from pipelines.stages import prepare_config, prepare_stage, prompts_of
from pipelines.variants import TokenizerSource, resolve_variant

REPLIES = "replies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A judge's scores on a file of replies."""

    stage: StageResult
    judge_id: str
    unit: str
    estimates: Mapping[str, Estimate]  # by criterion; one that no reply has a score for is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """Replies of a file and the TEST prompts that they answer."""

    replies: rows.Replies
    prompts: Sequence[Prompt]


def score_file(
    session: Session, judge: Path, *, generations: Path, corpus: str, data: Path | None, seed: int
) -> Scored:
    """Score a JSONL of replies to TEST prompts.

    Raises:
        InputError: the file holds no reply to a prompt of this data.
    """
    use = use_of(session, load_judge_spec(judge))
    made = _recorded(session, use.spec, generations=generations, corpus=corpus, data=data, seed=seed)
    scored = score_stage(session, use, replies={REPLIES: made.replies}, prompts=made.prompts)
    measures = {c.name: use_of(session, use.spec, criterion=c.name) for c in use.spec.criteria}
    estimates = {}
    for arm in rows.score_arms(scored, measures=measures, variants=(REPLIES,)):
        merged = per_prompt(arm.rows)
        there = merged.there()
        if len(there):
            estimates[arm.measure] = mean_estimate(
                there.values,
                clusters=there.clusters.codes,
                rng=stream(seed, "judge run"),
                n_missing=merged.n_missing,
            )
    return Scored(stage=scored, judge_id=use.judge_id, unit=use.unit, estimates=estimates)


def plan_file(
    session: Session, judge: Path, *, generations: Path, corpus: str, data: Path | None, seed: int
) -> list[Planned]:
    """What scoring a file of replies would ask an endpoint for; nothing is sent."""
    spec = load_judge_spec(judge)
    if not spec.is_remote:
        return []
    made = _recorded(session, spec, generations=generations, corpus=corpus, data=data, seed=seed)
    return plan_scores(session, spec, judged_items(made.prompts, made.replies.generations))


def _recorded(
    session: Session, spec: JudgeSpec, *, generations: Path, corpus: str, data: Path | None, seed: int
) -> _Recorded:
    from harness.models.recorded import RecordedModel

    # Without the seed: it is that of draws, and would split the corpus anew.
    source = DataDesign(corpus=None if data else corpus, file=str(data) if data else None)
    prepared = prepare_stage(session, prepare_config(source, base=_tokenizer(spec), limit=None))
    variant = resolve_variant(
        REPLIES,
        VariantDesign(generations=str(generations)),
        tracking=session.tracking,
        system=None,
        shots_from=lambda: prompts_of(prepared, "train"),
        seed=seed,
    )
    answered = RecordedModel.load(generations).prompt_ids
    prompts = [p for p in prompts_of(prepared, "test") if p.id in answered]
    if not prompts:
        raise InputError(f"`{generations}` must hold replies to TEST prompts of this data; none of its ids is one")
    made = generate_stage(session, variant, prompts, decoding=DecodingDesign().noun(seed=seed))
    return _Recorded(replies=rows.read_replies(REPLIES, made), prompts=prompts)


def qualify_judge(session: Session, judge: Path, *, corpus: str, n: int | None, seed: int) -> tuple[Qualification, ...]:
    """Run a judge's planted controls on a corpus's TRAIN and VALIDATION films."""
    use = use_of(session, load_judge_spec(judge))
    prepared = _prepared(session, use.spec, corpus)
    n = use.spec.qualification.n_controls if n is None else n
    return qualify_stage(session, use, prepared=prepared, n=n, seed=seed)


def plan_qualification(session: Session, judge: Path, *, corpus: str, n: int | None, seed: int) -> list[Planned]:
    """What a judge's controls would ask an endpoint for; nothing is sent."""
    spec = load_judge_spec(judge)
    if not spec.is_remote:
        return []
    n = spec.qualification.n_controls if n is None else n
    return plan_controls(session, spec, prepared=_prepared(session, spec, corpus), n=n, seed=seed)


def qualification_json(qualification: Qualification) -> dict[str, Any]:
    """One criterion as others script against it; its figures are those of its weakest family."""
    families = [
        {
            "family": f.family,
            "kind": f.kind,
            "auc": f.auc.value,
            "low": f.auc.low,
            "high": f.auc.high,
            "n": f.auc.n,
            "n_clusters": f.auc.n_clusters,
            "n_missing": f.auc.n_missing,
            "concordance": f.concordance.value,
            "status": f.status,
            "settle": f.settle,
        }
        for f in qualification.families
    ]
    weakest = min(families, key=lambda f: f["low"] if f["low"] is not None else -1.0, default={})
    keys = ("auc", "low", "high", "n", "concordance")
    return {
        "criterion": qualification.criterion,
        **{key: weakest.get(key) for key in keys},
        "status": qualification.status,
        "reason": qualification.reason,
        "judge_id": qualification.judge_id,
        "families": families,
    }


def use_of(session: Session, spec: JudgeSpec, *, criterion: str | None = None) -> JudgeUse:
    """A judge used outside a comparison of its own family: whose relative it judges is for the caller to say."""
    name = criterion or spec.criteria[0].name
    return judge_use(session, spec, measure=name, criterion=name)


def _prepared(session: Session, spec: JudgeSpec, corpus: str) -> StageResult:
    return prepare_stage(session, prepare_config(DataDesign(corpus=corpus), base=_tokenizer(spec), limit=None))


def _tokenizer(spec: JudgeSpec) -> TokenizerSource:
    """What measures the windows: the judge's own tokenizer, or the embedded one where that is behind an endpoint."""
    if isinstance(spec.model, LocalChoice):
        return TokenizerSource(base=spec.model.source, revision=spec.model.revision)
    return TokenizerSource(base=EMBEDDED, revision=None)
