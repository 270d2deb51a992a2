"""From variants and prompts to rows: replies, held-out losses, reply metrics and judges' scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.experiment import measured_arms as rows
from harness.experiment import recordings as recorded
from harness.experiment.analysis.contrasts import MeasuredArm
from harness.experiment.design import EvaluationDesign
from harness.experiment.imported_scores import read_scores
from harness.experiment.judges.judge_uses import JudgeUse, judge_uses, score_stage
from harness.experiment.judges.pairwise_stages import versus_stage
from harness.experiment.judges.qualifications import qualifications_for
from harness.experiment.measured_arms import Replies
from harness.experiment.questions import Question, questions_of
from harness.experiment.reply_measures import reply_measures
from harness.experiment.score_table import ScoreFiles
from harness.experiment.session import OnProgress, Session
from harness.generation import GenerationCount, agreement, count, decoding_json, generate
from harness.measures.heldout import HeldoutLoss, heldout_losses
from harness.models.endpoint.endpoint_model import EndpointModel
from harness.models.endpoint.replicas import ReplicatedModel
from harness.models.protocol import adapter_name
from harness.store.artifacts import digest_json, write_parquet
from harness.store.tracking import Stage, StageResult
from harness.types import Absence, Decoding, Generation, Prompt, Qualification, Split, Variant

JOURNAL = "generations.jsonl"
TEST_ONLY: tuple[Split, ...] = ("test",)
GENERATE_REVISION = 2
HELDOUT_REVISION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Everything an analysis needs, with the stages it stands in."""

    variants: Mapping[str, Variant]
    prompts: Sequence[Prompt]  # generated on
    heldout: Sequence[Prompt]  # whose human replies were scored; begins with `prompts`
    replies: Mapping[str, Replies]
    arms: tuple[MeasuredArm, ...]
    scores: ScoreFiles
    judges: Mapping[str, JudgeUse]  # measure -> how its judge is used
    qualifications: tuple[Qualification, ...]
    compared: Mapping[str, StageResult]  # verdicts of the pairwise judges, by judge id
    questions: tuple[Question, ...]  # declared contrasts on declared measures
    declarations: Mapping[str, frozenset[str]]  # variant → digests that stood declared while it replied
    absences: tuple[Absence, ...] = ()  # what was given and is in no row


def measure(
    session: Session,
    design: EvaluationDesign,
    *,
    variants: Mapping[str, Variant],
    prompts: Sequence[Prompt],
    heldout: Sequence[Prompt],
    prepared: StageResult,
    folder: Path,
) -> Measured:
    """Run every stage between variants and analysis; each is reused where its result stands."""
    session.require_served(variants.values())
    questions = questions_of(
        design.contrasts,
        design.measures,
        family=design.family.measures,
        identity={name: variant.digest for name, variant in variants.items()},
    )
    declaration = " ".join([design.declaration_digest(), *(question.digest for question in questions)])
    decoding = design.decoding.noun(seed=design.seed)
    replies = {
        name: rows.read_replies(
            name, generate_stage(session, variant, prompts, decoding=decoding, declaration=declaration)
        )
        for name, variant in variants.items()
    }
    names = tuple(variants)
    absences: list[Absence] = []
    arms: list[MeasuredArm] = []
    if "heldout_loss" in design.measures:
        for variant in variants.values():
            if variant.kind == "model":
                arms.append(rows.heldout_arm(variant.name, heldout_stage(session, variant, heldout)))
    arms += reply_measures(session, design.measures, replies=replies, prompts=prompts).values()
    for name, declared in design.measures.items():
        if declared.scores is not None:
            arms += rows.imported_arms(session.tracking, name, declared.scores, replies)
            given = session.tracking.source_of(session.tracking.run(declared.scores))
            scores = read_scores(session.tracking.folder(given.run_id))
            absences += recorded.unused_scores(name, scores, replies)
    uses = judge_uses(session, design, variants=variants, folder=folder)
    scored: list[StageResult] = []
    compared: dict[str, StageResult] = {}
    qualifications: list[Qualification] = []
    for use in {use.judge_id: use for use in uses.values()}.values():
        served = {name: other for name, other in uses.items() if other.judge_id == use.judge_id}
        if use.spec.method == "pairwise":
            shared = recorded.shared_draws(replies)
            absences += recorded.unpaired_draws(replies, shared, measures=tuple(served))
            stage = versus_stage(session, use, replies=shared, prompts=prompts, control=design.control)
            compared[use.judge_id] = stage
            scored.append(stage)
        else:
            scored.append(score_stage(session, use, replies=replies, prompts=prompts))
        qualifications += qualifications_for(session, use, prepared=prepared, n=design.controls, seed=design.seed)
        arms += rows.score_arms(scored[-1], measures=served, variants=names)
    return Measured(
        variants=variants,
        prompts=prompts,
        heldout=heldout,
        replies=replies,
        arms=tuple(arms),
        scores=ScoreFiles(files=tuple(stage.folder / rows.SCORES for stage in scored)),
        judges={name: use.under(qualifications) for name, use in uses.items()},
        qualifications=tuple(qualifications),
        compared=compared,
        questions=questions,
        declarations={
            name: frozenset(session.tracking.run(reply.stage.source_run_id).tags.get("declaration", "").split())
            for name, reply in replies.items()
        },
        absences=tuple(absences),
    )


