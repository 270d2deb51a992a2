"""Several judges over the same files of replies: what `screentest judge matrix` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, InputError
from harness.experiment import measured_arms as rows
from harness.experiment.judges.judge_files import AGAINST, REPLIES, Files, Recorded, read_files
from harness.experiment.judges.judge_uses import JudgeUse, judge_use, score_stage
from harness.experiment.judges.pairwise_stages import PREFERENCES, compare_stage
from harness.experiment.judges.teaching import taught_on
from harness.experiment.session import Session
from harness.experiment.task_choice import told_judge
from harness.judging.matrix import JudgeAgreement, JudgedRows, judge_matrix, preference_warnings
from harness.judging.preferences import ComparedGenerations, item_values
from harness.judging.scored import ScoredGeneration
from harness.judging.spec import SPEC_FILE, JudgeSpec, load_judge_spec
from harness.seeding import stream
from harness.store.artifacts import read_parquet


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossJudged:
    """The matrix, and what a reader must know of it."""

    agreements: tuple[JudgeAgreement, ...]
    warnings: tuple[str, ...]


def cross_judges(session: Session, judges: Sequence[Path], files: Files, *, preferred_by: Sequence[str]) -> CrossJudged:
    """Run every judge on the same replies and see how far they agree.

    Raises InputError: fewer than two judges, the same one twice, or a pairwise judge without `against`.
    """
    judges = [told_judge(folder, source=files.source, say=session.say) for folder in judges]
    specs = [load_judge_spec(folder) for folder in judges]
    require_cross(specs, against=files.against)
    recorded = read_files(session, specs[0], files)
    specs = [
        taught_on(session, spec, prepared=recorded.prepared, judge=folder, seed=files.seed)
        for spec, folder in zip(specs, judges, strict=True)
    ]
    uses = [judge_use(session, spec) for spec in specs]
    if len({use.judge_id for use in uses}) < len(uses):
        raise InputError(f"`JUDGE` must be different judges, got {len(judges)} of which some are the same: name others")
    judged = [one for use in uses for one in _judged(session, use, recorded)]
    return CrossJudged(
        agreements=tuple(judge_matrix(judged, rng=stream(files.seed, "matrix"))),
        warnings=tuple(preference_warnings(judged, preferred_by=[_family(name) for name in preferred_by])),
    )


def require_cross(specs: Sequence[JudgeSpec], *, against: Path | None) -> None:
    """Raises InputError: fewer than two judges, or a pairwise judge without a second file."""
    if len(specs) < 2:
        raise InputError(f"`JUDGE` must be two or more judges, got {len(specs)}: name another")
    if against is None and any(spec.declared.compares for spec in specs):
        raise InputError("`--against` must be given with a pairwise judge, which compares two files")


def _judged(session: Session, use: JudgeUse, recorded: Recorded) -> Iterator[JudgedRows]:
    """What a judge made of each of its criteria: scores of replies, or verdicts on pairs of them."""
    compares, prompts, replies = use.spec.declared.compares, recorded.prompts, recorded.replies
    said: Sequence[ScoredGeneration] | Sequence[ComparedGenerations]
    if compares:
        stage = compare_stage(session, use, first=replies[REPLIES], second=replies[AGAINST], prompts=prompts)
        said = read_parquet(stage.folder / PREFERENCES, ComparedGenerations)
    else:
        stage = score_stage(session, use, replies=replies, prompts=prompts)
        said = read_parquet(stage.folder / rows.SCORES, ScoredGeneration)
    for criterion in use.spec.criteria:
        of: list[Any] = [row for row in said if row.criterion == criterion.name]
        differences = _shares(of) if compares else _differences(of) if AGAINST in replies else {}
        yield JudgedRows(
            judge_id=use.judge_id,
            family=use.spec.family,
            criterion=criterion.name,
            scores={} if compares else {row.item_id: row.value for row in of},
            differences=differences,
            clusters={key: row.cluster for row in of for key in (row.item_id, _pair(row))},
        )


def _shares(compared: Sequence[ComparedGenerations]) -> Mapping[str, float | None]:
    pairs = {row.pair_id: _pair(row) for row in compared}
    shares = {pairs[pair]: share for (pair, _), share in item_values(compared).items()}
    return {key: None if share is None else share - 0.5 for key, share in shares.items()}


def _differences(scored: Sequence[ScoredGeneration]) -> Mapping[str, float | None]:
    values = {(row.variant, _pair(row)): row.value for row in scored}
    differences: dict[str, float | None] = {}
    for key in dict.fromkeys(_pair(row) for row in scored):
        first, second = values.get((REPLIES, key)), values.get((AGAINST, key))
        differences[key] = None if first is None or second is None else first - second
    return differences


def _pair(row: ScoredGeneration | ComparedGenerations) -> str:
    return f"{row.prompt_id}/{row.draw}"


def _family(name: str) -> str:
    """The family of a judge's folder, or a family as it is."""
    folder = Path(name)
    if (folder / SPEC_FILE).is_file():
        return load_judge_spec(folder).family
    if "/" in name:
        raise ConfigError(
            f"`--preferred-by` must be a judge's folder or a family, got {name!r}: there is no such judge"
        )
    return name
