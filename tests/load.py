"""A server of raters that can be killed: threads that vote through `cast_rating` and write down what was acknowledged.

Run as a program: `python tests/load.py URL TOKENS ACKS PACE`. PACE is the mean of seconds between two votes of a rater.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """What the raters were told."""

    keys: tuple[str, ...]
    seconds: tuple[float, ...]  # from the vote to the next item, per vote


def serve(url: str, tokens: list[str], acks: Path, pace: float) -> None:
    """One thread a rater, until nobody has anything left to rate."""
    from harness.store.database import open_database

    engine = open_database(url)
    written = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    threads = [threading.Thread(target=_rate, args=(engine, token, written, pace, i)) for i, token in enumerate(tokens)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _rate(engine: object, token: str, written: int, pace: float, number: int) -> None:
    from harness.studies.casting import Cast, cast_rating
    from harness.studies.serving import RatingTask, next_task

    chance = random.Random(f"{number} {os.getpid()}")
    time.sleep(chance.random() * pace)
    task = next_task(engine, token)  # type: ignore[arg-type]
    while isinstance(task, RatingTask):
        time.sleep(pace * chance.uniform(4 / 7, 10 / 7))  # two to five seconds where the mean is 3.5
        began = time.perf_counter()
        verdict = chance.choice(["left", "right", "tie"])
        # As the page does it: the key names the showing, so that a retry after a crash is the same vote.
        cast = Cast(key=f"{task.slot}-{os.getpid()}", action="vote", slot=task.slot, verdict=verdict)  # type: ignore[arg-type]
        cast_rating(engine, token, cast)  # type: ignore[arg-type]
        line: dict[str, object] = {"key": cast.key, "slot": task.slot}
        task = next_task(engine, token)  # type: ignore[arg-type]
        line["seconds"] = time.perf_counter() - began
        os.write(written, (json.dumps(line) + "\n").encode())


def run_with_kills(url: str, tokens: list[str], folder: Path, *, pace: float, kill_after: list[int]) -> Acknowledged:
    """Serve, kill -9 when so many votes are acknowledged, serve again, until the study is done."""
    acks, listed = folder / "acks.jsonl", folder / "tokens.json"
    listed.write_text(json.dumps(tokens))
    acks.touch()
    command = [sys.executable, __file__, url, str(listed), str(acks), str(pace)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OMP_NUM_THREADS": "1"}
    for goal in [*kill_after, None]:
        process = subprocess.Popen(command, env=environment)
        while process.poll() is None and (goal is None or _n_lines(acks) < goal):
            time.sleep(0.02)
        if goal is None:
            assert process.wait() == 0
        else:
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, "it was done before it was killed"
    rows = [json.loads(line) for line in acks.read_text().splitlines()]
    return Acknowledged(keys=tuple(r["key"] for r in rows), seconds=tuple(r["seconds"] for r in rows))


def _n_lines(file: Path) -> int:
    return file.read_bytes().count(b"\n")


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3]), float(sys.argv[4]))
