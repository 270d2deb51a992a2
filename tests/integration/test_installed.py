"""An installed wheel in a folder that has packages of our names, and what is left of it when it is told to end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import nbformat
import psutil
import pytest
from ablations import tiny_ablation
from embedded import free_port
from fakes import tiny_checkpoint
from stories import REPOSITORY, environment, fresh_home
from waiting import wait_until

pytestmark = pytest.mark.slow
MARK = "SCREENTEST_TEST_MARK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A wheel in a folder of its own, and a folder to work in where `import harness` would fail."""

    target: Path
    work: Path

    def start(self, *words: object, home: Path, **options: object) -> subprocess.Popen[str]:
        """A command in a group of its own, whose processes `left` finds."""
        env = environment(home, {"PYTHONPATH": str(self.target), MARK: str(home), "OMP_NUM_THREADS": "1"})
        command = [sys.executable, str(self.target / "bin" / "screentest"), *(str(word) for word in words)]
        return subprocess.Popen(command, cwd=self.work, env=env, text=True, start_new_session=True, **options)  # type: ignore[call-overload, no-any-return]

    def importers(self) -> set[str]:
        """Processes that imported the installed code."""
        seen = self.target / "seen"
        return set(seen.read_text().split()) if seen.exists() else set()


def left(home: Path) -> list[psutil.Process]:
    """What a command has started and is not gone."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("installed")
    source, target, work = root / "source", root / "target", root / "work"
    for name in ("harness", "pipelines", "experiments"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("app.py", "screentest.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for words in (
        ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", root, source],
        ["install", "--no-deps", "--no-index", "--no-compile", "--target", target, "--find-links", root, "screentest"],
    ):
        subprocess.run([*pip, *map(str, words)], check=True, cwd=root)
    with (target / "harness" / "__init__.py").open("a") as file:
        file.write(f"\nimport os; open({str(target / 'seen')!r}, 'a').write(f'{{os.getpid()}} ')\n")
    for name in ("pipelines", "harness"):
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise RuntimeError('the package in the current folder')\n")
    return Installed(target=target, work=work)


def test_workers_run_the_installed_code_end_with_the_group_and_the_run_resumes(
    installed: Installed, tmp_path: Path
) -> None:
    file = tiny_ablation(tmp_path / "a", tiny_checkpoint(tmp_path / "base"), seeds=[1], measures={"heldout_loss": {}})
    home, log, result = fresh_home(tmp_path / "mlruns"), tmp_path / "log", tmp_path / "result.json"
    words = ("ablate", file, "--limit", 40, "--workers", 2, "--json")
    with log.open("w") as said:
        driver = installed.start(*words, home=home, stdout=subprocess.DEVNULL, stderr=said)
        # Driver, store, two workers, each of the installed code: they begin when the driver has checked what it needs.
        wait_until(
            lambda: len(found := left(home)) == 4 and {str(one.pid) for one in found} <= installed.importers(),
            process=driver,
            log=log,
        )
        os.killpg(driver.pid, signal.SIGTERM)  # as `timeout` and Slurm do
        driver.wait()
        wait_until(lambda: not left(home))
    with log.open("w") as said, result.open("w") as printed:
        again = installed.start(*words, home=home, stdout=printed, stderr=said)
        assert again.wait() == 0, log.read_text()
    found = json.loads(result.read_text())
    assert found["missing"] == {}
    assert any(stage["reused"] for stage in found["stages"])
    assert left(home) == []


@pytest.mark.parametrize(("notebook", "n_cells"), [("compare_your_adapter", 3), ("write_a_judge", 2)])
def test_the_first_cells_of_the_notebooks_run_there(
    installed: Installed, tmp_path: Path, notebook: str, n_cells: int
) -> None:
    cells = nbformat.read(REPOSITORY / "docs" / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    first = [cell.source for cell in cells if cell.cell_type == "code"][:n_cells]
    env = environment(fresh_home(tmp_path / "mlruns"), {"PYTHONPATH": str(installed.target), "OMP_NUM_THREADS": "1"})
    code = "\n".join([*first, "import harness; print(harness.__file__)"])  # the folder's own stands first on the path
    done = subprocess.run([sys.executable, "-c", code], cwd=installed.work, env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(installed.target / "harness" / "__init__.py")
    refused = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['harness'] = sys; sys.__file__ = 'a/b.py'; import screentest"],
        cwd=installed.work, env=env, text=True, capture_output=True,
    )  # fmt: skip
    assert "import screentest before it" in refused.stderr


@pytest.mark.parametrize(("words", "path"), [(["rate"], "/_stcore/health"), (["serve", "--base", "BASE"], "/health")])
def test_servers_start_there_and_end_when_told(
    installed: Installed, tmp_path: Path, words: list[str], path: str
) -> None:
    port, log, home = free_port(), tmp_path / "log", fresh_home(tmp_path / "mlruns")
    base = str(tiny_checkpoint(tmp_path / "base"))
    words = [base if word == "BASE" else word for word in words]
    with log.open("w") as said:
        server = installed.start(*words, "--port", port, home=home, stdout=said, stderr=said)

        def answers() -> bool:
            assert server.poll() is None, log.read_text()
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"http://localhost:{port}{path}", timeout=5).status_code == 200
            return False

        wait_until(answers)
        server.terminate()
        server.wait()
    assert left(home) == []
    assert "the package in the current folder" not in log.read_text()
