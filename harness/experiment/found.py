"""What an experiment found, for Python: the answer in words, a picture and a table, and every row under a number."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.composing import compose
from harness.errors import InputError
from harness.experiment.measured_arms import DIVERSITY, value_column
from harness.reporting.finding_index import findings_json, index
from harness.reporting.markdown import plain, table
from harness.reporting.page import Page, page
from harness.reporting.render import render_answer
from harness.types import Estimate, VerdictLabel

if TYPE_CHECKING:
    import pandas as pd

    from harness.reporting.record import ReportRecord
    from harness.reporting.render import ReportFiles
    from harness.store.tracking import Tracking
    from harness.types import Source

COLUMNS = ("prompt_id", "cluster", "variant", "draw", "value", "status", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What is said of one contrast on one measure."""

    measure: str
    contrast: str
    verdict: VerdictLabel
    estimate: Estimate  # of the first arm minus the second, with its interval
    unit: str
    in_family: bool  # declared before the data; else exploratory
    reason: str  # one sentence
    settle: str  # what would settle an inconclusive one

    def __repr__(self) -> str:
        e = self.estimate
        ends = "" if e.low is None or e.high is None else f" [{e.low:.3g}, {e.high:.3g}]"
        return f"<{self.contrast} on {self.measure}: {self.verdict}, {e.value:.3g}{ends} {self.unit}>"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A finished experiment; shown by itself in a notebook, printed as text elsewhere."""

    record: ReportRecord
    files: ReportFiles  # of the whole report
    tracking: Tracking  # where the rows lie

    @property
    def verdicts(self) -> tuple[Claim, ...]:
        """Every contrast on every measure, the declared ones first."""
        claims = [
            compose(Claim, f, f.verdict, measure=f.name, contrast=f.contrast or "", verdict=f.verdict.label)
            for named in self._page.index.of_contrasts()
            if (f := named.finding).verdict is not None
        ]
        return tuple(sorted(claims, key=lambda claim: not claim.in_family))

    def to_pandas(self) -> pd.DataFrame:
        """Every number as a row: `name`, `variant` or `contrast`, `value`, `low`, `high`, `n`, `verdict` and more."""
        import pandas as pd

        return pd.DataFrame(findings_json(self.record)).drop(columns="sources")

    def rows(self, measure: str) -> pd.DataFrame:
        """The rows under a measure: prompt_id, cluster, variant, draw, value (NaN where missing), status, reason.

        A row is a reply, or a film where the measure is one of all replies together.

        Raises InputError: nothing of that name was measured, or it has no rows.
        """
        import pandas as pd

        found = [f for f in self.record.findings if f.name == measure and f.variant is not None]
        if not found:
            known = ", ".join(dict.fromkeys(f.name for f in self.record.findings))
            raise InputError(f"`{measure}` must be one of {known}")
        frames = [self._rows(s, measure, finding.variant or "") for finding in found for s in finding.sources]
        if not frames:
            raise InputError(f"`{measure}` has no rows of its own")
        return pd.concat(frames, ignore_index=True)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write the whole report to a file: .html, .md or .json. Raises InputError: it ends in something else."""
        target = Path(path)
        files = {".html": self.files.html, ".md": self.files.markdown, ".json": self.files.json}
        if target.suffix not in files:
            raise InputError(f"`path` must end in {', '.join(files)}, got `{target.name}`")
        target.write_bytes(files[target.suffix].read_bytes())
        return target

    def _rows(self, source: Source, measure: str, variant: str) -> pd.DataFrame:
        import pandas as pd

        file = self.tracking.folder(source.run_id) / source.artifact
        held = pd.read_parquet(file, filters=[(k, "==", v) for k, v in source.where.items()] or None)
        value = value_column(source.artifact, measure=measure)
        if source.artifact == DIVERSITY:
            held["prompt_id"] = held["cluster"]
        is_there = held[value].notna()
        shown = held.assign(variant=variant, value=held[value].astype("float64"))
        status = shown["status"] if "status" in shown else pd.Series("ok", index=shown.index)
        # A reply may have text and still lack one value.
        shown["status"] = status.mask((status == "ok") & ~is_there, "missing")
        return shown.assign(draw=shown.get("draw", 0), reason=shown.get("reason", ""))[list(COLUMNS)]

    @cached_property
    def _page(self) -> Page:
        return page(self.record)

    def __str__(self) -> str:
        indexed = index(self.record)
        lines = [*(f"not tested: {absence.said}" for absence in self.record.absences), *self._page.answer, ""]
        for named in indexed.of_contrasts():
            written, verdict = indexed.write(named.finding), named.finding.verdict
            words = (indexed.measures[named.finding.name].label, named.finding.contrast or "", written.effect)
            lines.append("  ".join([*words, verdict.label if verdict else ""]))
        return "\n".join([*lines, "", f"report: {self.files.html}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return render_answer(self._page)

    def _repr_markdown_(self) -> str:
        said = " ".join(self._page.answer)
        return "\n\n".join([plain(said), table(self._page.table)]) if not self._page.table.is_empty else plain(said)
