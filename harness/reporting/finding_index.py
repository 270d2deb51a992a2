"""Findings by name: keys for `screentest trace`, anchors for links, the JSON form, and what may be claimed."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import InputError
from harness.reporting.numbers import Written, write_estimate
from harness.reporting.record import Measure, ReportRecord
from harness.reporting.safe_text import slug
from harness.types import Contrast, Finding, JsonObject

CLAIMS = ("better", "worse", "equivalent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A finding with its key and its anchor in the report."""

    key: str  # "heldout_loss/sft": what `screentest trace RUN NAME` takes
    anchor: str  # id of its source in the page
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Look-ups over one record; make it with `index(record)`."""

    record: ReportRecord
    named: tuple[Named, ...]  # measures in the order shown, within them as given
    measures: Mapping[str, Measure]
    contrasts: Mapping[str, Contrast]
    cluster_noun: str

    @property
    def reference_label(self) -> str:
        """What the reply of a person is called."""
        return "As filmed" if self.cluster_noun == "film" else "Reference"

    def of_contrasts(self) -> tuple[Named, ...]:
        """Differences between arms, the primary measure's first."""
        return tuple(n for n in self.named if n.finding.contrast is not None)

    def of_variants(self) -> tuple[Named, ...]:
        """Numbers of single variants."""
        return tuple(n for n in self.named if n.finding.variant is not None)

    def arms(self, finding: Finding) -> tuple[str, str] | None:
        """The two arms of a finding's contrast; None where the contrast is not listed."""
        contrast = self.contrasts.get(finding.contrast or "")
        return contrast.arms if contrast else None

    def between(self, finding: Finding) -> str:
        """What is compared: "sft − base", or the name of a contrast that is not listed."""
        return " − ".join(self.arms(finding) or (finding.contrast or "",))

    def label(self, measure: str) -> str:
        """What a measure is called; its name where nothing was found of it."""
        return self.measures[measure].label if measure in self.measures else measure

    def judge(self, finding: Finding) -> str:
        """The name of the judge under a finding, or the start of its id; empty without a judge."""
        if finding.judge_id is None:
            return ""
        rows = (j.name for j in self.record.judges if j.judge_id == finding.judge_id)
        return next(rows, finding.judge_id[:12])

    def write(self, finding: Finding) -> Written:
        """The finding's number with the words that its measure calls for."""
        return write_estimate(
            finding.estimate,
            unit=finding.unit,
            is_difference=finding.contrast is not None,
            grain=self.measures[finding.name].grain,
            cluster_noun=self.cluster_noun,
        )

    def find(self, key: str) -> Finding:
        """The finding of a key such as `heldout_loss/sft`.

        Raises InputError: no finding has this key; the message lists those that are there.
        """
        known = {n.key: n.finding for n in self.named}
        if key not in known:
            has = ", ".join(known) or "none"
            raise InputError(f"`NUMBER` must be a number of this report, got {key!r}; it has {has}")
        return known[key]

    def trace(self, named: Named) -> str:
        """The command that walks from the number to its rows."""
        return f"screentest trace {shlex.quote(self.record.run_id)} {shlex.quote(named.key)}"


def index(record: ReportRecord) -> Index:
    """Name every finding and order them as shown: the primary measure first.

    Raises InputError: a judge that may support no claim is under a verdict of better, worse or equivalent.
    """
    _refuse_unfounded_claims(record)
    measures = _measures(record)
    order = {name: place for place, name in enumerate(measures)}
    findings = sorted(record.findings, key=lambda f: order[f.name])
    keys = _keys(findings)
    named = tuple(
        Named(key=key, anchor=f"source-{place}-{slug(key)}", finding=finding)
        for place, (key, finding) in enumerate(zip(keys, findings, strict=True), start=1)
    )
    return Index(
        record=record,
        named=named,
        measures=measures,
        contrasts={c.name: c for c in record.contrasts},
        cluster_noun=record.data.cluster_noun if record.data else "film",
    )


