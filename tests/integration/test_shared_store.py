"""One store for several machines: an MLflow server on a real PostgreSQL, its artifacts on a real S3 server.

The server is started by the command of `docs/scale.md`; a machine is a home of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import postgres
import pytest
import s3
from embedded import free_port
from fakes import tiny_adapter, tiny_checkpoint
from postgres import Server
from sqlalchemy import create_engine, text
from stories import REPOSITORY, screentest, spawned

from harness.errors import IntegrityError
from harness.experiment.session import OnProgress, Session
from harness.models.bases import resolve_base
from harness.models.chat_templates import chat_messages
from harness.models.local import LocalModel
from harness.models.protocol import ReplyRequest
from harness.registry import promote, publish, resolve
from harness.settings import Settings
from harness.store.tracking import Stage, StageResult, Tracking
from harness.types import Adapter, Decoding, Message

pytestmark = pytest.mark.slow

DOCUMENT = (REPOSITORY / "docs" / "scale.md").read_text(encoding="utf-8")
[SERVER_COMMAND] = re.findall(r"^mlflow server (?:.*\\\n)*.*$", DOCUMENT, flags=re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The store that machines share."""

    url: str
    database: str  # what stands behind it
    bucket: s3.Bucket
    log: Path

    def machine(self, home: Path, **environment: str) -> Tracking:
        """The store as a machine with this home sees it; it has no key of S3 unless one is given."""
        return Tracking(
            Settings.from_environment({"SCREENTEST_HOME": str(home), "MLFLOW_TRACKING_URI": self.url, **environment})
        )


def server_command(database: str, port: int, **changes: str) -> list[str]:
    """The documentation's command with this test's addresses in it."""
    places = {
        "postgresql+psycopg://mlflow@db.example.org/mlflow": database,
        "s3://screentest/mlflow": f"s3://{s3.BUCKET}/mlflow",
        "0.0.0.0": "127.0.0.1",
        "tracking.example.org:5000": f"127.0.0.1:{port}",
        "--port 5000": f"--port {port}",
        **changes,
    }
    command = SERVER_COMMAND.replace("\\\n", " ")
    for before, after in places.items():
        assert before in command or before in changes, before
        command = command.replace(before, after, 1)
    return [sys.executable, "-m", *shlex.split(command), "--workers", "1"]


