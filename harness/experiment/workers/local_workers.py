"""Workers as processes on this machine: each keeps its model in memory from ticket to ticket."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from harness.child_processes import child_command
from harness.experiment.workers.schedule import Event, Ticket
from harness.store.artifacts import from_json, to_json

WAIT_SECONDS = 1.0


@dataclass(slots=True, kw_only=True)
class _Slot:
    """One process and what it works on."""

    number: int
    process: subprocess.Popen[str]
    stdin: IO[str]
    listener: threading.Thread
    log: Path
    ticket: Ticket | None = None


class LocalWorkers:
    """`n` processes; one that dies is started again, and what it worked on counts as failed."""

    def __init__(self, n: int, *, environment: Mapping[str, str], logs: Path) -> None:
        self.n_slots = n
        self._environment = dict(environment)
        self._logs = logs
        logs.mkdir(parents=True, exist_ok=True)
        self._events: queue.Queue[tuple[int, Event | None]] = queue.Queue()
        self._slots = [self._open(number) for number in range(n)]

    def start(self, ticket: Ticket) -> None:
        """Give a ticket to an idle process."""
        slot = next(slot for slot in self._slots if slot.ticket is None)
        slot.ticket = ticket
        # A process that has died is in the queue already, and its ticket fails with it.
        with contextlib.suppress(BrokenPipeError):
            slot.stdin.write(json.dumps(to_json(ticket)) + "\n")
            slot.stdin.flush()

    def wait(self) -> list[Event]:
        """Events of every process; a death is the failure of its ticket."""
        found: list[Event] = []
        seconds = WAIT_SECONDS
        with contextlib.suppress(queue.Empty):
            while True:
                number, event = self._events.get(timeout=seconds)
                seconds = 0.0  # for the others that are there already
                if event is None:
                    found += self._buried(self._slots[number])
                    continue
                found.append(event)
                if event.kind != "progress":
                    self._slots[number].ticket = None
        return found

    def close(self) -> None:
        """Close every stdin, which ends its process."""
        for slot in self._slots:
            slot.stdin.close()
        for slot in self._slots:
            try:
                slot.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                slot.process.kill()
                slot.process.wait()
            slot.listener.join()

    def _open(self, number: int) -> _Slot:
        log = self._logs / f"worker-{number}.log"
        environment = {**self._environment, **_one_gpu(number)}
        with log.open("a") as words:
            process = subprocess.Popen(
                child_command("harness.experiment.workers.worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
                env=environment,
            )
        stdin, stdout = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        listener = threading.Thread(target=self._listen, args=(number, stdout), daemon=True)
        listener.start()
        return _Slot(number=number, process=process, stdin=stdin, listener=listener, log=log)

    def _listen(self, number: int, stdout: IO[str]) -> None:
        with stdout as lines:
            for line in lines:
                self._events.put((number, from_json(Event, json.loads(line))))
        self._events.put((number, None))

    def _buried(self, slot: _Slot) -> list[Event]:
        code = slot.process.wait()
        with contextlib.suppress(BrokenPipeError):
            slot.stdin.close()
        ticket = slot.ticket
        self._slots[slot.number] = self._open(slot.number)
        if ticket is None:
            return []
        how = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
        message = f"its worker was {how}" if code < 0 else f"its worker {how}"
        return [Event(key=ticket.task.key, kind="failed", message=f"{message}: {_last_words(slot.log)}")]


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "no word in its log")


def _one_gpu(number: int) -> dict[str, str]:
    """Each process sees one GPU, where there are several."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]
    return {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]} if len(devices) > 1 else {}
