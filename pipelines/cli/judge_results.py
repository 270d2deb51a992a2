"""What the verbs of `screentest judge` found: scores, verdicts, qualifications, agreement, and judges beside people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from harness.stats.annotators import MIN_ITEMS
from harness.store.artifacts import to_json
from harness.terminal import dim, green, red, warning
from harness.types import Grain
from pipelines.cli.presenter import FIGURES, LEVEL, Result, Table, counts, figure, written

if TYPE_CHECKING:
    from harness.experiment.judges.cross_judging import CrossJudged
    from harness.experiment.judges.judge_files import Compared, Scored
    from harness.stats.annotators import AlternativeAnnotator
    from harness.studies.corrected import ValidatedContrast
    from harness.studies.validation import MarkValidation, Validation
    from harness.types import Qualification

_STATUS = {"qualified": green("qualified"), "not_qualified": red("not qualified")}
_BESIDES = {
    "repeatability": "same score twice",
    "length_sensitivity": "score and length",
    "position_consistency": "same verdict in both orders",
    "first_position": "verdicts for the first position",
}
_COMPARED = {
    "win_share": "win share of --generations",
    "decisive": "share of decisive verdicts",
    "ties": "ties",
    "strength": "strength, log-odds",
    "position_consistency": "same verdict in both orders",
    "first_position": "decisive verdicts for the first position",
    "length_correlation": "win share and length, rank correlation",
}


def scores(found: Scored) -> Result:
    """Mean scores, a row a criterion."""
    estimates = [{"name": name, **to_json(estimate)} for name, estimate in found.estimates.items()]
    rows = [figure(name, estimate, unit=found.unit) for name, estimate in found.estimates.items()]
    return Result(
        data={"run_id": found.stage.run_id, "judge_id": found.judge_id, "estimates": estimates},
        shown=(Table(title=found.judge_id, columns=("Criterion", f"Mean, {LEVEL} interval", "n"), rows=rows),),
    )


def comparison(found: Compared) -> Result:
    """A pairwise judge's verdicts, a table a criterion."""
    missing = ", ".join(f"{n} {status}" for status, n in sorted(found.missing.items()))
    estimates = [
        {"criterion": e.criterion, **{key: getattr(e, key) for key in _COMPARED}, "strength_note": e.strength_note}
        for e in found.estimates
    ]
    return Result(
        data={
            "run_id": found.stage.run_id,
            "judge_id": found.judge_id,
            "estimates": estimates,
            "missing": found.missing,
        },
        shown=[
            Table(
                title=e["criterion"],
                columns=FIGURES,
                rows=[figure(name, e[key]) for key, name in _COMPARED.items() if e[key] is not None],
            )
            for e in estimates
        ],
        notes=(
            *(f"  {e['criterion']}: no strength: {e['strength_note']}" for e in estimates if e["strength_note"]),
            *([warning(f"verdicts missing: {missing}")] if missing else []),
        ),
    )


def qualifications(found: Sequence[Qualification], *, shares_family: bool | None) -> Result:
    """Controls that a judge was tested on, a table a criterion.

    `shares_family`: whether the judge is of the family of what it is to judge; None where that was not said.
    """
    blocks: list[Table | str] = []
    for qualification in found:
        blocks += _qualification(qualification)
    own = "The judge is of the family that it is to judge: its scores claim nothing."
    return Result(
        data=[_qualification_data(q, shares_family=shares_family) for q in found],
        shown=blocks,
        notes=(
            *([warning(own)] if shares_family else []),
            "A qualified judge sees planted faults; whether it agrees with people is another question.",
        ),
    )


def _qualification(found: Qualification) -> Iterator[Table | str]:
    rows = []
    for family in found.families:
        auc, concordance = written(family.auc), written(family.concordance)
        status = _STATUS.get(family.status, family.status)
        basis = f"{family.basis}, " if family.basis else ""
        rows.append((f"{family.family} ({basis}{family.kind})", auc, concordance, auc and counts(auc), status))
    columns = ("Control family", f"AUC, {LEVEL} interval", f"Concordance, {LEVEL} interval", "n", "Status")
    yield Table(title=f"{found.criterion}: {found.status.replace('_', ' ')}", columns=columns, rows=rows)
    cells = {name: written(getattr(found, key)) for key, name in _BESIDES.items()}
    besides = "; ".join(f"{name} {cell.effect}" for name, cell in cells.items() if cell is not None)
    yield dim(f"  {found.reason}\n  {besides}\n")


