"""`screentest power`: how many prompts, votes, films or seeds; what can be seen with those there are; how surely."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import JsonOption, SeedOption, emit, say

if TYPE_CHECKING:
    from harness.stats import PowerAnswer, SeedDesign
    from pipelines.pilot import Pilot

app = typer.Typer(
    help="""Plan before anything is run: sample size, smallest difference that shows, or power, each from the others.

    Every verb answers one question in a sentence: leave out what you want to know.
    """,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

PowerOption = Annotated[
    float | None,
    typer.Option(
        help="How surely a true difference is to be seen; 0.8 where it is not the answer.", show_default=False
    ),
]
EffectOption = Annotated[
    float | None, typer.Option(help="True difference to plan for, in the unit of the scores.", show_default=False)
]
MeasureOption = Annotated[
    str | None, typer.Option(help="Of a run: the measure, e.g. heldout_loss.", show_default=False)
]
TreatmentOption = Annotated[
    str | None, typer.Option(help="Variant; may be left out where the pilot has two.", show_default=False)
]
ControlOption = Annotated[str | None, typer.Option(help="The variant it is compared with.", show_default=False)]
LevelOption = Annotated[float, typer.Option(help="Confidence level of the claim.")]
TestsOption = Annotated[int, typer.Option(help="Contrasts declared together: the first step of Holm.", min=1)]
IccOption = Annotated[float, typer.Option(help="How alike such rows are: intraclass correlation, from a pilot.")]
USUAL_POWER = 0.8


@app.command("paired")
def paired(
    sd: Annotated[float, typer.Option(help="Standard deviation over prompts of the true difference between two arms.")],
    effect: EffectOption = None,
    prompts: Annotated[int | None, typer.Option(help="Prompts that both arms answer.", show_default=False)] = None,
    power: PowerOption = None,
    repeat_sd: Annotated[float, typer.Option(help="Standard deviation of one arm over draws of the same prompt.")] = 0,
    draws: Annotated[int, typer.Option(help="Replies per prompt and arm.", min=1)] = 1,
    prompts_per_film: Annotated[float, typer.Option(help="Prompts from one film, on average.")] = 1,
    icc: IccOption = 0,
    level: LevelOption = 0.95,
    tests: TestsOption = 1,
    json: JsonOption = False,
) -> None:
    """Scores of two arms on the same prompts.

    How many prompts show half a point?

        screentest power paired --sd 1.2 --effect 0.5 --prompts-per-film 5 --icc 0.1

    What do 200 prompts show? Give `--prompts 200` instead of `--effect`. How surely? Give both.
    """
    from harness import stats

    _check_asked("--effect", effect, "--prompts", prompts, power)
    design = stats.PairedDesign(
        sd_difference=sd,
        sd_repeat=repeat_sd,
        n_draws=draws,
        prompts_per_film=prompts_per_film,
        icc=icc,
        level=level,
        n_tests=tests,
    )
    wanted = USUAL_POWER if power is None else power
    if effect is not None and prompts is not None:
        answer = stats.paired_power(design, effect=effect, n_prompts=prompts)
    elif effect is not None:
        answer = stats.paired_sample_size(design, effect=effect, power=wanted)
    else:
        answer = stats.paired_detectable(design, n_prompts=prompts or 0, power=wanted)
    _answer(answer, json=json)


@app.command("votes")
def votes(
    win_share: Annotated[
        float | None,
        typer.Option(help="True share of decisive votes that one variant wins, e.g. 0.6.", show_default=False),
    ] = None,
    votes: Annotated[int | None, typer.Option(help="Votes in all, ties among them.", show_default=False)] = None,
    power: PowerOption = None,
    ties: Annotated[float, typer.Option(help="Share of votes that are ties.")] = 0,
    votes_per_rater: Annotated[float, typer.Option(help="Votes of one rater, on average.")] = 1,
    icc: IccOption = 0,
    level: LevelOption = 0.95,
    tests: TestsOption = 1,
    json: JsonOption = False,
) -> None:
    """Votes of people between two variants, against one half.

    How many votes show that 60 % prefer the new model, with a quarter of ties and 50 votes a rater?

        screentest power votes --win-share 0.6 --ties 0.25 --votes-per-rater 50 --icc 0.02

    What do 300 votes show? Give `--votes 300` instead of `--win-share`. How surely? Give both.
    """
    from harness import stats

    _check_asked("--win-share", win_share, "--votes", votes, power)
    wanted = USUAL_POWER if power is None else power
    panel = {"tie_share": ties, "votes_per_rater": votes_per_rater, "icc": icc, "level": level}
    if win_share is not None and votes is not None:
        answer = stats.votes_power(win_share, n_votes=votes, n_tests=tests, **panel)
    elif win_share is not None:
        answer = stats.votes_sample_size(win_share, power=wanted, n_tests=tests, **panel)
    else:
        answer = stats.votes_detectable(n_votes=votes or 0, power=wanted, n_tests=tests, **panel)
    _answer(answer, json=json)


@app.command("simulate")
def simulate(
    pilot: Annotated[
        str,
        typer.Argument(
            help="JSONL of scores (prompt_id, variant, value, cluster) or votes (prompt_id, left, right, winner, "
            "cluster), the ratings of a study (`study export`), or a finished run of an evaluation; `latest` is the "
            "newest."
        ),
    ],
    effect: EffectOption = None,
    films: Annotated[int | None, typer.Option(help="Films of the experiment to come.", show_default=False)] = None,
    power: PowerOption = None,
    treatment: TreatmentOption = None,
    control: ControlOption = None,
    measure: MeasureOption = None,
    level: LevelOption = 0.95,
    tests: TestsOption = 1,
    draws: Annotated[int, typer.Option(help="Simulated experiments.", min=100)] = 2_000,
    seed: SeedOption = 7,
    json: JsonOption = False,
) -> None:
    """From a pilot instead of a formula: its films are drawn again and again, and the test is made on each draw.

    How many films show a difference of 0.02 bits per byte, going by the last evaluation?

        screentest power simulate latest --measure heldout_loss --treatment sft --control base --effect 0.02

    What do 60 films show? Give `--films 60` instead of `--effect`. How surely? Give both. With votes a difference is
    the share above one half, ties half: 0.1 is 60 %. A row without `cluster` counts as a film of its own.
    """
    from harness import stats
    from harness.seeding import stream

    _check_asked("--effect", effect, "--films", films, power)
    read = _read_pilot(pilot, measure=measure, treatment=treatment, control=control)
    wanted = USUAL_POWER if power is None else power
    rng = stream(seed, "power simulate")
    rows, clusters = read.differences, read.clusters
    if effect is not None and films is not None:
        answer = stats.pilot_power(
            rows, clusters=clusters, effect=effect, n_clusters=films, rng=rng, level=level, n_tests=tests, n_draws=draws
        )
    elif effect is not None:
        answer = stats.pilot_sample_size(
            rows, clusters=clusters, effect=effect, power=wanted, rng=rng, level=level, n_tests=tests, n_draws=draws
        )
    else:
        answer = stats.pilot_detectable(
            rows, clusters=clusters, n_clusters=films or 0, power=wanted, rng=rng, level=level, n_tests=tests,
            n_draws=draws,
        )  # fmt: skip
    say(_basis(read))
    _answer(answer, json=json)


@app.command("seeds")
def seeds(
    pilot: Annotated[
        str | None,
        typer.Argument(
            help="A finished ablation over seeds; `latest` is the newest run. Or give `--sd`.", show_default=False
        ),
    ] = None,
    effect: EffectOption = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each arm, a seed each.", show_default=False)] = None,
    films: Annotated[
        int | None, typer.Option(help="Films they are judged on; the pilot's unless given.", show_default=False)
    ] = None,
    power: PowerOption = None,
    treatment: TreatmentOption = None,
    control: ControlOption = None,
    measure: MeasureOption = None,
    sd: Annotated[
        float | None,
        typer.Option(
            help="Without a pilot: standard deviation over films of the difference of two trainings.",
            show_default=False,
        ),
    ] = None,
    seed_share: Annotated[
        float, typer.Option(help="Share of the variance of one training's mean that its seed makes, from 0 to 1.")
    ] = 0.5,
    level: LevelOption = 0.95,
    tests: TestsOption = 1,
    json: JsonOption = False,
) -> None:
    """Trainings of an ablation, which differ by their seed: is it the method, or the luck of one training?

    How many seeds show a difference of 0.02 bits per byte, going by the last ablation?

        screentest power seeds latest --measure heldout_loss --treatment neftune --control qlora --effect 0.02

    Without an ablation, from the spread over films and what the seed adds to it:

        screentest power seeds --sd 0.2 --seed-share 0.5 --films 20 --effect 0.2

    What do five seeds show? Give `--seeds 5` instead of `--effect`. How surely? Give both.
    """
    from harness import stats

    _check_asked("--effect", effect, "--seeds", seeds, power)
    design = _seed_design(
        pilot, measure=measure, treatment=treatment, control=control, sd=sd, seed_share=seed_share, films=films,
        level=level, n_tests=tests,
    )  # fmt: skip
    wanted = USUAL_POWER if power is None else power
    if effect is not None and seeds is not None:
        answer = stats.seeds_power(design, effect=effect, n_seeds=seeds, n_films=films)
    elif effect is not None:
        answer = stats.seeds_sample_size(design, effect=effect, n_films=films, power=wanted)
    else:
        answer = stats.seeds_detectable(design, n_seeds=seeds or 0, n_films=films, power=wanted)
    _answer(answer, json=json)


def _seed_design(
    pilot: str | None, *, measure: str | None, treatment: str | None, control: str | None, sd: float | None,
    seed_share: float, films: int | None, level: float, n_tests: int,
) -> SeedDesign:  # fmt: skip
    """From a finished ablation, or from what is given instead."""
    from harness import stats
    from harness.errors import ConfigError

    if (pilot is None) == (sd is None):
        raise ConfigError("`PILOT` or `--sd` must be given, got both or neither: name a finished ablation, or a spread")
    if sd is not None:
        if films is None:
            raise ConfigError("`--films` must be given with `--sd`, got none: on how many films are trainings judged?")
        return stats.seed_shares(sd, seed_share=seed_share, n_films=films, level=level, n_tests=n_tests)
    from harness.store.tracking import Tracking
    from pipelines.pilot import read_seed_pilot

    read = read_seed_pilot(Tracking(), pilot or "", measure=measure, treatment=treatment, control=control)
    rows = read.rows
    films = rows.clusters.codes
    design = stats.seed_pilot(rows.values, seeds=rows.seeds, clusters=films, level=level, n_tests=n_tests)
    say(
        f"pilot: {rows.n_prompts:,} prompts, {design.n_films:,} films, {design.n_seeds} seeds"
        f"{f', {rows.n_missing:,} missing' if rows.n_missing else ''}; {read.treatment} − {read.control}"
        f"{f', in {read.unit}' if read.unit else ''}; seeds make {design.seed_share:.0%} of the variance of one "
        "training's mean"
    )
    return design


def _read_pilot(pilot: str, *, measure: str | None, treatment: str | None, control: str | None) -> Pilot:
    from pipelines.pilot import read_pilot_file, read_pilot_run

    if Path(pilot).suffix in (".jsonl", ".json") or Path(pilot).exists():
        return read_pilot_file(Path(pilot), treatment=treatment, control=control)
    from harness.store.tracking import Tracking

    return read_pilot_run(Tracking(), pilot, measure=measure, treatment=treatment, control=control)


def _basis(pilot: Pilot) -> str:
    lost = f", {pilot.n_missing:,} missing" if pilot.n_missing else ""
    unit = f", in {pilot.unit}" if pilot.unit else ""
    n_films = len(set(pilot.clusters))
    return (
        f"pilot: {len(pilot.differences):,} prompts, {n_films:,} films{lost}; {pilot.treatment} − {pilot.control}{unit}"
    )


def _check_asked(first: str, one: float | None, second: str, other: float | None, power: float | None) -> None:
    """One of the three must be left out: it is the answer."""
    from harness.errors import ConfigError

    if one is None and other is None:
        raise ConfigError(f"`{first}` or `{second}` must be given, got neither: leave out only what you want to know")
    if one is not None and other is not None and power is not None:
        raise ConfigError(f"`{first}`, `{second}` and `--power` must not all be given: leave out what you want to know")


def _answer(answer: PowerAnswer, *, json: bool) -> None:
    if json:
        emit(asdict(answer))
    else:
        typer.echo(answer.sentence)
