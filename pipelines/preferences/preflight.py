"""What making preference pairs would take, before any work: parent, prompts, judge, calls and minutes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.experiment.judges.costing import CHARACTERS_PER_TOKEN, plan_scores
from harness.experiment.judges.spending import Planned
from harness.experiment.planning.pace import measure_speed
from harness.experiment.planning.preflight_table import Preflight
from harness.experiment.preparing import prompts_of
from harness.experiment.session import NotStanding, Session
from harness.judging.spec import load_judge_spec
from harness.reporting.numbers import write_count
from harness.store.prepared import read_summary
from harness.store.tracking import StageResult
from harness.types import Adapter, JudgedItem, Prompt
from pipelines.preferences.pair_builder import PairsConfig, candidates_of
from pipelines.preferences.pair_stages import pairs_stage


def look_at_pairs(session: Session, config: PairsConfig, *, prepared: StageResult, parent: Adapter) -> Preflight:
    """The table; nothing is generated but a few tokens, and nothing is sent.

    Calls are counted as if every wanted pair took one prompt; prompts that give no pair come on top.
    """
    found, dry = Preflight(), session.dry()
    summary, train = read_summary(prepared.folder), prompts_of(prepared, "train")
    found.say("parent", f"{parent.name}, on {parent.base.source}")
    found.say("prompts", f"{len(train):,} of TRAIN, in {len({p.cluster for p in train}):,} {summary.cluster_unit}s")
    n = min(config.n_pairs, len(train))
    few = "" if n == config.n_pairs else f", fewer than the {config.n_pairs:,} wanted"
    found.say("pairs", f"at most {n:,}{few}, from {write_count(config.n_candidates, 'candidate')} each")
    if config.judge is not None:
        spec = load_judge_spec(Path(config.judge))
        found.say("judge", f"{spec.name}: {spec.source}, {spec.method}")
        found.planned += pair_calls(dry, config, train)
        found.say_money(session)
    try:
        pairs_stage(dry, config, prepared=prepared, parent=parent)
        found.say("stages", "the pairs stand: nothing would be done")
    except NotStanding:
        variant = candidates_of(parent, system=summary.system)
        measure_speed(found, session, variant, train, decoding=config.as_decoding(), n=n * config.n_candidates)
    return found


def pair_calls(session: Session, config: PairsConfig, train: Sequence[Prompt]) -> list[Planned]:
    """What a judge behind an endpoint would be asked, as if every wanted pair took one prompt of TRAIN."""
    spec = None if config.judge is None else load_judge_spec(Path(config.judge))
    if spec is None or not spec.is_remote:
        return []
    many = config.n_candidates - 1 if spec.declared.compares else 1  # a comparison is asked in both orders
    stand_ins = [
        JudgedItem(
            id=f"{prompt.id}/{draw}/{other}",
            messages=prompt.messages,
            reply=f"{draw} {other} ".ljust(config.max_new_tokens * CHARACTERS_PER_TOKEN, "x"),
            cluster=prompt.cluster,
            opponent="x" * config.max_new_tokens * CHARACTERS_PER_TOKEN if spec.declared.compares else None,
        )
        for prompt in train[: config.n_pairs]
        for draw in range(config.n_candidates)
        for other in range(many)
    ]
    return plan_scores(session, spec, stand_ins)
