"""How a verb prints the training audit: one line a check, pass, fail or not checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.terminal import green, red
from pipelines.cli.console import table

if TYPE_CHECKING:
    from harness.reporting.record import AuditRow

_WORDS = {True: green("pass"), False: red("fail"), None: "not checked"}


def show_audit(rows: Sequence[AuditRow]) -> None:
    """The audit as a table on stdout; nothing where nothing was checked."""
    if rows:
        table("Training audit", ("Check", "Result", "Detail"), [(r.label, _WORDS[r.is_passed], r.detail) for r in rows])


def audit_json(rows: Sequence[AuditRow]) -> list[dict[str, Any]]:
    """The audit as others script against it."""
    return [{"check": row.label, "passed": row.is_passed, "detail": row.detail} for row in rows]
