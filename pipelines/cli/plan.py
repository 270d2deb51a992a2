"""`screentest plan`: what an evaluation of some size needs, before anything is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.errors import ConfigError
from harness.store.tracking import Tracking
from pipelines.cli.presenter import UNKNOWN, Result, Table, presented
from pipelines.cli.session import open_store

if TYPE_CHECKING:
    from harness.experiment.planning.costs import Need, Scale
    from harness.experiment.planning.measured_rates import MeasuredRates
    from harness.judging.spec import JudgeSpec

_ROWS = {
    "n_calls": "calls",
    "tokens_read": "tokens read",
    "tokens_generated": "tokens generated",
    "hours": "hours of one device",
    "n_rows": "rows",
    "file_megabytes": "MB of files",
    "store_megabytes": "MB of store",
    "usd": "US$ to endpoints",
}
_SAID = ("tokens_read", "tokens_generated", "tokens_per_second")
_ON_TOP = "A judge's planted controls come on top: `screentest evaluate FILE --dry-run` counts those of an endpoint."


@presented
def plan(
    prompts: Annotated[int, typer.Option(help="Prompts that every variant answers.", min=1)],
    variants: Annotated[int, typer.Option(help="Variants compared.", min=1)],
    seeds: Annotated[int, typer.Option(help="Replies per prompt and variant.", min=1)] = 1,
    criteria: Annotated[
        int | None, typer.Option(help="Criteria that a judge scores; a judge's own where none is given.", min=1)
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option(help="The judge's folder: decides calls per score, and the price."),
    ] = None,
    mode: Annotated[Literal["logprobs", "sampled"] | None, typer.Option(help="Of a judge whose mode is auto.")] = None,
    run: Annotated[
        str | None,
        typer.Option("--from", help="A finished evaluation to measure by: tokens, speed, bytes. `latest`."),
    ] = None,
    prompt_tokens: Annotated[
        float | None, typer.Option(help="Tokens of a prompt, system line included.", min=0)
    ] = None,
    reply_tokens: Annotated[float | None, typer.Option(help="Tokens of a reply.", min=0)] = None,
    question_tokens: Annotated[
        float | None, typer.Option(help="Tokens of a judge's question, text included.", min=0)
    ] = None,
    answer_tokens: Annotated[float | None, typer.Option(help="Tokens of a judge's answer.", min=0)] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option(help="Tokens your device generates a second.", min=1e-9)
    ] = None,
    judge_tokens_per_second: Annotated[
        float | None, typer.Option(help="Tokens your device reads a second, as a judge.", min=1e-9)
    ] = None,
) -> Result:
    """What an evaluation of some size needs: calls, tokens, hours, rows, megabytes, dollars.

    Counts follow from the design. The rest is measured in a run that you name, or said by you; what nobody measured is
    shown as unknown.

        screentest plan --prompts 10000 --variants 6 --seeds 5 --criteria 4 --from latest

    How fast your GPU is, only you know: `--tokens-per-second 2500 --judge-tokens-per-second 30000`.
    """
    from harness.experiment.planning.costs import CallRates, Scale, reply_need, total
    from harness.experiment.planning.measured_rates import measured_rates
    from harness.judging.spec import load_judge_spec

    spec = None if judge is None else load_judge_spec(judge)
    if spec is None and mode is not None:
        raise ConfigError("`--mode` belongs to a judge; give --judge with it")
    measured = None if run is None else measured_rates(Tracking(), run)
    n_criteria = criteria or (len(spec.criteria) if spec else 0)
    scale = Scale(n_prompts=prompts, n_variants=variants, n_draws=seeds, n_criteria=n_criteria)
    rates = measured.reply if measured else CallRates()
    of_replies = dict(zip(_SAID, (prompt_tokens, reply_tokens, tokens_per_second), strict=True))
    needs = [reply_need(scale, rates.said(of_replies))]
    if scale.n_criteria:
        of_scores = dict(zip(_SAID, (question_tokens, answer_tokens, judge_tokens_per_second), strict=True))
        needs.append(_scores(scale, spec, measured, mode=mode, said=of_scores))
    needs.append(total(needs))
    basis = "Counts alone: no run was given to measure by (--from)."
    if measured:
        basis = (
            f"Measured by: {measured.title}. Hours are of one device as fast as the one that ran it, start-up included."
        )
    return Result(data={"basis": basis, "needs": needs}, shown=(_table(needs),), notes=(basis, _ON_TOP))


def _scores(
    scale: Scale,
    spec: JudgeSpec | None,
    run: MeasuredRates | None,
    *,
    mode: str | None,
    said: Mapping[str, float | None],
) -> Need:
    """What a judge's scores need, by its folder, the run that was measured, and what the caller says."""
    from harness.experiment.judges.spending import price_of
    from harness.experiment.planning.costs import CallRates, calls_per_score, score_need
    from harness.judging.asking import ENDPOINT_MODES

    measured = run.judge(spec.name if spec else None) if run else None
    each = measured.calls_per_score if measured else None
    if spec is not None and (spec.declared.calls_per_score or each is None):
        each = calls_per_score(spec, scale, mode=mode)
    if each is None:
        raise ConfigError("`--criteria` need a judge that scores them: give --judge, or --from a run with a judge")
    rates = (measured.rates if measured else CallRates()).said(said)
    # A judge that only a run names is remote where its mode says so, at a price that its folder would tell.
    is_remote = spec.is_remote if spec else measured is not None and measured.judge.mode in ENDPOINT_MODES
    if is_remote:
        rates = replace(rates, is_remote=True, price=price_of(spec) if spec else None)
    elif rates.tokens_generated is None:
        rates = replace(rates, tokens_generated=0.0)  # what is local reads, and generates nothing
    rates = replace(rates, call_bytes=_stored(is_remote=rates.is_remote))
    name = spec.name if spec else measured.judge.name if measured else "a judge"
    return score_need(scale, rates, calls_per_score=each, what=f"scores of {name}")


def _stored(*, is_remote: bool) -> float | None:
    """Bytes that an answer of a judge takes in the SQL store, by those that stand there; None where none does."""
    from harness.models.cache import AnswerCache

    engine = open_store()
    try:
        return AnswerCache(engine, "endpoint" if is_remote else "local").mean_bytes()
    finally:
        engine.dispose()


def _table(needs: Sequence[Need]) -> Table:
    rows = [(label, *(_size(getattr(need, key)) for need in needs)) for key, label in _ROWS.items()]
    return Table(title="What it needs", columns=("", *(need.what for need in needs)), rows=rows)


def _size(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if isinstance(value, int) or value >= 100 else f"{value:.3g}"
