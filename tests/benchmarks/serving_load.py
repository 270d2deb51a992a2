"""200 clients, one request in ten hung up mid-stream, for three minutes: memory flat, every reply the one given alone.

`python tests/benchmarks/serving_load.py --clients 200 --seconds 180`, on a tiny random model with two adapters, whose
service is a process of its own; with `--home HOME --models base embedded-quick-sft/1`, on the embedded model and the
adapters that a quickstart has left in HOME. Exits with 1 when memory grew by more than 5 % or a reply differs.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from crowd import Outcome, Plan, drive, say_alone
from fakes import tiny_adapter, tiny_checkpoint
from servers import wait_until_it_answers
from stories import command, environment, fresh_home

from harness.models.bases import resolve_base
from harness.registry import publish
from harness.settings import Settings
from harness.store.tracking import Tracking

SETTLED, MOST_GROWTH = 0.25, 0.05  # the first quarter warms caches and is not judged


def tiny_home(root: Path) -> tuple[str, Path]:
    """A tiny base, and a home with `film/1` and `film/2` on it."""
    base = resolve_base(str(tiny_checkpoint(root / "base")))
    home = fresh_home(root / "home")
    tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    for seed in (0, 1):
        publish(tracking, tiny_adapter(root / f"adapter{seed}", base, seed=seed), name="film", card="# card")
    return base.source, home


@contextlib.contextmanager
def service(base: str, home: Path, log: Path, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """The registry of a home, served by the command line."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = command("serve", "--base", base, "--port", port, *options)
    with log.open("w") as written:
        process = subprocess.Popen(line, env=environment(home), stderr=written)
        try:
            wait_until_it_answers(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)


def growth(outcome: Outcome) -> float:
    """Median resident memory of the last tenth over that of the tenth after warming up, less 1."""
    end = outcome.resident[-1][0]
    early = [size for at, size in outcome.resident if SETTLED * end <= at < (SETTLED + 0.1) * end]
    late = [size for at, size in outcome.resident if at >= 0.9 * end]
    return statistics.median(late) / statistics.median(early) - 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--home", type=Path, help="a home with adapters of the embedded model")
    parser.add_argument("--models", nargs="+", default=["base", "film/1", "film/2"])
    chosen = parser.parse_args()
    plan = Plan(n_clients=chosen.clients, seconds=chosen.seconds, models=chosen.models)
    with tempfile.TemporaryDirectory() as root:
        options = ("--max-batch", "32", "--queue", "128")
        base, home = ("embedded", chosen.home) if chosen.home else tiny_home(Path(root))
        with service(base, home, Path(root) / "service.log", *options) as (url, process):
            outcome = drive(url, plan, resident=lambda: int(process.memory_info().rss))
            alone = say_alone(url, plan, sorted({i for i, _ in outcome.texts}))
    wrong = [(i, text) for i, text in outcome.texts if text != alone[i]]
    grown = growth(outcome)
    sizes = [size / 2**20 for _, size in outcome.resident]
    print(
        f"{chosen.clients} clients, {chosen.seconds:g} s: {len(outcome.texts)} whole replies ({len(wrong)} differ from "
        f"the one given alone), {outcome.n_left} hung up, {outcome.n_refused} asked to wait, "
        f"{len(outcome.failures)} failed; resident {min(sizes):.0f}–{max(sizes):.0f} MiB, grown by {grown:+.1%}"
    )
    for failure in outcome.failures[:10]:
        print(failure)
    for i, text in wrong[:10]:
        print(f"request {i} got {text!r}, alone {alone[i]!r}")
    return int(bool(wrong or outcome.failures or abs(grown) > MOST_GROWTH))


if __name__ == "__main__":
    sys.exit(main())
