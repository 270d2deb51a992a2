"""What a variant replies to prompts, and how likely it finds people's replies: the stages that ask a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.experiment import measured_arms as rows
from harness.experiment.session import OnProgress, Session
from harness.generation import GenerationCount, agreement, count, decoding_json, generate
from harness.measures.heldout import HeldoutLoss, heldout_losses
from harness.models.endpoint.endpoint_model import EndpointModel
from harness.models.endpoint.replicas import ReplicatedModel
from harness.models.protocol import adapter_name
from harness.store.artifacts import digest_json, write_parquet
from harness.store.prompt_registry import log_prompt
from harness.store.tracking import Stage, StageResult
from harness.types import Decoding, Generation, Prompt, Split, Variant

JOURNAL = "generations.jsonl"
TEST_ONLY: tuple[Split, ...] = ("test",)
GENERATE_REVISION = 2
HELDOUT_REVISION = 1


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
        if variant.system:
            with session.tracking.claimed_process():
                log_prompt(session.tracking.client, stage.run_id, variant.system, name="system-message")
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
