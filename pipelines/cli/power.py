"""`screentest power`: how many prompts, votes, clusters or seeds; what can be seen with those there are; how surely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import ConfigError
from harness.store.tracking import Tracking
from harness.terminal import say
from pipelines.cli import options
from pipelines.cli.presenter import Result, Table, Verbs

if TYPE_CHECKING:
    from harness.experiment.planning.pilot_data import Pilot
    from harness.stats import PowerAnswer, SeedDesign

app = Verbs("""Plan before anything is run: sample size, smallest difference that shows, or power, each from the others.

    Every verb answers one question in a sentence: leave out what you want to know.
    """)

PowerOption = Annotated[
    float | None,
    typer.Option(help="How surely a true difference is to be seen; 0.8 where it is not the answer."),
]
EffectOption = Annotated[float | None, typer.Option(help="True difference to plan for, in the unit of the scores.")]
MeasureOption = Annotated[str | None, typer.Option(help="Of a run: the measure, e.g. heldout_loss.")]
TreatmentOption = Annotated[str | None, typer.Option(help="Variant; may be left out where the pilot has two.")]
ControlOption = Annotated[str | None, typer.Option(help="The variant it is compared with.")]
LevelOption = Annotated[float, typer.Option(help="Confidence level of the claim.")]
TestsOption = Annotated[int, typer.Option(help="Contrasts declared together: the first step of Holm.", min=1)]
PerClusterOption = Annotated[
    float, typer.Option("--prompts-per-cluster", "--prompts-per-film", help="Prompts from one cluster, on average.")
]
IccOption = Annotated[float, typer.Option(help="How alike such rows are: intraclass correlation, from a pilot.")]
USUAL_POWER = 0.8


@app.verb("paired")
def paired(
    sd: Annotated[float, typer.Option(help="Standard deviation over prompts of the true difference between two arms.")],
    effect: EffectOption = None,
    prompts: Annotated[int | None, typer.Option(help="Prompts that both arms answer.")] = None,
    power: PowerOption = None,
    repeat_sd: Annotated[float, typer.Option(help="Standard deviation of one arm over draws of the same prompt.")] = 0,
    draws: Annotated[int, typer.Option(help="Replies per prompt and arm.", min=1)] = 1,
    prompts_per_cluster: PerClusterOption = 1,
    icc: IccOption = 0,
    level: LevelOption = 0.95,
    tests: TestsOption = 1,
) -> Result:
    """Scores of two arms on the same prompts.

    How many prompts show half a point?

        screentest power paired --sd 1.2 --effect 0.5 --prompts-per-cluster 5 --icc 0.1

    What do 200 prompts show? Give `--prompts 200` instead of `--effect`. How surely? Give both.
    """
    from harness import stats

    design = stats.PairedDesign(
        sd_difference=sd, sd_repeat=repeat_sd, n_draws=draws, prompts_per_cluster=prompts_per_cluster, icc=icc,
        level=level, n_tests=tests,
    )  # fmt: skip
    return _answer(
        ("--effect", effect),
        ("--prompts", prompts),
        power,
        how_many=lambda effect, power: stats.paired_sample_size(design, effect=effect, power=power),
        what_shows=lambda n, power: stats.paired_detectable(design, n_prompts=n, power=power),
        how_surely=lambda effect, n: stats.paired_power(design, effect=effect, n_prompts=n),
    )


@app.verb("votes")
def votes(
    win_share: Annotated[
        float | None,
        typer.Option(help="True share of decisive votes that one variant wins, e.g. 0.6."),
    ] = None,
    votes: Annotated[int | None, typer.Option(help="Votes in all, ties among them.")] = None,
    power: PowerOption = None,
    ties: Annotated[float, typer.Option(help="Share of votes that are ties.")] = 0,
    votes_per_rater: Annotated[float, typer.Option(help="Votes of one rater, on average.")] = 1,
    icc: IccOption = 0,
    level: LevelOption = 0.95,
    tests: TestsOption = 1,
) -> Result:
    """Votes of people between two variants, against one half.

    How many votes show that 60 % prefer the new model, with a quarter of ties and 50 votes a rater?

        screentest power votes --win-share 0.6 --ties 0.25 --votes-per-rater 50 --icc 0.02

    What do 300 votes show? Give `--votes 300` instead of `--win-share`. How surely? Give both.
    """
    from harness import stats

    panel = {"tie_share": ties, "votes_per_rater": votes_per_rater, "icc": icc, "level": level}
    return _answer(
        ("--win-share", win_share),
        ("--votes", votes),
        power,
        how_many=lambda share, power: stats.votes_sample_size(share, power=power, n_tests=tests, **panel),
        what_shows=lambda n, power: stats.votes_detectable(n_votes=n, power=power, n_tests=tests, **panel),
        how_surely=lambda share, n: stats.votes_power(share, n_votes=n, n_tests=tests, **panel),
    )


@app.verb("detectability")
def detectability(
    auc: Annotated[
        float | None,
        typer.Option(help="How often a classifier picks the model's reply of two, 0.5 to 1."),
    ] = None,
    prompts: Annotated[int | None, typer.Option(help="Held-out prompts with human replies.")] = None,
    power: PowerOption = None,
    prompts_per_cluster: PerClusterOption = 4,
    level: LevelOption = 0.95,
    tests: TestsOption = 1,
) -> Result:
    """Whether a classifier tells one variant's replies from people's. Of two variants, `simulate` a finished run.

    How many prompts show replies that are told 60 % of the time?

        screentest power detectability --auc 0.6

    What do 40 prompts show? Give `--prompts 40` instead of `--auc`. How surely? Give both.
    """
    from harness.stats import power as told

    design = told.DetectionDesign(prompts_per_cluster=prompts_per_cluster, level=level, n_tests=tests)
    found = _answer(
        ("--auc", auc),
        ("--prompts", prompts),
        power,
        how_many=lambda auc, power: told.detection_sample_size(design, auc=auc, power=power),
        what_shows=lambda n, power: told.detection_detectable(design, n_prompts=n, power=power),
        how_surely=lambda auc, n: told.detection_power(design, auc=auc, n_prompts=n),
    )
    at = auc or told.detection_detectable(design, n_prompts=prompts or 0, power=power or USUAL_POWER).effect
    powers = {n: told.detection_power(design, auc=at, n_prompts=n).power for n in (20, 40, 80, 160, 320)}
    table = Table(columns=("Prompts", f"Power at {at:.0%}"), rows=[(n, f"{value:.0%}") for n, value in powers.items()])
    return replace(found, shown=(*found.shown, table))


@app.verb("simulate")
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
    clusters: Annotated[
        int | None,
        typer.Option("--clusters", "--films", help="Clusters of the experiment to come: films, customers, documents."),
    ] = None,
    power: PowerOption = None,
    treatment: TreatmentOption = None,
    control: ControlOption = None,
    measure: MeasureOption = None,
    level: LevelOption = 0.95,
    tests: TestsOption = 1,
    draws: Annotated[int, typer.Option(help="Simulated experiments.", min=100)] = 2_000,
    seed: options.Seed = 7,
) -> Result:
    """From a pilot instead of a formula: its clusters are drawn again and again, and the test is made on each draw.

    How many clusters show a difference of 0.02 bits per byte, going by the last evaluation?

        screentest power simulate latest --measure heldout_loss --treatment sft --control base --effect 0.02

    What do 60 clusters show? Give `--clusters 60` instead of `--effect`. How surely? Give both. With votes a
    difference is the share above one half, ties half: 0.1 is 60 %. A row without `cluster` counts as one of its own.
    """
    from harness import stats
    from harness.seeding import stream

    read = _read_pilot(pilot, measure=measure, treatment=treatment, control=control)
    rows, rng = read.rows.values, stream(seed, "power simulate")
    how: dict[str, Any] = {"clusters": read.rows.clusters.codes, "level": level, "n_tests": tests, "n_draws": draws}
    found = _answer(
        ("--effect", effect),
        ("--clusters", clusters),
        power,
        how_many=lambda effect, power: stats.pilot_sample_size(rows, effect=effect, power=power, rng=rng, **how),
        what_shows=lambda n, power: stats.pilot_detectable(rows, n_clusters=n, power=power, rng=rng, **how),
        how_surely=lambda effect, n: stats.pilot_power(rows, effect=effect, n_clusters=n, rng=rng, **how),
    )
    say(_basis(read))
    return found


@app.verb("seeds")
def seeds(
    pilot: Annotated[
        str | None,
        typer.Argument(help="A finished ablation over seeds; `latest` is the newest run. Or give `--sd`."),
    ] = None,
    effect: EffectOption = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each arm, a seed each.")] = None,
    clusters: Annotated[
        int | None,
        typer.Option("--clusters", "--films", help="Clusters they are judged on; the pilot's unless given."),
    ] = None,
    power: PowerOption = None,
    treatment: TreatmentOption = None,
    control: ControlOption = None,
    measure: MeasureOption = None,
    sd: Annotated[
        float | None,
        typer.Option(help="Without a pilot: standard deviation over clusters of the difference of two trainings."),
    ] = None,
    seed_share: Annotated[
        float, typer.Option(help="Share of the variance of one training's mean that its seed makes, from 0 to 1.")
    ] = 0.5,
    level: LevelOption = 0.95,
    tests: TestsOption = 1,
) -> Result:
    """Trainings of an ablation, which differ by their seed: is it the method, or the luck of one training?

    How many seeds show a difference of 0.02 bits per byte, going by the last ablation?

        screentest power seeds latest --measure heldout_loss --treatment neftune --control qlora --effect 0.02

    Without an ablation, from the spread over clusters and what the seed adds to it:

        screentest power seeds --sd 0.2 --seed-share 0.5 --clusters 20 --effect 0.2

    What do five seeds show? Give `--seeds 5` instead of `--effect`. How surely? Give both.
    """
    from harness import stats

    design = _seed_design(
        pilot, measure=measure, treatment=treatment, control=control, sd=sd, seed_share=seed_share, clusters=clusters,
        level=level, n_tests=tests,
    )  # fmt: skip
    return _answer(
        ("--effect", effect),
        ("--seeds", seeds),
        power,
        how_many=lambda effect, power: stats.seeds_sample_size(design, effect=effect, n_clusters=clusters, power=power),
        what_shows=lambda n, power: stats.seeds_detectable(design, n_seeds=n, n_clusters=clusters, power=power),
        how_surely=lambda effect, n: stats.seeds_power(design, effect=effect, n_seeds=n, n_clusters=clusters),
    )


def _seed_design(
    pilot: str | None, *, measure: str | None, treatment: str | None, control: str | None, sd: float | None,
    seed_share: float, clusters: int | None, level: float, n_tests: int,
) -> SeedDesign:  # fmt: skip
    """From a finished ablation, or from what is given instead."""
    from harness import stats

    if (pilot is None) == (sd is None):
        raise ConfigError("`PILOT` or `--sd` must be given, got both or neither: name a finished ablation, or a spread")
    if sd is not None:
        if clusters is None:
            raise ConfigError(
                "`--clusters` must be given with `--sd`, got none: on how many clusters are trainings judged?"
            )
        return stats.seed_shares(sd, seed_share=seed_share, n_clusters=clusters, level=level, n_tests=n_tests)
    from harness.experiment.planning.pilot_data import read_seed_pilot

    read = read_seed_pilot(Tracking(), pilot or "", measure=measure, treatment=treatment, control=control)
    rows = read.rows
    design = stats.seed_pilot(rows.values, seeds=rows.seeds, clusters=rows.clusters.codes, level=level, n_tests=n_tests)
    share = f"; seeds make {design.seed_share:.0%} of the variance of one training's mean"
    say(_basis(read, seeds=f", {design.n_seeds} seeds") + share)
    return design


def _read_pilot(pilot: str, *, measure: str | None, treatment: str | None, control: str | None) -> Pilot:
    from harness.experiment.planning.pilot_data import read_pilot_file, read_pilot_run

    if Path(pilot).suffix in (".jsonl", ".json") or Path(pilot).exists():
        return read_pilot_file(Path(pilot), treatment=treatment, control=control)
    return read_pilot_run(Tracking(), pilot, measure=measure, treatment=treatment, control=control)


def _basis(pilot: Pilot, *, seeds: str = "") -> str:
    rows = pilot.rows
    lost = f", {rows.n_missing:,} missing" if rows.n_missing else ""
    unit = f", in {pilot.unit}" if pilot.unit else ""
    sides = f"{pilot.treatment} − {pilot.control}"
    return f"pilot: {rows.n_prompts:,} prompts, {rows.n_clusters:,} clusters{seeds}{lost}; {sides}{unit}"


def _answer(
    asked: tuple[str, float | None],
    size: tuple[str, int | None],
    power: float | None,
    *,
    how_many: Callable[[float, float], PowerAnswer],
    what_shows: Callable[[int, float], PowerAnswer],
    how_surely: Callable[[float, int], PowerAnswer],
) -> Result:
    """Of a true difference, a size and a power, what is left out is the answer."""
    (first, effect), (second, n), left_out = asked, size, "leave out only what you want to know"
    if n is None:
        if effect is None:
            raise ConfigError(f"`{first}` or `{second}` must be given, got neither: {left_out}")
        answer = how_many(effect, USUAL_POWER if power is None else power)
    elif effect is None:
        answer = what_shows(n, USUAL_POWER if power is None else power)
    elif power is None:
        answer = how_surely(effect, n)
    else:
        raise ConfigError(f"`{first}`, `{second}` and `--power` must not all be given: {left_out}")
    return Result(data=answer, shown=(answer.sentence,))
