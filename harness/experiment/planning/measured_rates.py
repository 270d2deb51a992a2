"""Measured rates: what one call took in a finished evaluation, to cost one of another size by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError
from harness.experiment.judges.pairwise_stages import PREFERENCES
from harness.experiment.measured_arms import GENERATIONS, SCORES
from harness.experiment.planning.costs import CallRates, sum_known
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
    replies = _taken(tracking, _lines(record, ("generate",)), (GENERATIONS,))
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
        if taken := _taken(tracking, lines, (SCORES, TABLE, PREFERENCES)):
            n_calls = sum_known([t.n_calls for t in taken])
            each = None if n_calls is None else n_calls / sum(t.n_rows for t in taken)
            found.append(JudgeRates(judge=judge, rates=_rates(taken, is_slow_reading=True), calls_per_score=each))
    return found


def _lines(record: ReportRecord, names: Sequence[str]) -> list[StageLine]:
    return list({line.run_id: line for line in record.stages if line.name in names}.values())


def _taken(tracking: Tracking, lines: Sequence[StageLine], files: Sequence[str]) -> list[_Taken]:
    """What stages took that left rows. The first of `files` holds them."""
    import pyarrow.parquet as pq

    found = []
    for line in lines:
        run = tracking.run(line.run_id)
        folder = tracking.folder(line.run_id)
        present = [folder / file for file in files if (folder / file).is_file()]
        if (n_rows := pq.read_metadata(folder / files[0]).num_rows) > 0:
            found.append(
                _Taken(
                    n_rows=n_rows,
                    n_bytes=sum(path.stat().st_size for path in present),
                    row_bytes=sum(_rows_bytes(path) / n_rows for path in present),
                    seconds=line.seconds,
                    n_calls=run.metrics.get(CALLS_METRIC),
                    n_read=run.metrics.get(INPUT_METRIC),
                    n_generated=run.metrics.get(OUTPUT_METRIC),
                )
            )
    return found


def _rows_bytes(file: Path) -> float:
    """Bytes that the rows of a file add to it; of Parquet by what the second half of them adds to the first.

    A small Parquet file is mostly footer and dictionaries: its size divided by its rows would foretell too much.
    """
    import io

    import pyarrow.parquet as pq

    if file.suffix != ".parquet":
        return file.stat().st_size
    rows = pq.read_table(file)
    half = len(rows) // 2
    sizes = []
    for part in (rows, rows.slice(0, half)):
        stream = io.BytesIO()
        pq.write_table(part, stream, compression="zstd")
        sizes.append(len(stream.getvalue()))
    return (sizes[0] - sizes[1]) / (len(rows) - half) * len(rows)


def _rates(taken: Sequence[_Taken], *, is_slow_reading: bool) -> CallRates:
    n_calls = sum_known([t.n_calls for t in taken])
    read, generated = sum_known([t.n_read for t in taken]), sum_known([t.n_generated for t in taken])
    seconds, slow = sum(t.seconds for t in taken), read if is_slow_reading else generated
    return CallRates(
        tokens_read=read / n_calls if read is not None and n_calls else None,
        tokens_generated=generated / n_calls if generated is not None and n_calls else None,
        tokens_per_second=slow / seconds if slow and seconds else None,
        row_bytes=sum(t.row_bytes * t.n_rows for t in taken) / sum(t.n_rows for t in taken),
        stage_bytes=max(0.0, sum(t.n_bytes - t.row_bytes * t.n_rows for t in taken) / len(taken)),
    )