def generate_stage(
    session: Session,
    variant: Variant,
    prompts: Sequence[Prompt],
    *,
    decoding: Decoding,
    declaration: str = "",
    adopt: bool = False,
) -> StageResult:
    """A variant's replies to TEST prompts, each kept as soon as it is complete."""

    known = _served(session, variant)

    def work(stage: Stage, on_progress: OnProgress) -> None:
        journal = stage.folder / JOURNAL
        model = session.replier(variant)
        generations = generate(
            model,
            [variant],
            prompts,
            decoding=decoding,
            allowed_splits=TEST_ONLY,
            journal=journal,
            on_progress=on_progress,
        )
        write_parquet(stage.folder / rows.GENERATIONS, generations, Generation)
        journal.unlink(missing_ok=True)
        for counted in count(generations):
            stage.log_metric("replies", counted.n)
            stage.log_metric("cut_off", counted.n_cut_off)
            stage.log_metric("failed", counted.n_failed)
            stage.log_metric("tokens", counted.n_tokens)
            stage.log_metric("refused", counted.n_refused)
            stage.log_metric("repaired", counted.n_repaired)
            for odd in _oddities(counted):
                session.say(f"  {variant.name}: {odd}")
        if isinstance(model, EndpointModel | ReplicatedModel) and (late := model.refused):
            stage.set_tag("refused", ", ".join(late))
            session.say(f"  {variant.name}: {_without(late)}")
        repeated = agreement(model, variant, prompts, generations, decoding=decoding)
        if repeated is not None:
            stage.log_metric("agreement_alone", repeated.share)
            session.say(
                f"  {variant.name}: {repeated.n_same} of {repeated.n} replies are the same when generated alone; "
                "on this device and precision rounding depends on the batch"
            )

    is_served = variant.kind == "model" and bool(session.endpoints)
    engine = {"engine": "endpoint"} if is_served else {}  # another sampler with other seeds, so other replies
    if variant.kind == "file":
        engine = {"draws": "all of the file"}
    return session.stage(
        "generate",
        label=f"Generate ({variant.name})",
        revision=GENERATE_REVISION,
        config={"variant": variant.name, "decoding": decoding_json(decoding)} | engine,
        inputs={"variant": variant.digest, "prompts": prompts_digest(prompts)},
        work=work,
        tags={"declaration": declaration} | known | ({"endpoints": ", ".join(session.endpoints)} if is_served else {}),
        adopt=adopt,
    )


def _served(session: Session, variant: Variant) -> dict[str, str]:
    """What a variant's server is known to do with what it is sent: said, and given as tags of the run."""
    if variant.kind != "endpoint" or not (variant.without or variant.opens_thinking):
        return {}
    found = session.spending.prober(variant.endpoint or "", variant.model or "")
    if variant.without:
        session.say(f"  {variant.name}: {_without({name: found.without().get(name, '') for name in variant.without})}")
    return {"server": found.find("decoding").reason}


def _without(refused: Mapping[str, str]) -> str:
    return "; ".join(f"asked without `{name}`, which its server refuses: {why}" for name, why in refused.items())


def _oddities(counted: GenerationCount) -> Iterator[str]:
    """What ordinary replies do not have."""
    of = f"of {counted.n:,} replies"
    if n := counted.n_failed - counted.n_refused:
        yield f"{n:,} {of} could not be generated, and are missing"
    if counted.n_refused:
        yield f"{counted.n_refused:,} {of} were refused by the model, and are missing"
    if counted.n_thinking:
        yield f"{counted.n_thinking:,} {of} came with thinking, which is kept apart and measured by nothing"
    if counted.n_repaired:
        yield f"{counted.n_repaired:,} characters could not be stored, and are U+FFFD"


def heldout_stage(session: Session, variant: Variant, prompts: Sequence[Prompt]) -> StageResult:
    """How surprised a variant is by each human reply."""

    def work(stage: Stage, on_progress: OnProgress) -> None:
        losses = heldout_losses(
            session.pool.of(variant, spending=session.spending),
            prompts,
            system=variant.system,
            shots=variant.shots,
            adapter=None if variant.adapter is None else adapter_name(variant.adapter),
            on_progress=on_progress,
        )
        write_parquet(stage.folder / rows.HELDOUT, losses, HeldoutLoss)

    return session.stage(
        "heldout",
        label=f"Held-out loss ({variant.name})",
        revision=HELDOUT_REVISION,
        config={},
        inputs={"variant": variant.digest, "prompts": prompts_digest(prompts)},
        work=work,
    )


def prompts_digest(prompts: Sequence[Prompt]) -> str:
    """Identity of the prompts that were asked, references included."""
    return digest_json(list(prompts))