def findings_json(record: ReportRecord) -> list[JsonObject]:
    """Every number of the report as one flat JSON object; keys are an interface that others script against."""
    return [_finding_json(named) for named in index(record).named]


def absences_json(record: ReportRecord) -> list[JsonObject]:
    """What was declared or given and is in no number; while there is any, a gate stays shut."""
    return [
        {"kind": a.kind, "said": a.said, "variants": list(a.variants), "measures": list(a.measures)}
        for a in record.absences
    ]


_OF_ESTIMATE = ("level", "n", "n_clusters", "n_crossed", "crossed", "row", "cluster", "n_missing", "method")


def _finding_json(named: Named) -> JsonObject:
    finding, estimate, verdict = named.finding, named.finding.estimate, named.finding.verdict
    subject = {"variant": finding.variant} if finding.variant is not None else {"contrast": finding.contrast}
    return {
        "key": named.key,
        "name": finding.name,
        **subject,
        "value": _finite(estimate.value),
        "low": _finite(estimate.low),
        "high": _finite(estimate.high),
        **{key: getattr(estimate, key) for key in _OF_ESTIMATE},
        "unit": finding.unit,
        "better": finding.better,
        "df": _finite(estimate.df),
        "se": _finite(estimate.se),
        "notes": list(estimate.notes),
        "judge_id": finding.judge_id,
        "verdict": verdict.label if verdict else None,
        **{key: getattr(verdict, key, None) for key in ("reason", "settle", "withheld")},
        **{key: _finite(getattr(verdict, key, None)) for key in ("p_value", "p_adjusted")},
        "in_family": verdict.in_family if verdict else None,
        "sources": [
            {"run_id": s.run_id, "artifact": s.artifact, "where": dict(s.where), "digest": s.digest}
            for s in finding.sources
        ],
    }


def _finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity: what is not a number is null."""
    return value if value is not None and math.isfinite(value) else None


def _measures(record: ReportRecord) -> dict[str, Measure]:
    """Measures in the order shown: primary, then as listed, then what only findings know."""
    known = {m.name: m for m in record.measures}
    for f in record.findings:
        label = f.name.replace("_", " ")
        known.setdefault(
            f.name, Measure(name=f.name, label=label[:1].upper() + label[1:], unit=f.unit, better=f.better)
        )
    primary = record.primary or next((f.name for f in record.findings if f.contrast is not None), None)
    if primary not in known:
        return known
    return {primary: known[primary]} | {name: m for name, m in known.items() if name != primary}


def _keys(findings: list[Finding]) -> list[str]:
    """`measure/subject`; the judge is added where two judges share a measure, a number where that is not unique."""
    plain = [f"{f.name}/{f.variant if f.variant is not None else f.contrast}" for f in findings]
    shared = Counter(plain)
    keys = [
        f"{key}@{f.judge_id[:8]}" if shared[key] > 1 and f.judge_id else key
        for key, f in zip(plain, findings, strict=True)
    ]
    seen: Counter[str] = Counter()
    unique = []
    for key in keys:
        seen[key] += 1
        unique.append(key if seen[key] == 1 else f"{key}~{seen[key]}")
    return unique


def _refuse_unfounded_claims(record: ReportRecord) -> None:
    exploratory = {j.judge_id for j in record.judges if j.is_self_family or j.exploratory_reason}
    qualified = {(q.judge_id, q.criterion) for q in record.qualifications if q.status == "qualified"}
    criteria = {m.name: m.criterion or m.name for m in record.measures}
    for finding in record.findings:
        if finding.judge_id is None or finding.verdict is None or finding.verdict.label not in CLAIMS:
            continue
        criterion = criteria.get(finding.name, finding.name)
        if finding.judge_id in exploratory:
            why = "is exploratory (it shares weights or family with what it judges)"
        elif (finding.judge_id, criterion) not in qualified:
            why = f"is not qualified on {criterion!r}"
        else:
            continue
        raise InputError(
            f"`verdict` of {finding.name!r} for {finding.contrast!r} must not claim {finding.verdict.label!r}: "
            f"judge {finding.judge_id!r} {why}; make it exploratory or inconclusive"
        )
