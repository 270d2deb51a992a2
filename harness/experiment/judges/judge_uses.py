"""Judges in an experiment: which measure each serves, what it may claim, and its scores as a stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.experiment.measured_arms import SCORES, Replies
from harness.experiment.session import OnProgress, Session
from harness.judging.judge_builder import build_judge, judge_id, resolve_mode
from harness.judging.mlflow_rows import log_table, log_traces
from harness.judging.qualification import is_self_judging
from harness.judging.scored import ScoredGeneration, item_id, join_scores, judged_items
from harness.judging.spec import EndpointChoice, JudgeSpec, LocalChoice
from harness.models.bases import resolve_base
from harness.models.encoder import resolve_encoder
from harness.models.endpoint import base_url
from harness.reporting.record import JudgeRow
from harness.store.artifacts import write_parquet
from harness.store.prompt_registry import log_prompt
from harness.store.tracking import Stage, StageResult
from harness.types import BaseModel, Generation, Prompt, Qualification, QualificationStatus, Variant

if TYPE_CHECKING:
    from harness.judging.judge_protocol import Judge

SCORE_REVISION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeUse:
    """One measure's judge: who it is, what it scores, and what may be concluded from it."""

    criterion: str
    spec: JudgeSpec  # its mode resolved
    base: BaseModel | None  # None: it judges through an endpoint
    judge_id: str
    is_self_family: bool
    status: QualificationStatus | None = None  # on this criterion; None: not looked at yet
    status_reason: str = ""

    @property
    def description(self) -> str:
        """One sentence for a reader."""
        return next(c.definition for c in self.spec.criteria if c.name == self.criterion)

    @property
    def exploratory_reason(self) -> str:
        """Why this measure may claim nothing; empty where it may."""
        if self.is_self_family:
            return (
                f"The judge is of the family it judges ({self.spec.family}): its scores are shown, they claim nothing."
            )
        if self.status != "qualified":
            state = (self.status or "unknown").replace("_", " ")
            return f"The judge is {state} on {self.criterion}: {self.status_reason or 'no controls were run'}"
        return ""

    @property
    def row(self) -> JudgeRow:
        """The judge as a report shows it."""
        reason = f"It shares the family {self.spec.family} with a variant." if self.is_self_family else ""
        return JudgeRow(
            judge_id=self.judge_id,
            name=self.spec.name,
            description=f"{self.spec.method}, {self.spec.source}",
            family=self.spec.family,
            mode=self.spec.mode,
            is_self_family=self.is_self_family,
            exploratory_reason=reason,
        )

    def under(self, qualifications: Sequence[Qualification]) -> JudgeUse:
        """The same use, knowing how the judge did on its controls."""
        for found in qualifications:
            if (found.judge_id, found.criterion) == (self.judge_id, self.criterion):
                return replace(self, status=found.status, status_reason=found.reason)
        return self


def family_of_variant(variant: Variant, spec: JudgeSpec) -> str | None:
    """A variant's family as far as it is known: of an endpoint only that it is the judge's own model."""
    if variant.base is not None:
        return variant.base.family
    if isinstance(spec.model, EndpointChoice) and variant.endpoint is not None:
        served = (base_url(variant.endpoint), variant.model)
        return spec.family if served == (base_url(spec.model.endpoint), spec.model.name) else None
    return None


def judge_use(
    session: Session, spec: JudgeSpec, *, criterion: str | None = None, families: Sequence[str | None] = ()
) -> JudgeUse:
    """A judge on one criterion, its first unless named; `families` are those of what it judges, None where unknown.

    Mode `auto` is resolved here, before the id is hashed, and said.
    """
    base = local_base(spec)
    resolved = resolve_mode(spec, server=lambda: session.spending.abilities(spec))
    for said in _decided(session, spec, resolved):
        if (line := f"  {spec.name}: {said}") not in session.spending.told:
            session.spending.told.add(line)
            session.say(line)
    return JudgeUse(
        criterion=criterion or spec.criteria[0].name,
        spec=resolved,
        base=base,
        judge_id=judge_id(resolved, base=base),
        is_self_family=is_self_judging(base.family if base else spec.family, families),
    )


