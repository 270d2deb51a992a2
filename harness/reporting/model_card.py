"""A model card that carries proof: what a report found of an adapter, with intervals, and the hub's `model-index`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import InputError
from harness.reporting.finding_index import Index, Named, index
from harness.reporting.finished_reports import RECORD, analyses, record_of
from harness.reporting.markdown import plain
from harness.reporting.render import read_record
from harness.reporting.wording import declaration_note, seeds_note, statement
from harness.types import Adapter, Contract

if TYPE_CHECKING:
    from harness.reporting.record import ReportRecord
    from harness.store.tracking import Tracking

_FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_USE = "## Use"
NOT_TESTED = "No report of this home tells what it is worth: `screentest compare base NAME --data test.jsonl` does."


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A report that tests an adapter, and under which names."""

    record: ReportRecord
    variants: tuple[str, ...]


def find_proof(tracking: Tracking, adapter: Adapter, *, run: str | None) -> Proof | None:
    """The report of a run, else the newest that has the adapter among its variants; None where none has.

    Raises InputError: the run was named, and its report does not know the adapter.
    """
    if run is not None:
        proof = _proof(record_of(tracking, run), adapter)
        if proof is None:
            raise InputError(f"`{run}` must be a run whose report tests {_label(adapter)}, it does not; name another")
        return proof
    found = (_proof(read_record(tracking.folder(info.run_id) / RECORD), adapter) for info in analyses(tracking))
    return next((proof for proof in found if proof is not None), None)


def proven_card(card: str, adapter: Adapter, proof: Proof | None) -> str:
    """The registered card with what the adapter is asked with, its audit, its verdicts, and `model-index` in front."""
    body = _FRONT.sub("", card, count=1)
    before, use, after = body.partition(_USE)
    parts = [_front(adapter, proof), before.strip("\n"), _asked(adapter.contract)]
    parts += ["## Results", NOT_TESTED] if proof is None else _results(index(proof.record), proof)
    return "\n\n".join(part for part in (*parts, f"{use}{after}".strip("\n")) if part) + "\n"


def _label(adapter: Adapter) -> str:
    return f"{adapter.name}/{adapter.version}"


def _proof(record: ReportRecord, adapter: Adapter) -> Proof | None:
    label = _label(adapter)
    names = tuple(row.name for row in record.variants if label in (row.adapter or "").split(", "))
    return Proof(record=record, variants=names) if names else None


def _front(adapter: Adapter, proof: Proof | None) -> str:
    from huggingface_hub import ModelCardData

    is_hub = "/" in adapter.base.source and not adapter.base.source.startswith(("/", "."))
    data: Any = ModelCardData(
        model_name=_label(adapter),
        base_model=adapter.base.source if is_hub else None,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "screentest"],
        eval_results=None if proof is None else _eval_results(index(proof.record), proof),
    )
    return f"---\n{data.to_yaml()}\n---"


def _of_adapter(found: Index, proof: Proof) -> list[Named]:
    """Its own numbers and its contrasts against others; those without a value say nothing."""

    def is_own(named: Named) -> bool:
        arms = found.arms(named.finding)
        return (arms[0] if arms else named.finding.variant) in proof.variants

    return [named for named in found.named if is_own(named) and math.isfinite(named.finding.estimate.value)]


def _eval_results(found: Index, proof: Proof) -> list[Any] | None:
    from huggingface_hub import EvalResult

    data = proof.record.data
    corpus = data.corpus if data else "unknown"
    results = []
    for named in _of_adapter(found, proof):
        finding, estimate, arms = named.finding, named.finding.estimate, found.arms(named.finding)
        label = found.measures[finding.name].label
        told = {
            "interval": [estimate.low, estimate.high], "level": estimate.level, "n": estimate.n,
            "n_clusters": estimate.n_clusters, "n_missing": estimate.n_missing, "method": estimate.method,
            "unit": finding.unit, "better": finding.better, "judge": finding.judge_id,
            "verdict": finding.verdict.label if finding.verdict else None,
            "declared": finding.verdict.in_family if finding.verdict else None,
            "trace": found.trace(named),
        }  # fmt: skip
        results.append(
            EvalResult(
                task_type="text-generation",
                dataset_type=corpus,
                dataset_name=corpus,
                dataset_split="test",
                dataset_revision=data.digest[:12] if data else None,
                metric_type=finding.name,
                metric_value=estimate.value,
                metric_name=f"{label}, {arms[0]} − {arms[1]}" if arms else label,
                metric_args={key: value for key, value in told.items() if value is not None},
            )
        )
    return results or None


def _asked(contract: Contract | None) -> str:
    if contract is None:
        return "## How it was asked in training\n\nNot on record."
    system = "none" if contract.system is None else f"“{plain(contract.system)}”"
    window = "unknown" if contract.max_tokens is None else f"{contract.max_tokens} tokens with the reply"
    rows = {
        "System message": system,
        "Chat template": f"digest {contract.template[:16]}",
        "Turns": ", ".join(contract.roles),
        "History": f"the newest turns that fit in {window}",
        "Base in training": {"nf4": "4 bits (NF4)", "none": "full precision", None: "unknown"}[contract.quantization],
    }
    lines = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"## How it was asked in training\n\nAsk it in the same way.\n\n| | |\n|---|---|\n{lines}"


def _results(found: Index, proof: Proof) -> list[str]:
    record = proof.record
    named = _of_adapter(found, proof)
    claims = [statement(found, n) for n in named if n.finding.contrast is not None]
    said = [
        f"- **{s.label.capitalize()}.** {plain(f'{s.claim} {s.number.text}. {s.reason}'.strip())}"
        + (f" ({plain('; '.join(s.marks))})" if s.marks else "")
        for s in claims
    ]
    own = [
        f"- {plain(found.measures[n.finding.name].label)}: {plain(found.write(n.finding).text)}"
        for n in named
        if n.finding.variant is not None
    ]
    lost = [f"- **Not tested.** {plain(absence.said)}" for absence in record.absences]
    mine = [row for row in record.audit if row.label.partition(":")[0] in proof.variants or ":" not in row.label]
    word = {True: "passed", False: "FAILED", None: "not checked"}
    audit = [f"- {plain(row.label)}: **{word[row.is_passed]}** ({plain(row.detail)})" for row in mine]
    corpus = f" on {record.data.corpus} ({record.data.digest[:12]})" if record.data else ""
    head = f"Of the report “{record.title}”{corpus}, run {record.run_id}, {record.created}."
    notes = " ".join(filter(None, (seeds_note(found), declaration_note(found), record.caveat)))
    return [
        "## Results", plain(head), "\n".join([*lost, *said]), plain(notes), "### By itself", "\n".join(own),
        *(["### Training audit", "\n".join(audit)] if audit else []),
    ]  # fmt: skip