@contextlib.contextmanager
def mlflow_server(command: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a server for the time of the block; gives its address."""
    port = command[command.index("--port") + 1]
    own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment}
    with log.open("wb") as words:
        process = subprocess.Popen(
            command, env={**os.environ, **own}, stdout=words, stderr=words, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 900
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{url}/health", timeout=5).read()
                break
            time.sleep(0.2)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait()


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="module")
def shared(database: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder, at = tmp_path_factory.mktemp("shared"), database.fresh()
    with s3.running(folder / "s3.log") as bucket:
        command = server_command(at, int(free_port()))
        with mlflow_server(command, folder / "mlflow.log", bucket.environment) as url:
            yield Shared(url=url, database=at, bucket=bucket, log=folder / "mlflow.log")


@pytest.fixture(autouse=True)
def keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of S3 in this process, and no patience where a test wants a failure."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "MLFLOW_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def probe(session: Session, *, text_of_file: str = "42") -> StageResult:
    def work(stage: Stage, on_progress: OnProgress) -> None:
        (stage.folder / "answer.txt").write_text(text_of_file)
        stage.log_metric("loss", 1.5)

    return session.stage("probe", label="Probe", revision=1, config={"text": text_of_file}, inputs={}, work=work)


def test_a_stage_of_one_machine_is_reused_by_another(shared: Shared, tmp_path: Path) -> None:
    first = probe(Session(tracking=shared.machine(tmp_path / "one")))
    again = probe(Session(tracking=shared.machine(tmp_path / "two")))
    assert (first.reused, again.reused) == (False, True)
    assert again.digest == first.digest
    assert again.folder.is_relative_to(tmp_path / "two")
    assert (again.folder / "answer.txt").read_text() == "42"
    assert any(name.endswith(f"{first.run_id}/artifacts/answer.txt") for name in shared.bucket.objects())
    assert not (tmp_path / "one" / "artifacts").exists()
    assert not (tmp_path / "one" / "mlflow.db").exists()


def test_a_fetched_copy_that_was_altered_is_fetched_again(shared: Shared, tmp_path: Path) -> None:
    two = shared.machine(tmp_path / "two")
    probe(Session(tracking=shared.machine(tmp_path / "one")), text_of_file="fetched")
    copy = probe(Session(tracking=two), text_of_file="fetched").folder / "answer.txt"
    copy.write_text("43")
    again = probe(Session(tracking=shared.machine(tmp_path / "two")), text_of_file="fetched")
    assert (again.reused, copy.read_text()) == (True, "fetched")


def say(adapter: Adapter) -> list[str]:
    model = LocalModel.load(adapter.base)
    name = model.add_adapter(adapter)
    asked = tuple(chat_messages((Message(role="user", content="Is the boat in?"),)))
    requests = [ReplyRequest(key="p", draw=draw, messages=asked, adapter=name) for draw in range(3)]
    return [reply.text for reply in model.generate(requests, decoding=Decoding(max_new_tokens=8, n_draws=3))]


def test_an_adapter_of_one_machine_answers_on_another(shared: Shared, tmp_path: Path) -> None:
    base = resolve_base(str(tiny_checkpoint(tmp_path / "base")))
    made = tiny_adapter(tmp_path / "adapter", base)
    one, two = shared.machine(tmp_path / "one"), shared.machine(tmp_path / "two")
    published = publish(one, made, name="film", card="# card")
    promote(one, "film@candidate")
    found = resolve(two, "film@champion")
    assert found.digest == published.digest == made.digest
    assert Path(found.path).is_relative_to(tmp_path / "two")
    assert say(found) == say(made)
    assert resolve(two, "film/1").path == found.path  # fetched once, however often it is asked for
    listed = screentest("adapters", "list", "--json", home=tmp_path / "two", env={"MLFLOW_TRACKING_URI": shared.url})
    assert [(row["name"], row["digest"]) for row in listed.json["adapters"]] == [("film", made.digest)]


def test_an_adapter_that_was_altered_in_the_bucket_is_refused(shared: Shared, tmp_path: Path) -> None:
    base = resolve_base(str(tiny_checkpoint(tmp_path / "base", seed=3)))
    publish(shared.machine(tmp_path / "one"), tiny_adapter(tmp_path / "a", base, seed=3), name="altered", card="# card")
    client = shared.bucket.client
    [key] = [n for n in shared.bucket.objects() if n.endswith("adapter_model.safetensors") and _is_of(client, n, base)]
    data = bytearray(client.get_object(Bucket=s3.BUCKET, Key=key)["Body"].read())
    data[-1] ^= 1
    client.put_object(Bucket=s3.BUCKET, Key=key, Body=bytes(data))
    with pytest.raises(IntegrityError, match="altered"):
        resolve(shared.machine(tmp_path / "two"), "altered@candidate")


def _is_of(client: object, weights: str, base: object) -> bool:
    """Whether an object is the adapter of this base: its configuration beside it says so."""
    beside = weights.replace("adapter_model.safetensors", "adapter_config.json")
    body = client.get_object(Bucket=s3.BUCKET, Key=beside)["Body"].read().decode()  # type: ignore[attr-defined]
    return str(base.source) in body  # type: ignore[attr-defined]


def test_no_credential_is_written_anywhere(shared: Shared, tmp_path: Path) -> None:
    """Not in the server's log, the database, the bucket's objects, nor on the machine that used them."""
    probe(Session(tracking=shared.machine(tmp_path / "one")), text_of_file="credentials")
    secrets = (shared.bucket.secret, shared.bucket.key)
    places = {"log": shared.log.read_text(), "database": _dump(shared.database)}
    places |= {str(p): p.read_text(errors="ignore") for p in (tmp_path / "one").rglob("*") if p.is_file()}
    for name in shared.bucket.objects():
        body = shared.bucket.client.get_object(Bucket=s3.BUCKET, Key=name)["Body"].read()
        places[name] = body.decode(errors="ignore")
    assert "probe" in places["database"]  # the search finds what is there
    assert [where for where, words in places.items() for secret in secrets if secret in words] == []


def _dump(url: str) -> str:
    engine = create_engine(url)
    with engine.connect() as connection:
        tables = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars().all()
        rows = [str(connection.execute(text(f'SELECT * FROM "{name}"')).all()) for name in tables]
    engine.dispose()
    return "\n".join(rows)


def test_a_machine_with_a_key_of_its_own_needs_no_relay(shared: Shared, database: Server, tmp_path: Path) -> None:
    """With `--no-serve-artifacts` files go straight to S3; without a key that is one sentence, and nothing is lost."""
    relayed = server_command(database.fresh(), int(free_port()))
    direct = [f"--default-artifact-root={w.split('=', 1)[1]}" if "destination=" in w else w for w in relayed]
    assert direct != relayed
    base, home = tiny_checkpoint(tmp_path / "base"), tmp_path / "home"
    prepare = ("prepare", "--corpus", "sample", "--base", base, "--limit", 5, "--json")
    with mlflow_server([*direct, "--no-serve-artifacts"], tmp_path / "log", {}) as url:
        env = {"MLFLOW_TRACKING_URI": url, "AWS_EC2_METADATA_DISABLED": "true"}
        failed = spawned(*prepare, home=home, env={**env, "MLFLOW_S3_ENDPOINT_URL": shared.bucket.url})
        assert failed.code == 1
        [sentence] = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
        assert "must be within reach: Unable to locate credentials" in sentence
        assert "Traceback" not in failed.stderr
        done = spawned(*prepare, home=home, env={**env, **shared.bucket.environment})
        assert done.code == 0, done.stderr
        tracking = shared.machine(home, MLFLOW_TRACKING_URI=url)
        [run] = tracking.find(stage="prepare", status=None)  # the one that failed went on
        assert run.status == "FINISHED"
        assert tracking.client.get_run(run.run_id).info.artifact_uri.startswith(f"s3://{s3.BUCKET}/mlflow")


def test_an_address_is_shown_without_its_password() -> None:
    settings = Settings.from_environment({"MLFLOW_TRACKING_URI": "postgresql://mlflow:hunter2@127.0.0.1:1/runs"})
    assert settings.store_name == "postgresql://mlflow:***@127.0.0.1:1/runs"
    assert Settings.from_environment({"MLFLOW_TRACKING_URI": "http://a:5000/x@y:z@w"}).store_name == (
        "http://a:5000/x@y:z@w"
    )
