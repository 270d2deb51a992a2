"""Finished stages by their runs: how a result travels between processes and machines."""

from __future__ import annotations

import json

from harness.errors import InputError
from harness.store.tracking import StageResult, Tracking


def stage_result(tracking: Tracking, run_id: str, *, is_reused: bool = False) -> StageResult:
    """What a stage of another process left behind.

    Raises:
        InputError: the run is no finished stage.
    """
    info = tracking.run(run_id)
    source = tracking.source_of(info)
    if "output_digest" not in source.tags:
        raise InputError(f"`{run_id}` must be the run of a finished stage, got one of `{info.stage or 'unknown'}`")
    return StageResult(
        name=info.stage,
        run_id=run_id,
        source_run_id=source.run_id,
        reused=is_reused or source.run_id != run_id,
        folder=tracking.folder(source.run_id),
        digest=source.tags["output_digest"],
        fingerprint=source.tags["fingerprint"],
        seconds=float(source.tags.get("seconds", 0.0)),
        inputs=json.loads(source.tags.get("inputs", "{}")),
    )
