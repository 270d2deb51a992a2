"""Judges outside an experiment: what `screentest judge run` and `judge qualify` do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.ablation.analysis import per_prompt
from harness.ablation.design import DataDesign, DecodingDesign, VariantDesign
from harness.errors import InputError
from harness.judging.spec import JudgeSpec, load_judge_spec
from harness.models.embedded import EMBEDDED
from harness.seeding import stream
from harness.stats import mean_estimate
from harness.tracking import StageResult
from harness.types import Estimate, Qualification
from pipelines import rows
from pipelines.judges import JudgeUse, judge_use, qualify_stage, score_stage
from pipelines.measuring import generate_stage
from pipelines.session import Session
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


def score_file(
    session: Session, judge: Path, *, generations: Path, corpus: str, data: Path | None, seed: int
) -> Scored:
    """Score a JSONL of replies to TEST prompts.

    Raises:
        InputError: the file holds no reply to a prompt of this data.
    """
    use = _use(load_judge_spec(judge))
    # Without the seed: it is that of draws, and would split the corpus anew.
    source = DataDesign(corpus=None if data else corpus, file=str(data) if data else None)
    prepared = prepare_stage(session, prepare_config(source, base=_tokenizer(use), limit=None))
    variant = resolve_variant(
        REPLIES,
        VariantDesign(generations=str(generations)),
        tracking=session.tracking,
        system=None,
        shots_from=lambda: prompts_of(prepared, "train"),
        seed=seed,
    )
    from harness.models.recorded import RecordedModel

    answered = RecordedModel.load(generations).prompt_ids
    prompts = [p for p in prompts_of(prepared, "test") if p.id in answered]
    if not prompts:
        raise InputError(f"`{generations}` must hold replies to TEST prompts of this data; none of its ids is one")
    made = generate_stage(session, variant, prompts, decoding=DecodingDesign().noun(seed=seed))
    scored = score_stage(session, use, replies={REPLIES: rows.read_replies(REPLIES, made)}, prompts=prompts)
    measures = {c.name: _use(use.spec, criterion=c.name) for c in use.spec.criteria}
    estimates = {}
    for arm in rows.score_arms(scored, measures=measures, variants=(REPLIES,)):
        merged = list(per_prompt(arm.rows).values())
        present = [(row.value, row.cluster) for row in merged if row.value is not None]
        if present:
            estimates[arm.measure] = mean_estimate(
                [value for value, _ in present],
                clusters=[cluster for _, cluster in present],
                rng=stream(seed, "judge run"),
                n_missing=len(merged) - len(present),
            )
    return Scored(stage=scored, judge_id=use.judge_id, unit=use.unit, estimates=estimates)


def qualify_judge(session: Session, judge: Path, *, corpus: str, n: int | None, seed: int) -> tuple[Qualification, ...]:
    """Run a judge's planted controls on a corpus's TRAIN and VALIDATION films."""
    use = _use(load_judge_spec(judge))
    prepared = prepare_stage(session, prepare_config(DataDesign(corpus=corpus), base=_tokenizer(use), limit=None))
    n = use.spec.qualification.n_controls if n is None else n
    return qualify_stage(session, use, prepared=prepared, n=n, seed=seed)


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


def _use(spec: JudgeSpec, *, criterion: str | None = None) -> JudgeUse:
    name = criterion or spec.criteria[0].name
    return judge_use(spec, measure=name, criterion=name)


def _tokenizer(use: JudgeUse) -> TokenizerSource:
    """What measures the windows: the judge's own tokenizer, or the embedded one where that is behind an endpoint."""
    if use.base is None:
        return TokenizerSource(base=EMBEDDED, revision=None)
    return TokenizerSource(base=use.base.source, revision=use.base.revision)
