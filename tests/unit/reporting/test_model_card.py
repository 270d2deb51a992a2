"""Cards as the hub reads them, and folders as a hub receives them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from report_example import example_record

from harness.errors import InputError, UnavailableError
from harness.models.hub import push_folder
from harness.registry import model_card
from harness.reporting.model_card import Proof, proven_card
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

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        url = f"http://{self.headers['host']}"
        if self.headers.get("authorization") != "Bearer hf_right":
            return self._say(401, {"error": "Invalid credentials"})
        if self.path == "/api/repos/create":
            Hub.made.append(json.loads(body))
            return self._say(200, {"url": f"{url}/me/film"})
        if "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            told = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None} for f in asked]
            return self._say(200, {"files": told})
        if "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    Hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return self._say(200, {"commitUrl": f"{url}/me/film/commit/0123", "commitOid": "0123"})
        return self._say(200, {"errors": [], "warnings": []})  # of a card's front matter

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
    Hub.files, Hub.made = {}, []
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


def test_a_folder_is_pushed_whole_with_the_token_of_the_environment(
    hub: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    address = push_folder(folder, "me/film", private=True, message="film/1", endpoint=hub)
    assert address == f"{hub}/me/film/commit/0123"
    assert Hub.files == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert Hub.made[0]["visibility"] == "private"


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
    assert Hub.files == {}
