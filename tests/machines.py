"""Machines on a network of their own, made of this one: `with machines(2, folder) as (first, second)`.

Each is a network namespace with an address on a common bridge, and a mount namespace in which it has a home and a
`/tmp/ray` of its own. What they share is the file system else, the kernel and the cores. Needs Linux, root and
`iproute2`; a test is skipped where namespaces may not be made.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from stories import FOREIGN, REPOSITORY

PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One of them."""

    name: str
    address: str
    disk: Path  # what is its own, as this machine sees it
    home: Path  # where it finds its own home: the same path on each
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, line: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """Begin a shell line there; both streams go to the log."""
        own = {"home": self.home, "ray": Path("/tmp/ray")}
        binds = [f"mount --bind {shlex.quote(str(self.disk / name))} {path}" for name, path in own.items()]
        script = " && ".join(["mount --make-rprivate /", *binds, f"exec {line}"])
        kept = {key: value for key, value in os.environ.items() if key not in FOREIGN}
        kept |= {"HOME": str(self.home), "SCREENTEST_HOME": str(self.home / "mlruns"), "OMP_NUM_THREADS": "1"}
        kept |= {"PYTHONPATH": str(REPOSITORY), "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "COLUMNS": "200"}
        command = ["ip", "netns", "exec", self.name, "unshare", "--mount", "bash", "-c", script]
        with log.open("wb") as said:
            process = subprocess.Popen(command, env=kept | environment, stdout=said, stderr=said, cwd=self.disk)
        self.started.append(process)
        return process

    def processes(self) -> list[psutil.Process]:
        """What runs on it."""
        found = []
        for pid in _ip("netns", "pids", self.name).split():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(pid)))
        return found

    def lose_power(self) -> None:
        """SIGKILL to all of it."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for own in self.started:
            own.wait()


@contextlib.contextmanager
def machines(n: int, folder: Path) -> Iterator[list[Machine]]:
    """So many machines, for the time of the block."""
    if os.name != "posix" or os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2")
    mark = f"st{os.getpid() % 100_000}"
    subnet = f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
    made = []
    Path("/tmp/ray").mkdir(exist_ok=True)
    home = folder / "home"
    try:
        try:
            _ip("link", "add", f"{mark}b", "type", "bridge")
            for i in range(n):
                _ip("netns", "add", f"{mark}n{i}")
        except subprocess.CalledProcessError as err:
            pytest.skip(f"network namespaces may not be made here: {err.stderr.strip()}")
        _ip("addr", "add", f"{subnet}.1/24", "dev", f"{mark}b")
        _ip("link", "set", f"{mark}b", "up")
        for i in range(n):
            machine = Machine(name=f"{mark}n{i}", address=f"{subnet}.{10 + i}", disk=folder / f"disk{i}", home=home)
            for own in (home, machine.disk / "home", machine.disk / "ray"):
                own.mkdir(parents=True, exist_ok=True)
            _connect(machine, bridge=f"{mark}b", gateway=f"{subnet}.1")
            made.append(machine)
        yield made
    finally:
        for machine in made:
            machine.lose_power()
        for i in range(n):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", f"{mark}n{i}")
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "delete", f"{mark}b")


def _connect(machine: Machine, *, bridge: str, gateway: str) -> None:
    """Its cable, address and way out: Ray takes the address by which a machine would leave."""
    name = machine.name
    _ip("link", "add", f"{name}h", "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("link", "set", f"{name}h", "master", bridge, "up")
    for words in (
        f"addr add {machine.address}/24 dev eth0",
        "link set eth0 up",
        "link set lo up",
        f"route add default via {gateway}",
    ):
        _ip("-n", name, *words.split())


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout
