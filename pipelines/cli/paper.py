"""`screentest paper`: the paper's pipeline in one command."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from harness.store.tracking import Tracking
from harness.terminal import bold, dim, say, stderr
from pipelines.cli import options
from pipelines.cli.outcome import ablation
from pipelines.cli.presenter import Result, presented
from pipelines.cli.session import checks
from pipelines.cli.study import HERE, UrlOption


@presented
def paper(
    profile: Annotated[
        str, typer.Option(help="Size of the base: 0.5b, 1.5b, 3b; `quick` tries it on a CPU.")
    ] = "quick",
    corpus: options.OtherCorpus = None,
    workers: Annotated[int, typer.Option(help="Stages at once.", min=1, max=256)] = 1,
    url: UrlOption = HERE,
    limit: options.Limit = None,
    budget_usd: options.Budget = None,
    dry_run: options.DryRun = False,
    force: options.Force = False,
) -> Result:
    """The pipeline of arXiv 2502.16274: fine-tune, 10,000 preferences, DPO, judge 50 prompts, then ask people.

    corpus → SFT with NEFTune → pairs by gpt-4o → DPO → G-Eval by gpt-4o-mini on base, few-shot, SFT and DPO → report →
    an audit of 50 pairs and marks of a hundred replies by three people. Every step resumes: give the command again.
    """
    from rich.markup import escape

    from harness.experiment.ablate import Executor, run
    from pipelines.paper import load_paper, look_at_paper, make_studies, stand_in

    file, design = load_paper(profile=profile, corpus=corpus)
    tracking = Tracking()
    with stand_in(design.stand_in) as local:
        if local is not None:
            say(dim(f"`{design.stand_in}` on {local} stands in the place of the judges that the paper pays for"))
        if dry_run:
            return checks(
                look_at_paper(tracking, design, file=file, limit=limit, is_forced=force, budget_usd=budget_usd)
            )
        finished = run(
            tracking,
            design,
            file=file,
            profile=profile,
            executor=Executor(n_workers=workers),
            console=stderr(),
            say=say,
            limit=limit,
            is_forced=force,
            budget_usd=budget_usd,
        )
    studies = make_studies(tracking, design, finished)
    for made in studies.made:
        say(f"{bold(made.study.name)}: {made.study.plan} {dim('Links are shown once.')}")
    for name in studies.standing:
        say(dim(f"{name} stands already; `screentest study link {name} RATER` makes a new link"))
    for name, why in studies.lacking.items():
        say(f"{bold(name)} was not made: {escape(why)}")
    links = [
        {"study": made.study.name, "rater": link.rater, "url": link.url(url)}
        for made in studies.made
        for link in made.links
    ]
    outcome = ablation(finished, studies=links)
    lines = tuple(f"{link['study']}  {link['rater']}  {link['url']}" for link in links)
    return replace(outcome, shown=(*outcome.shown, *lines))