def _qualification_data(found: Qualification, *, shares_family: bool | None) -> dict[str, Any]:
    """One criterion as others script against it; its figures are those of its weakest family."""
    families = [
        {
            **{key: getattr(f, key) for key in ("criterion", "family", "kind", "basis")},
            "auc": f.auc.value,
            **{key: getattr(f.auc, key) for key in ("low", "high", "n", "n_clusters", "n_missing")},
            "concordance": f.concordance.value,
            "status": f.status,
            "settle": f.settle,
        }
        for f in found.families
    ]
    counted = [row for row, f in zip(families, found.families, strict=True) if f.counts]
    weakest = min(counted, key=lambda f: -1.0 if f["low"] is None else f["low"], default={})
    return {
        "criterion": found.criterion,
        **{key: weakest.get(key) for key in ("auc", "low", "high", "n", "concordance")},
        "status": found.status,
        "families": families,
        "reason": found.reason,
        "judge_id": found.judge_id,
        **{key: getattr(found, key) for key in _BESIDES},
        "shares_family": shares_family,
    }


def agreement(found: CrossJudged) -> Result:
    """How far judges agree, a row a pair of judges and criterion."""
    rows = []
    for a in found.agreements:
        ranks, verdicts = written(a.rank_correlation), written(a.verdicts)
        rows.append(
            (
                a.criterion,
                f"{a.first} × {a.second}",
                ranks or "not defined",
                f"{counts(ranks)}, over {a.over}" if ranks else None,
                verdicts or "one file only",
                verdicts and counts(verdicts),
                "yes" if a.share_family else "no",
            )
        )
    columns = ("Criterion", "Judges", f"Rank correlation, {LEVEL} interval", "n", "Same verdict", "n", "One family")
    keys = ("criterion", "first", "second", "over", "rank_correlation", "verdicts", "share_family")
    return Result(
        data={
            "agreements": [{key: getattr(a, key) for key in keys} for a in found.agreements],
            "warnings": found.warnings,
        },
        shown=(Table(columns=columns, rows=rows),),
        notes=[warning(sentence) for sentence in found.warnings],
    )


def validation(found: Validation) -> Result:
    """A judge beside people: a table a criterion, then what could not be computed."""
    blocks: list[Table | str] = []
    for criterion in found.criteria:
        marks, unit = criterion.marks, "share" if criterion.marks is None else "points"
        rows = [] if marks is None else list(_marks(marks))
        for contrast in criterion.contrasts:
            rows += _contrast(contrast, unit=unit)
        blocks.append(Table(title=f"{criterion.criterion}: {criterion.judge_id}", columns=FIGURES, rows=rows))
        if marks is not None:
            blocks += [] if marks.annotators is None else _stand_in(marks.annotators)
            blocks += [dim(f"  {reason}") for reason in marks.why_not]
    return Result(data=found, shown=blocks, notes=(dim(f"run {found.run_id}"),))


def _marks(marks: MarkValidation) -> Iterator[tuple[object, ...]]:
    for label, estimate in (
        ("Judge with people (Spearman)", marks.correlation),
        ("Judge with people (Pearson)", marks.linear),
        ("Judge with people within each film or dialogue (Kendall)", marks.within),
        ("Judge with people (kappa)", marks.kappa),
        ("People among themselves (Krippendorff)", marks.among_people),
    ):
        if estimate is not None:
            yield figure(label, estimate, grain=Grain.REPLY)
    if marks.bias is not None:
        yield figure("Judge − people", marks.bias.bias, unit="points", is_difference=True, grain=Grain.REPLY)


def _contrast(contrast: ValidatedContrast, *, unit: str) -> Iterator[tuple[object, ...]]:
    name = f"{contrast.variant} against {contrast.opponent}"
    powered = contrast.powered
    how: dict[str, Any] = {"unit": unit, "is_difference": unit == "points", "grain": Grain.PROMPT}
    if powered is None:
        yield (name, contrast.why_not, None)
        return
    yield figure(f"{name}, people with the judge's help, these raters", powered.test.estimate, **how)
    yield figure(f"{name}, people alone, these raters", powered.human_only, **how)
    if unit == "share" and powered.judge_only is not None:
        yield figure(f"{name}, judge alone (biased)", powered.judge_only, **how)
    if contrast.concordance is not None:
        yield figure(
            f"{name}, judge prefers what people prefer", contrast.concordance, unit="share", grain=Grain.PROMPT
        )


def _stand_in(test: AlternativeAnnotator) -> Iterator[str]:
    """The alternative-annotator test in words."""
    near = written(test.advantage_probability, unit="share", grain=Grain.RATING)
    verdict = "may stand in for a rater" if test.is_passed else "may not stand in for a rater"
    yield (
        f"  The judge {verdict}: it holds against {sum(one.is_beaten for one in test.tests)} of {len(test.tests)} "
        f"(ω = {test.winning_share:.2f}, ε = {test.epsilon:g}) and is at least as close as they are on "
        f"{near.effect if near else 'none'} of their marks (ρ)."
    )
    if test.left_out:
        yield f"  Left out for sharing under {MIN_ITEMS} items with others: {', '.join(map(str, test.left_out))}."
