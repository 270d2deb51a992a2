"""How attentive and how consistent each rater is, and who does not count by the rules that the study declared."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.stats import proportion_estimate, repeatability
from harness.studies.items import HUMAN
from harness.studies.rating_rows import RatedSlot, counted
from harness.studies.studies import Study
from harness.studies.study_design import ExclusionDesign
from harness.types import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterQuality:
    """One rater, as the owner sees them."""

    rater: str
    is_rehearsal: bool
    is_revoked: bool
    n_rated: int  # main items
    n_skipped: int
    n_waiting: int
    attention: Estimate | None  # share of checks passed; None before the first
    consistency: Estimate | None  # share of repeats rated the same
    left_share: Estimate | None  # of decisive votes
    median_seconds: float | None  # from showing to rating
    excluded_for: tuple[str, ...]  # rules broken; empty: counts

    @property
    def is_excluded(self) -> bool:
        """Whether the declared rules leave this rater out."""
        return bool(self.excluded_for)


def rater_qualities(study: Study, rows: Sequence[RatedSlot]) -> tuple[RaterQuality, ...]:
    """Every rater of a study, in the order of their names."""
    raters = sorted({row.rater for row in rows})
    return tuple(_quality(study, [row for row in rows if row.rater == rater]) for rater in raters)


def excluded_raters(qualities: Sequence[RaterQuality]) -> frozenset[str]:
    """Names of those who do not count by the declared rules; who rehearses never does."""
    return frozenset(q.rater for q in qualities if q.is_excluded and not q.is_rehearsal)


def counting(study: Study, rows: Sequence[RatedSlot]) -> list[RatedSlot]:
    """What a result may rest on: the ratings of raters who count."""
    return counted(rows, excluded=excluded_raters(rater_qualities(study, rows)))


def scale_middle(study: Study) -> float:
    """The middle of the marks' scale; a vote has none, and none is asked for."""
    return sum(study.criteria[0].scale) / 2 if study.criteria else 0.0


def checks_passed(rows: Sequence[RatedSlot], *, middle: float) -> dict[str, bool]:
    """Slot of an attention check -> whether it was passed, among the rows of any raters.

    A vote must be for the human line; shuffled words must be marked under the middle and under what the same rater
    gives to replies, so that marking everything alike passes nothing. A check that was skipped is not passed.
    """
    own: dict[str, list[float]] = {}
    for row in rows:
        if row.kind == "main" and row.marks and not row.ranks:
            own.setdefault(row.rater, []).append(statistics.fmean(row.marks.values()))
    usual = {rater: statistics.fmean(marks) for rater, marks in own.items()}
    return {
        row.slot: _has_passed(row, middle=middle, usual=usual.get(row.rater))
        for row in rows
        if row.kind == "attention" and row.state in ("rated", "skipped")
    }


def _has_passed(row: RatedSlot, *, middle: float, usual: float | None) -> bool:
    if row.rating is None:
        return False
    if row.winner is not None:
        return row.winner == HUMAN
    if row.ranks:
        return row.ranks[HUMAN] == 1
    mark = statistics.fmean(row.marks.values())
    return mark < (middle if usual is None else min(middle, usual))


def left_share(
    rows: Sequence[RatedSlot], *, level: float, by: Callable[[RatedSlot], str], cluster: str = ""
) -> Estimate | None:
    """Share of decisive votes for the left side: one half where position does not matter; `cluster` names `by`."""
    decisive = [r for r in rows if r.verdict in ("left", "right")]
    if not decisive:
        return None
    return proportion_estimate(
        [float(r.verdict == "left") for r in decisive],
        clusters=[by(r) for r in decisive],
        level=level,
        method="share of decisive votes for the left side, CR2 + Satterthwaite by cluster, logit t",
        row="vote",
        cluster=cluster,
    )


def _quality(study: Study, rows: Sequence[RatedSlot]) -> RaterQuality:
    level, rules = study.design.level, study.design.exclusion
    main = [r for r in rows if r.kind == "main"]
    rated = [r for r in main if r.rating is not None]
    checks = list(checks_passed(rows, middle=scale_middle(study)).values())
    attention = proportion_estimate(
        [float(p) for p in checks], clusters=list(range(len(checks))), level=level, method="share of checks passed",
        row="check", cluster="check",
    ) if checks else None  # fmt: skip
    paces = [r.seconds for r in rated if r.seconds is not None]
    quality = RaterQuality(
        rater=rows[0].rater,
        is_rehearsal=rows[0].is_rehearsal,
        is_revoked=rows[0].is_revoked,
        n_rated=len(rated),
        n_skipped=sum(r.state == "skipped" for r in main),
        n_waiting=sum(r.state == "pending" for r in main),
        attention=attention,
        consistency=_consistency(rows, level=level),
        left_share=left_share(rated, level=level, by=lambda r: r.prompt_id, cluster="prompt"),
        median_seconds=statistics.median(paces) if paces else None,
        excluded_for=(),
    )
    return _judged(quality, rules)


def _consistency(rows: Sequence[RatedSlot], *, level: float) -> Estimate | None:
    """Repeats against the first rating of the same item; every mark of a repeated item is compared."""
    first = {r.item_id: r for r in rows if r.kind == "main" and r.rating is not None}
    one: list[object] = []
    two: list[object] = []
    clusters: list[str] = []
    n_missing = 0
    for again in (r for r in rows if r.kind == "repeat" and r.state in ("rated", "skipped")):
        before = first.get(again.item_id)
        if before is None or before.rating is None or again.rating is None:
            n_missing += 1
            continue
        said, once_more = (r.ranks or r.marks for r in (before, again))
        marks = sorted(once_more)
        one += [said[name] for name in marks] or [before.winner]
        two += [once_more[name] for name in marks] or [again.winner]
        clusters += [again.prompt_id] * max(1, len(marks))
    if not clusters:
        return None
    same = repeatability([str(x) for x in one], [str(x) for x in two], clusters=clusters, level=level,
                         n_missing=n_missing)  # fmt: skip
    return replace(same, row="rating", cluster="prompt")


def _judged(quality: RaterQuality, rules: ExclusionDesign) -> RaterQuality:
    broken = []
    shares = (
        ("attention checks passed", quality.attention, rules.min_attention),
        ("repeats rated the same", quality.consistency, rules.min_consistency),
    )
    for what, share, least in shares:
        if share is not None and least is not None and share.n_clusters >= rules.min_checks and share.value < least:
            broken.append(f"{what}: {share.value:.0%} of {share.n}, the rule is at least {least:.0%}")
    if quality.n_rated >= rules.min_ratings:
        pace, least = quality.median_seconds, rules.min_seconds
        if pace is not None and least is not None and pace < least:
            broken.append(f"median time to rate: {pace:.1f} s, the rule is at least {least:g} s")
        side, most = quality.left_share, rules.max_one_side
        if side is not None and most is not None and max(side.value, 1 - side.value) > most:
            heavier = max(side.value, 1 - side.value)
            broken.append(f"decisive votes on one side: {heavier:.0%}, the rule is at most {most:.0%}")
    return replace(quality, excluded_for=tuple(broken))
