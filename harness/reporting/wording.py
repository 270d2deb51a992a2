"""Verdicts in words. A sentence claims exactly what its verdict allows, and says what would allow more."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.reporting.ablation_record import TailRow
from harness.reporting.finding_index import CLAIMS, Index, Named
from harness.reporting.numbers import Written, write_count, write_estimate, write_p, write_smallest_effect, write_times
from harness.reporting.safe_text import in_sentence
from harness.types import Absence, Finding, VerdictLabel

TAIL_OR_PEAK = {  # by whether the asymmetry is above 0, and the low tail falls or the peak rises at all
    (True, True): "cuts the low tail more than it lifts the peak",
    (True, False): "loses at the peak more than in the low tail",
    (False, True): "lifts the peak more than it cuts the low tail",
    (False, False): "fills the low tail more than it loses at the peak",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One contrast, said in words."""

    named: Named
    label: VerdictLabel
    claim: str  # "sft is better than base on held-out loss."
    number: Written
    reason: str  # why this verdict, one sentence
    settle: str  # what would settle it; empty for a claim
    marks: tuple[str, ...]  # "not declared", "control-qualified", "adjusted p = 0.01"

    @property
    def finding(self) -> Finding:
        """What is said."""
        return self.named.finding

    @property
    def is_declared(self) -> bool:
        """Whether the contrast stands in the declared family."""
        return self.finding.verdict is not None and self.finding.verdict.in_family


def statement(index: Index, named: Named) -> Statement:
    """Say a contrast's finding; one without a verdict is exploratory."""
    finding = named.finding
    verdict = finding.verdict
    label: VerdictLabel = verdict.label if verdict else "exploratory"
    return Statement(
        named=named,
        label=label,
        claim=_claim(index, finding, label),
        number=index.write(finding),
        reason=_reason(index, finding, label),
        settle=verdict.settle if verdict else "",
        marks=_marks(index, finding, label),
    )


def summary(statements: tuple[Statement, ...]) -> str:
    """How many of the declared contrasts support a claim, in one sentence."""
    family = [s for s in statements if s.is_declared and s.label != "exploratory"]
    n_other = len(statements) - len(family)
    other = f" {n_other} more {'is' if n_other == 1 else 'are'} exploratory: shown, not claimed." if n_other else ""
    if not family:
        return ("No declared contrast was tested." + other).strip()
    n_claims = sum(s.label in CLAIMS for s in family)
    verb = "supports" if n_claims == 1 else "support"
    return f"{n_claims} of {write_count(len(family), 'declared contrast')} {verb} a claim.{other}"


def absent(absences: tuple[Absence, ...]) -> str:
    """What the absences mean for what follows; empty without any."""
    if not absences:
        return ""
    return "Not everything was tested. What is listed here supports no verdict of better, and the gate stays shut."


def seeds_note(index: Index) -> str:
    """How far a verdict reaches: one training seed speaks of these adapters, not of the method."""
    n = index.record.n_training_seeds
    if n is None:
        return ""
    if n == 1:
        return "One training seed: these verdicts are about these adapters, not about the method that made them."
    return f"{n} training seeds: these verdicts are about the method, as far as {n} seeds show it."


def declaration_note(index: Index) -> str:
    """Whether contrasts were declared before the data, and how often TEST was looked at."""
    declaration = index.record.declaration
    digest = f" (digest {declaration.digest[:12]})" if declaration.digest else ""
    said = {
        "before": f"Contrasts and smallest effects were declared before the first generation{digest}.",
        "partly": f"Declared after their own data: {', '.join(declaration.late)}. Read these as exploratory; the other "
        f"questions were declared before theirs{digest}.",
        "after": f"Declared after data{digest}: both sides of every contrast had replied before it was asked. "
        "Read every verdict as exploratory.",
        "undeclared": "No contrast was declared before the run.",
    }[declaration.status]
    if declaration.n_test_looks is None:
        return said
    looked = f"{said} The test split has been looked at {write_times(declaration.n_test_looks)}"
    if not declaration.question_looks:
        return f"{looked}."
    most = write_times(max(declaration.question_looks.values()))
    return f"{looked}; each of these questions was answered {most}{'' if most == 'once' else ' at most'}."


def _claim(index: Index, finding: Finding, label: VerdictLabel) -> str:
    measure = index.measures[finding.name]
    on = in_sentence(measure.label)
    arms = index.arms(finding)
    if arms is None:
        return f"{finding.contrast} on {on}: {label}."
    a, b = arms
    if label == "equivalent":
        within = f", to within {write_smallest_effect(measure.smallest_effect)}" if measure.smallest_effect else ""
        return f"{a} and {b} are equivalent on {on}{within}."
    return {
        "better": f"{a} is better than {b} on {on}.",
        "worse": f"{a} is worse than {b} on {on}.",
        "inconclusive": f"Whether {a} differs from {b} on {on} is not settled.",
        "exploratory": f"{a} against {b} on {on}: shown, not claimed.",
    }[label]


def _reason(index: Index, finding: Finding, label: VerdictLabel) -> str:
    given = finding.verdict.reason if finding.verdict else ""
    judge = next((j for j in index.record.judges if j.judge_id == finding.judge_id), None)
    if label == "exploratory" and judge is not None and judge.exploratory_reason:
        return given if judge.exploratory_reason in given else f"{given} {judge.exploratory_reason}".strip()
    if given:
        return given
    return "No verdict was drawn from this contrast." if label == "exploratory" else ""


def _marks(index: Index, finding: Finding, label: VerdictLabel) -> tuple[str, ...]:
    marks = [f"judge {index.judge(finding)}"] if finding.judge_id is not None else []
    if finding.verdict is not None:
        if not finding.verdict.in_family:
            marks.append("not declared")
        question = f"{finding.contrast} on {finding.name}"
        if question in index.record.declaration.late:
            marks.append("declared after its data")
        if (n_looks := index.record.declaration.question_looks.get(question, 1)) > 1:
            marks.append(f"answered {write_times(n_looks)}")
        if p := write_p(finding.verdict):
            marks.append(p)
    if finding.judge_id is not None and label in CLAIMS:
        marks.append("control-qualified: agreement with people not measured")
    marks.extend(finding.estimate.notes)
    return tuple(marks)


def tail_sentences(found: Index) -> tuple[str, ...]:
    """One for each declared tail: what is shown, or that nothing is."""
    record = found.record.ablation
    return () if record is None else tuple(_tail_sentence(found, tail) for tail in record.tail)


def _tail_sentence(found: Index, tail: TailRow) -> str:
    treatment, reference = found.contrasts[tail.contrast].arms
    what, test = in_sentence(tail.label or found.label(tail.measure)), tail.asymmetry
    if math.isnan(test.value):
        return f"Whether {treatment} cuts the low tail of {what} more than it lifts the peak could not be tested."
    low, high = (
        write_estimate(change, unit="share", is_difference=True).amount
        for change in (tail.low_change, tail.high_change)
    )
    shares = f"{low} of replies in the low tail, {high} at the peak"
    number = f"asymmetry {write_estimate(test, unit='log-odds', is_difference=True).effect}"
    if test.low is None or test.high is None or test.low <= 0 <= test.high:
        return (
            f"Against {reference}, {treatment} is not shown to cut the low tail of {what} more than it lifts the peak, "
            f"nor the other way round ({shares}; {number})."
        )
    is_cut = test.value > 0
    moved = tail.low_change.value < 0 if is_cut else tail.high_change.value > 0
    return f"Against {reference}, {treatment} {TAIL_OR_PEAK[is_cut, moved]} on {what} ({shares}; {number})."
