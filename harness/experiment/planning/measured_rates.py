"""Measured rates: what one call took in a finished evaluation, to cost one of another size by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError
from harness.experiment.judges.pairwise_stages import PREFERENCES
from harness.experiment.measured_arms import GENERATIONS, SCORES
from harness.experiment.planning.costs import CallRates
from harness.experiment.session import CALLS_METRIC, INPUT_METRIC, OUTPUT_METRIC
from harness.judging.mlflow_rows import TABLE
from harness.reporting.finished_reports import record_of
from harness.reporting.record import JudgeRow, ReportRecord, StageLine
from harness.store.tracking import Tracking

_JUDGING = ("judge", "judge-versus")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRates:
    """What a judge took."""

    judge: JudgeRow
    rates: CallRates
    calls_per_score: float | None  # None: its calls were not counted


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRates:
    """What a run took, per call."""

    title: str
    reply: CallRates
    judges: tuple[JudgeRates, ...]

    def judge(self, name: str | None) -> JudgeRates | None:
        """The judge of a name, or the only one; None where the run has no such judge.

        Raises InputError: no name is given, and there are several.
        """
        if name is None:
            if len(self.judges) > 1:
                names = ", ".join(rates.judge.name for rates in self.judges)
                raise InputError(f"`--judge` must say which of the run's judges is meant: {names}")
            return self.judges[0] if self.judges else None
        return next((rates for rates in self.judges if rates.judge.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """What one stage took."""

    n_rows: int
    n_bytes: int  # of its files
    row_bytes: float  # that one more row adds to them
    seconds: float
    n_calls: float | None  # None: the stage was recorded before calls were counted
    n_read: float | None
    n_generated: float | None


def measured_rates(tracking: Tracking, run: str) -> MeasuredRates:
    """Measure a finished evaluation by what its stages recorded.

    Raises InputError: there is no such run, or nothing was generated in it.
    """
    record = record_of(tracking, run)
    replies = [t for t in (_taken(tracking, line, (GENERATIONS,)) for line in _lines(record, ("generate",))) if t]
    if not replies:
        raise InputError(f"`{run}` must be a run that generated replies; its stages hold none")
    return MeasuredRates(
        title=record.title, reply=_rates(replies, is_slow_reading=False), judges=tuple(_judges(tracking, record))
    )


def _judges(tracking: Tracking, record: ReportRecord) -> list[JudgeRates]:
    found = []
    for judge in record.judges:
        lines = [
            line
            for line in _lines(record, _JUDGING)
            if tracking.run(line.run_id).tags.get("judge_id") == judge.judge_id
        ]
        taken = [t for t in (_taken(tracking, line, (SCORES, TABLE, PREFERENCES)) for line in lines) if t]
        if not taken:
            continue
        n_calls = _sum([t.n_calls for t in taken])
        n_rows = sum(t.n_rows for t in taken)
        found.append(
            JudgeRates(
                judge=judge,
                rates=_rates(taken, is_slow_reading=True),
                calls_per_score=None if n_calls is None else n_calls / n_rows,
            )
        )
    return found


def _lines(record: ReportRecord, names: Sequence[str]) -> list[StageLine]:
    return list({line.run_id: line for line in record.stages if line.name in names}.values())


def _taken(tracking: Tracking, line: StageLine, files: Sequence[str]) -> _Taken | None:
    """What a stage took; None where it left no rows. The first of `files` holds them."""
    import pyarrow.parquet as pq

    folder: Path = tracking.folder(line.run_id)
    n_rows = pq.read_metadata(folder / files[0]).num_rows
    if n_rows == 0:
        return None
    metrics = tracking.client.get_run(line.run_id).data.metrics
    present = [folder / file for file in files if (folder / file).is_file()]
    return _Taken(
        n_rows=n_rows,
        n_bytes=sum(path.stat().st_size for path in present),
        row_bytes=sum(
            _row_bytes(path) * pq.read_metadata(path).num_rows / n_rows
            if path.suffix == ".parquet"
            else path.stat().st_size / n_rows
            for path in present
        ),
        seconds=line.seconds,
        n_calls=metrics.get(CALLS_METRIC),
        n_read=metrics.get(INPUT_METRIC),
        n_generated=metrics.get(OUTPUT_METRIC),
    )


def _row_bytes(file: Path) -> float:
    """Bytes that one more row adds to a file, by what the second half of its rows adds to the first.

    A small Parquet file is mostly footer and dictionaries: its size divided by its rows would foretell too much.
    """
    import io

    import pyarrow.parquet as pq

    rows = pq.read_table(file)
    half = len(rows) // 2
    sizes = []
    for part in (rows, rows.slice(0, half)):
        stream = io.BytesIO()
        pq.write_table(part, stream, compression="zstd")
        sizes.append(len(stream.getvalue()))
    return (sizes[0] - sizes[1]) / (len(rows) - half)


def _rates(taken: Sequence[_Taken], *, is_slow_reading: bool) -> CallRates:
    n_calls = _sum([t.n_calls for t in taken])
    read, generated = _sum([t.n_read for t in taken]), _sum([t.n_generated for t in taken])
    seconds, slow = sum(t.seconds for t in taken), read if is_slow_reading else generated
    return CallRates(
        tokens_read=read / n_calls if read is not None and n_calls else None,
        tokens_generated=generated / n_calls if generated is not None and n_calls else None,
        tokens_per_second=slow / seconds if slow and seconds else None,
        row_bytes=sum(t.row_bytes * t.n_rows for t in taken) / sum(t.n_rows for t in taken),
        stage_bytes=max(0.0, sum(t.n_bytes - t.row_bytes * t.n_rows for t in taken) / len(taken)),
    )


def _sum(parts: Sequence[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
