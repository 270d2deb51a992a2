"""`screentest plan`: what an evaluation of some size needs, before anything is run."""

from __future__ import annotations

from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import JsonOption, emit, say, table

if TYPE_CHECKING:
    from harness.judging.spec import EndpointChoice, JudgeSpec
    from harness.models.endpoint.prices import Price
    from pipelines.workload import CallRates, Need, Scale
    from pipelines.yardstick import Yardstick

UNKNOWN = "unknown"


class ModeName(StrEnum):
    """How a judge behind an endpoint is read."""

    logprobs = "logprobs"
    sampled = "sampled"


def plan(
    prompts: Annotated[int, typer.Option(help="Prompts that every variant answers.", min=1)],
    variants: Annotated[int, typer.Option(help="Variants compared.", min=1)],
    seeds: Annotated[int, typer.Option(help="Replies per prompt and variant.", min=1)] = 1,
    criteria: Annotated[
        int | None, typer.Option(help="Criteria that a judge scores; a judge's own where none is given.", min=1)
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option(help="The judge's folder: decides calls per score, and the price.", show_default=False),
    ] = None,
    mode: Annotated[ModeName | None, typer.Option(help="Of a judge whose mode is auto.", show_default=False)] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--from", help="A finished evaluation to measure by: tokens, speed, bytes. `latest`.", show_default=False
        ),
    ] = None,
    prompt_tokens: Annotated[
        float | None, typer.Option(help="Tokens of a prompt, system line included.", min=0, show_default=False)
    ] = None,
    reply_tokens: Annotated[float | None, typer.Option(help="Tokens of a reply.", min=0, show_default=False)] = None,
    question_tokens: Annotated[
        float | None, typer.Option(help="Tokens of a judge's question, text included.", min=0, show_default=False)
    ] = None,
    answer_tokens: Annotated[
        float | None, typer.Option(help="Tokens of a judge's answer.", min=0, show_default=False)
    ] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option(help="Tokens your device generates a second.", min=1e-9, show_default=False)
    ] = None,
    judge_tokens_per_second: Annotated[
        float | None, typer.Option(help="Tokens your device reads a second, as a judge.", min=1e-9, show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """What an evaluation of some size needs: calls, tokens, hours, rows, megabytes, dollars.

    Counts follow from the design. The rest is measured in a run that you name, or said by you; what nobody measured is
    shown as unknown.

        screentest plan --prompts 10000 --variants 6 --seeds 5 --criteria 4 --from latest

    How fast your GPU is, only you know: `--tokens-per-second 2500 --judge-tokens-per-second 30000`.
    """
    from harness.errors import ConfigError
    from harness.judging.spec import load_judge_spec
    from pipelines.workload import CallRates, Scale, reply_need, total

    spec = None if judge is None else load_judge_spec(judge)
    if spec is None and mode is not None:
        raise ConfigError("`--mode` belongs to a judge; give --judge with it")
    yard = None if run is None else _measure(run)
    n_criteria = criteria or (len(spec.criteria) if spec else 0)
    scale = Scale(n_prompts=prompts, n_variants=variants, n_draws=seeds, n_criteria=n_criteria)
    rates = yard.reply if yard else CallRates()
    needs = [reply_need(scale, _said(rates, read=prompt_tokens, generated=reply_tokens, per_second=tokens_per_second))]
    if scale.n_criteria:
        asked = {"read": question_tokens, "generated": answer_tokens, "per_second": judge_tokens_per_second}
        needs.append(_scores(scale, spec, yard, mode=mode, **asked))
    needs.append(total(needs))
    _show(needs, json=json, basis=_basis(yard))


def _measure(run: str) -> Yardstick:
    from harness.store.tracking import Tracking
    from pipelines.yardstick import read_yardstick

    return read_yardstick(Tracking(), run)


def _said(
    rates: CallRates, *, read: float | None, per_second: float | None, generated: float | None = None
) -> CallRates:
    """What the caller says counts before what was measured."""
    return replace(
        rates,
        tokens_read=rates.tokens_read if read is None else read,
        tokens_generated=rates.tokens_generated if generated is None else generated,
        tokens_per_second=rates.tokens_per_second if per_second is None else per_second,
    )


def _scores(
    scale: Scale,
    spec: JudgeSpec | None,
    yard: Yardstick | None,
    *,
    mode: ModeName | None,
    read: float | None,
    generated: float | None,
    per_second: float | None,
) -> Need:
    from harness.errors import ConfigError
    from harness.judging.spec import ENDPOINT_MODES, EndpointChoice
    from pipelines.workload import CallRates, calls_per_score, score_need

    measured = yard.judge(spec.name if spec else None) if yard else None
    each = measured.calls_per_score if measured else None
    if spec is not None and (spec.method != "deepeval" or each is None):
        each = calls_per_score(spec, scale, mode=None if mode is None else mode.value)
    if each is None:
        raise ConfigError("`--criteria` need a judge that scores them: give --judge, or --from a run with a judge")
    rates = _said(measured.rates if measured else CallRates(), read=read, generated=generated, per_second=per_second)
    if spec is not None and isinstance(spec.model, EndpointChoice):
        price = _price(spec, spec.model)
        rates = replace(rates, is_remote=True, price=price)
    elif measured is not None and measured.judge.mode in ENDPOINT_MODES:
        rates = replace(rates, is_remote=True)  # at a price that its folder would tell
    elif rates.tokens_generated is None:
        rates = replace(rates, tokens_generated=0.0)  # what is local reads, and generates nothing
    rates = replace(rates, call_bytes=_stored(is_remote=rates.is_remote))
    name = spec.name if spec else measured.judge.name if measured else "a judge"
    return score_need(scale, rates, calls_per_score=each, what=f"scores of {name}")


def _price(spec: JudgeSpec, model: EndpointChoice) -> Price | None:
    """The judge's own price, else the list's; None where neither knows it."""
    from harness.models.endpoint import base_url
    from harness.models.endpoint.prices import Price, listed_price

    own = spec.runtime.usd_per_million_tokens
    if own is not None:
        return Price(input=own.input, output=own.output)
    return listed_price(base_url(model.endpoint), model.name)


def _stored(*, is_remote: bool) -> float | None:
    """Bytes that an answer of a judge takes in the SQL store, by those that stand there; None where none does."""
    from harness.models.cache import AnswerCache
    from harness.settings import Settings
    from harness.store.database import open_database

    engine = open_database(Settings.from_environment().database_url)
    try:
        return AnswerCache(engine, "endpoint" if is_remote else "local").mean_bytes()
    finally:
        engine.dispose()


def _basis(yard: Yardstick | None) -> str:
    if yard is None:
        return "Counts alone: no run was given to measure by (--from)."
    return f"Measured by: {yard.title}. Hours are of one device as fast as the one that ran it, start-up included."


def _show(needs: list[Need], *, json: bool, basis: str) -> None:
    if json:
        emit({"basis": basis, "needs": [asdict(need) for need in needs]})
        return
    rows = [
        ("calls", *(f"{need.n_calls:,}" for need in needs)),
        ("tokens read", *(_count(need.tokens_read) for need in needs)),
        ("tokens generated", *(_count(need.tokens_generated) for need in needs)),
        ("hours of one device", *(_size(need.hours) for need in needs)),
        ("rows", *(f"{need.n_rows:,}" for need in needs)),
        ("MB of files", *(_size(need.file_megabytes) for need in needs)),
        ("MB of store", *(_size(need.store_megabytes) for need in needs)),
        ("US$ to endpoints", *(_size(need.usd) for need in needs)),
    ]
    table("What it needs", ("", *(need.what for need in needs)), rows)
    say(basis)
    say("A judge's planted controls come on top: `screentest evaluate FILE --dry-run` counts those of an endpoint.")


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _size(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
