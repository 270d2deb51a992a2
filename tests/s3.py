"""A real S3 server over HTTP for tests, with accounts that it checks: `from s3 import running`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from embedded import free_port

BUCKET = "screentest"
REGION = "us-east-1"
_N_OPEN = 4  # the four requests that make the account; every one after them must be signed by it
_ALL_OF_S3 = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket, and the one account that may use it."""

    url: str
    key: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": REGION,
        }

    @property
    def client(self) -> Any:
        """S3's own client, with the account."""
        return _client("s3", self.url, self.key, self.secret)

    def objects(self) -> dict[str, int]:
        """Every object by its key, with its size."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return {found["Key"]: found["Size"] for page in pages for found in page.get("Contents", [])}


@contextlib.contextmanager
def running(log: Path) -> Iterator[Bucket]:
    """A server with one empty bucket; everything in it is in memory and gone afterwards."""
    port = free_port()
    environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(_N_OPEN)}
    with log.open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            env=environment, stdout=words, stderr=words,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        _await(url, process, log)
        yield _bucket(url)
    finally:
        process.kill()
        process.wait()


def _bucket(url: str) -> Bucket:
    accounts = _client("iam", url, "nobody", "nothing")
    accounts.create_user(UserName="mlflow")
    made = accounts.create_access_key(UserName="mlflow")["AccessKey"]
    accounts.put_user_policy(UserName="mlflow", PolicyName="s3", PolicyDocument=json.dumps(_ALL_OF_S3))
    accounts.list_users()
    bucket = Bucket(url=url, key=made["AccessKeyId"], secret=made["SecretAccessKey"])
    bucket.client.create_bucket(Bucket=BUCKET)
    return bucket


def _client(service: str, url: str, key: str, secret: str) -> Any:
    return boto3.client(  # type: ignore[no-untyped-call]
        service, endpoint_url=url, region_name=REGION, aws_access_key_id=key, aws_secret_access_key=secret
    )


def _await(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{url}/moto-api/", timeout=5).read()
            return
        time.sleep(0.1)
    raise AssertionError(f"no answer after {seconds} s: {log.read_text()}")