def _decided(session: Session, declared: JudgeSpec, resolved: JudgeSpec) -> Iterator[str]:
    """What a judge's server decided, each with the reason."""
    if not declared.is_remote:
        return
    server = session.spending.abilities(declared)
    if resolved.mode != declared.mode:
        why = f" ({server.find('logprobs').reason})"
        yield f"mode auto is {resolved.mode} on {resolved.source}{why}"
    if resolved.reads != declared.reads:
        yield f"scores behind reasons are read by {resolved.reads} ({server.find('logprobs').reason})"
    if resolved.typed == "json_schema" != declared.typed:
        yield f"answers are typed ({server.find('schema').reason})"
    if resolved.top_logprobs != declared.top_logprobs:
        yield f"asked for {resolved.top_logprobs} log-probabilities, not {declared.top_logprobs}: it gives no more"
    if resolved.forced_by != declared.forced_by:
        yield f"the score's position is forced ({resolved.forced_by}: {server.find('prefill').reason})"
    for name in sorted({*resolved.without} - {*declared.without}):
        refused = server.without(greedy=resolved.reading == "logprobs")
        yield f"asked without `{name}`, which {resolved.source} refuses: {refused[name]}"


def local_base(spec: JudgeSpec) -> BaseModel | None:
    """The weights that a judge needs in this process; None for one behind an endpoint."""
    if isinstance(spec.model, LocalChoice):
        resolve = resolve_encoder if spec.declared.is_taught else resolve_base
        return resolve(spec.model.source, revision=spec.model.revision)
    return None


def score_stage(
    session: Session, use: JudgeUse, *, replies: Mapping[str, Replies], prompts: Sequence[Prompt]
) -> StageResult:
    """Every criterion of a judge on every reply of every variant: replies to one prompt share its encoding."""
    generations: list[Generation] = [g for reply in replies.values() for g in reply.generations]

    def work(stage: Stage, on_progress: OnProgress) -> None:
        items = judged_items(prompts, generations)
        scores = judge_of(session, use).score(items, on_progress=on_progress)
        rows = join_scores(generations, scores)
        write_parquet(stage.folder / SCORES, rows, ScoredGeneration)
        stage.set_tag("judge_id", use.judge_id)
        if use.spec.is_remote:
            stage.set_tag("asked", how_asked(use.spec))
        stage.log_metric("missing", sum(row.value is None for row in rows))
        variants = {item_id(g): g.variant for g in generations}
        client, most = session.tracking.client, session.tracking.settings.n_traces
        with session.tracking.claimed_process():
            log_table(client, stage.run_id, items, scores, variants=variants)
            stage.set_tag("traces", log_traces(client, stage.run_id, items, scores, variants=variants, most=most))
            if use.spec.prompt is not None:
                log_prompt(client, stage.run_id, use.spec.prompt, name=use.spec.name, judge_id=use.judge_id)

    return session.stage(
        "judge",
        label=f"Judge ({use.spec.name})",
        revision=SCORE_REVISION,
        config={"judge_id": use.judge_id},
        inputs={f"replies {name}": reply.stage.digest for name, reply in replies.items()},
        work=work,
        tags={"mlflow.runType": "genai_evaluate"},  # MLflow lists it among evaluation runs
    )


def how_asked(spec: JudgeSpec) -> str:
    """What of a judge behind an endpoint its server has decided, in a few words."""
    parts = [spec.mode, *([f"{spec.top_logprobs} log-probabilities"] if spec.reading == "logprobs" else [])]
    parts += [f"read by {spec.reads}", f"typed field: {spec.typed}"] if spec.thinks else []
    parts += [f"position forced by {spec.forced_by}"] if spec.forced_by else []
    return ", ".join([*parts, *(f"without `{name}`" for name in spec.without)])


def judge_of(session: Session, use: JudgeUse, *, repetition: int = 0) -> Judge:
    """The judge of a use, on its model or through its request queue; another `repetition` asks anew what is known."""
    if use.spec.method == "function":
        return build_judge(use.spec)
    if use.base is None or not isinstance(use.spec.model, LocalChoice):
        return build_judge(use.spec, queue=session.spending.queue(use.spec, repetition=repetition))
    if use.spec.declared.is_taught:
        return build_judge(use.spec, model=session.encoder(use.base))
    model = session.cached(use.base, dtype=use.spec.model.dtype, repetition=repetition)
    return build_judge(use.spec, model=model)
