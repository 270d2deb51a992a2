"""Artifacts of a remote store on this machine's disk: fetched once, whoever asks first."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

from harness.errors import UnavailableError
from harness.settings import Settings

_REASON_LIMIT = 400  # characters of what a store answers: some answer with a page


def local_folder(uri: str) -> Path | None:
    """The folder behind an artifact address where it lies on this machine's disk."""
    scheme = urlparse(uri).scheme
    if scheme == "file":
        return Path(unquote(urlparse(uri).path))
    return None if scheme else Path(uri)


def fetch_once(uri: str, target: Path, *, settings: Settings) -> Path:
    """Fetch a folder of artifacts to `target` unless it is there.

    Processes and threads that want the same folder wait for each other. A kill leaves `target` whole or absent.

    Raises:
        UnavailableError: the artifacts of the store cannot be reached.
    """
    with locked(target.with_name(f"{target.name}.lock")):
        if not target.is_dir():
            import mlflow

            partial = target.with_name(f"{target.name}.part")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            with reaching(settings.store_name):
                found = mlflow.artifacts.download_artifacts(
                    artifact_uri=uri, dst_path=str(partial), tracking_uri=settings.tracking_uri
                )
            Path(found).rename(target)
            shutil.rmtree(partial, ignore_errors=True)
    return target


@contextlib.contextmanager
def reaching(store: str) -> Iterator[None]:
    """Say in one sentence that files cannot be sent or fetched; what the store answered is kept as the cause."""
    try:
        yield
    except _store_errors() as err:
        reason = " ".join(str(err).split())[:_REASON_LIMIT] or type(err).__name__
        driver = "; files on S3 need its driver: pip install 'screentest[s3]'" if isinstance(err, ImportError) else ""
        raise UnavailableError(f"the artifacts of `{store}` must be within reach: {reason}{driver}") from err


def _store_errors() -> tuple[type[Exception], ...]:
    """What a store that cannot be reached raises: MLflow's errors, HTTP's, and those of S3's driver."""
    from mlflow.exceptions import MlflowException

    found: tuple[type[Exception], ...] = (MlflowException, OSError, ImportError)
    with contextlib.suppress(ImportError):
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        found = (*found, Boto3Error, BotoCoreError, ClientError)
    return found


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock; the system lets go of it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
