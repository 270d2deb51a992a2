"""Cards as the hub reads them, and folders as a hub receives them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fakes import tiny_adapter, tiny_checkpoint
from huggingface_hub import ModelCard
from report_example import example_record
from stories import fresh_home, spawned

from harness.errors import InputError, UnavailableError
from harness.models.bases import resolve_base
from harness.models.hub import push_folder
from harness.registry import model_card, publish
from harness.reporting.finished_reports import ANALYSIS
from harness.reporting.model_card import Proof, proven_card
from harness.reporting.render import write_report
from harness.settings import Settings
from harness.store.tracking import Stage, Tracking
from harness.types import Adapter, BaseModel, Contract

BASE = BaseModel(source="Qwen/Qwen2.5-0.5B", revision="abc", digest="b" * 64, family="qwen2.5")
CONTRACT = Contract(
    system="Say | it: *now*", template="t" * 64, roles=("user", "assistant"), max_tokens=512, quantization="nf4"
)
ADAPTER = Adapter(
    name="quickstart-sft", version="3", path="", digest="a" * 64, base=BASE, recipe_digest="r" * 64, contract=CONTRACT
)
PUBLISHED = model_card(ADAPTER, name=ADAPTER.name, facts={"Method": "SFT"}, metrics={"validation_loss": 3.1})


def test_a_card_holds_the_verdicts_with_their_intervals_and_the_hub_can_read_them() -> None:
    record = example_record()
    card: Any = ModelCard(proven_card(PUBLISHED, ADAPTER, Proof(record=record, variants=("sft",))))
    assert (card.data.base_model, card.data.library_name) == (BASE.source, "peft")
    told = {(r.metric_type, r.metric_name): r for r in card.data.eval_results}
    own = next(f for f in record.findings if (f.name, f.variant) == ("heldout_loss", "sft"))
    (loss,) = [r for (kind, name), r in told.items() if kind == "heldout_loss" and "−" not in name]
    assert loss.metric_value == own.estimate.value
    assert loss.metric_args["interval"] == [own.estimate.low, own.estimate.high]
    assert loss.metric_args["n_clusters"] == own.estimate.n_clusters
    against = [r for (kind, name), r in told.items() if kind == "heldout_loss" and name.endswith(", sft − base")]
    assert [r.metric_args["verdict"] for r in against] == ["better"]
    for said in ("**Better.** sft is better than base", "Recipe digest", "4 bits (NF4)", r"Say \| it: \*now\*",
                 record.run_id, "### Training audit", "## Use"):  # fmt: skip
        assert said in card.text
    assert "dpo" not in {name.split(", ")[-1].split(" − ")[0] for _, name in told}


def test_a_card_without_a_report_says_so_and_claims_nothing() -> None:
    bare = Adapter(name="x", version="1", path="", digest="a" * 64, base=BASE)
    card: Any = ModelCard(proven_card(model_card(bare, name="x", facts={}, metrics={}), bare, None))
    assert card.data.eval_results is None
    assert "No report of this home" in card.text
    assert "Not on record." in card.text


class Hub(BaseHTTPRequestHandler):
    """What of a hub's protocol an upload of small files speaks."""

    files: dict[str, bytes]
    made: list[dict[str, Any]]
    large: dict[str, bytes]  # by digest, as Git LFS has them
    is_gone = is_full = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        url = f"http://{self.headers['host']}"
        if self.headers.get("authorization") != "Bearer hf_right":
            return self._say(401, {"error": "Invalid credentials"})
        if self.path == "/api/repos/create":
            Hub.made.append(json.loads(body))
            return self._say(200, {"url": f"{url}/me/film"})
        if "/preupload/" in self.path:
            if Hub.is_gone:
                return self._say(404, {"error": "Repository not found"})
            asked = [f["path"] for f in json.loads(body)["files"]]
            modes = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in asked}
            told = [{"path": p, "uploadMode": mode, "shouldIgnore": False, "oid": None} for p, mode in modes.items()]
            return self._say(200, {"files": told})
        if self.path.endswith("/info/lfs/objects/batch"):
            (each,) = json.loads(body)["objects"]
            return self._say(200, {"objects": [each | {"actions": {"upload": {"href": f"{url}/{each['oid']}"}}}]})
        if "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    Hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "lfsFile":
                    Hub.files[line["value"]["path"]] = Hub.large[line["value"]["oid"]]
            return self._say(200, {"commitUrl": f"{url}/me/film/commit/0123", "commitOid": "0123"})
        return self._say(200, {"errors": [], "warnings": []})  # of a card's front matter

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        Hub.large[self.path.removeprefix("/")] = body
        self._say(400 if Hub.is_full else 200, {"error": "No room left for hf_right"})

    def _say(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # tests are kept off the real one
    Hub.files, Hub.made, Hub.large, Hub.is_gone, Hub.is_full = {}, [], {}, False, False
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text(proven_card(PUBLISHED, ADAPTER, None), encoding="utf-8")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    return tmp_path


_OWN = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # httpx, of the hub's client


@_OWN
def test_a_folder_is_pushed_whole_with_the_token_of_the_environment(
    hub: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    address = push_folder(folder, "me/film", private=True, message="film/1", endpoint=hub)
    assert address == f"{hub}/me/film/commit/0123"
    assert Hub.files == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert Hub.made[0]["visibility"] == "private"


@_OWN
def test_no_token_a_wrong_one_a_wrong_name_and_a_hub_that_is_silent_are_sentences(
    hub: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(InputError, match="`HF_TOKEN` must hold a token"):
        push_folder(folder, "me/film", private=False, message="", endpoint=hub)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_wrong")
    with pytest.raises(UnavailableError, match="the hub says 401"):
        push_folder(folder, "me/film", private=False, message="", endpoint=hub)
    for name in ("film", "a/b/c", "me/--x"):
        with pytest.raises(InputError, match="`REPO` must be owner/name"):
            push_folder(folder, name, private=False, message="", endpoint=hub)
    with pytest.raises(UnavailableError, match="a hub that answers"):
        push_folder(folder, "me/film", private=False, message="", endpoint="http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_right")
    for trouble, said in (("is_gone", "the hub says 404: Repository not found"), ("is_full", "says 400: No room left")):
        setattr(Hub, trouble, True)
        with pytest.raises(UnavailableError, match=said) as caught:
            push_folder(folder, "me/film", private=False, message="", endpoint=hub)
        assert "hf_right" not in str(caught.value)
        setattr(Hub, trouble, False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_schlüssel")
    with pytest.raises(InputError, match="printable ASCII"):
        push_folder(folder, "me/film", private=False, message="", endpoint=hub)
    assert Hub.files == {}


def test_the_command_pushes_an_adapter_whose_card_the_hub_s_own_client_reads(hub: str, tmp_path: Path) -> None:
    home, record = fresh_home(tmp_path / "home"), example_record()
    base = resolve_base(str(tiny_checkpoint(tmp_path / "base")))
    tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    publish(tracking, tiny_adapter(tmp_path / "adapter", base), name="film", card=PUBLISHED)
    variants = [replace(v, adapter="film/1") if v.name == "sft" else v for v in record.variants]

    def work(stage: Stage) -> None:
        write_report(replace(record, variants=tuple(variants)), stage.folder)

    tracking.stage(ANALYSIS, revision=1, config={}, inputs={}, work=work)
    env = {"HF_TOKEN": "hf_right", "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"}
    ran = spawned("adapters", "push", "film@candidate", "me/film", "--private", home=home, env=env)
    assert (ran.code, ran.stdout) == (0, ""), ran.stderr
    assert f"pushed: {hub}/me/film/commit/0123" in ran.stderr
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors"} <= set(Hub.files)
    assert Hub.files["adapter_model.safetensors"] == (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes()
    card: Any = ModelCard(Hub.files["README.md"].decode())
    assert {r.metric_args["verdict"] for r in card.data.eval_results if " − " in r.metric_name} >= {"better"}
    refused = spawned("adapters", "push", "film/1", "me/film", home=home, env=env | {"HF_TOKEN": "hf_wrong_token"})
    assert refused.code != 0
    assert "the hub says 401: Invalid credentials" in refused.stderr
    for secret in ("hf_right", "hf_wrong_token", "Traceback"):
        assert secret not in ran.stderr + refused.stderr
