"""Raters come through a real nginx that ends TLS, with the configuration of `docs/scale.md`."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.rating_pages import begin, item, opened, press
from panels import a_study
from rating_server import CHROMIUM, browsing, free_port, serving
from stories import REPOSITORY

from harness.store.database import open_database
from harness.studies.rating_rows import read_rows

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
DOCUMENT = (REPOSITORY / "docs" / "scale.md").read_text(encoding="utf-8")
[CONFIGURATION] = re.findall(r"```nginx\n(.*?)```", DOCUMENT, flags=re.DOTALL)
NAME = "rate.example.org"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs an installed Chromium"),
    pytest.mark.skipif(NGINX is None, reason="needs nginx: apt-get install nginx"),
    pytest.mark.slow,
]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for the name, signed by itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "pem").write_bytes(made.public_bytes(form))
    (folder / "key").write_bytes(key.private_bytes(form, *plain))
    return folder / "pem", folder / "key"


def configured(folder: Path, *, port: int, behind: int, path: str) -> str:
    """The documentation's configuration, with this test's ports and files in it."""
    pem, key = certificate(folder)
    places = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        f"/etc/ssl/{NAME}.pem": str(pem),
        f"/etc/ssl/{NAME}.key": str(key),
        "/var/log/nginx/rate.log": str(folder / "access.log"),
        "/var/log/nginx/rate-errors.log": str(folder / "errors.log"),
        "location / {": f"location {path}/ {{",
        "127.0.0.1:8501": f"127.0.0.1:{behind}",
    }
    text = CONFIGURATION
    for before, after in places.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    user = "user root;" if os.getuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    return f"{user}\ndaemon off;\npid {folder}/pid;\nevents {{}}\nhttp {{\n{temporary}{text}}}\n"


@contextlib.contextmanager
def proxying(folder: Path, *, port: int, behind: int, path: str) -> Iterator[None]:
    """Run nginx for the time of the block."""
    (folder / "nginx.conf").write_text(configured(folder, port=port, behind=behind, path=path))
    command = [str(NGINX), "-p", str(folder), "-e", str(folder / "start.log"), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(command)
    try:
        until = time.monotonic() + 900
        while True:
            assert process.poll() is None, (folder / "start.log").read_text()
            assert time.monotonic() < until, "nginx does not listen"
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 5):
                break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("path", ["", "/rate"])
def test_a_rater_rates_through_the_proxy(tmp_path: Path, path: str) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'store.db'}")
    created = a_study(engine, name="proxied", n_prompts=2, rehearsal=True)
    port = free_port()
    public = f"https://{NAME}:{port}{path}"
    sockets: list[str] = []
    with (
        serving(f"sqlite:///{tmp_path / 'store.db'}", tmp_path, public=public) as site,
        proxying(tmp_path, port=port, behind=site.port, path=path),
        browsing(f"--host-resolver-rules=MAP {NAME} 127.0.0.1") as browser,
    ):
        page = opened(browser, site, created.links[0], ignore_https_errors=True)
        page.on("websocket", lambda found: sockets.append(found.url))
        page.reload()
        begin(page)
        press(page, "1")
        press(page, "0")
        assert item(page) == "end"
        page.context.close()
    assert sockets
    assert all(url.startswith(f"wss://{NAME}:{port}{path}/_stcore/stream") for url in sockets)
    rated = [row for row in read_rows(engine, created.study) if row.rating is not None]
    engine.dispose()
    assert [row.rating.verdict for row in rated if row.rating] == ["left", "tie"]
    logs = [(tmp_path / name).read_text() for name in ("access.log", "errors.log")]
    assert f"GET {path}/ 200" in logs[0]
    assert not [token for token in (link.token for link in created.links) if token in "".join(logs)]
