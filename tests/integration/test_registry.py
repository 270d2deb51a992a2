from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from certain import sure
from fakes import tiny_adapter, tiny_checkpoint
from stories import environment, fresh_home, screentest

from harness.errors import InputError, IntegrityError
from harness.experiment.published import PUBLISHED, publish_trained, published_adapter
from harness.experiment.session import OnProgress, Session
from harness.models.bases import resolve_base
from harness.registry import export, open_adapter, promote, publish, records, resolve
from harness.settings import Settings
from harness.store.artifacts import digest_folder, digest_json, write_json, write_manifest
from harness.store.tracking import Stage, Tracking
from harness.types import Adapter, BaseModel

Folders = list[Path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return resolve_base(str(tiny_checkpoint(tmp_path_factory.mktemp("base"))))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, base: BaseModel) -> list[Path]:
    """Three adapters that differ in their weights."""
    made = [tmp_path_factory.mktemp("adapters") / f"number-{seed}" for seed in range(3)]
    for seed, folder in enumerate(made):
        tiny_adapter(folder, base, seed=seed)
    return made


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_home(tmp_path_factory.mktemp("registry") / "mlruns")


@pytest.fixture
def tracking(home: Path) -> Tracking:
    return Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))


def published(tracking: Tracking, folder: Path, name: str, **known: Any) -> Adapter:
    return publish(
        tracking, replace(open_adapter(folder), **known), name=name, card=f"# {name}\n", metrics={"loss": 1.5}
    )


def stored(home: Path) -> list[Path]:
    return [path for path in (home / "artifacts").rglob("*") if path.is_file()]


def test_an_adapter_is_published_once_per_digest(tracking: Tracking, folders: Folders) -> None:
    first = published(tracking, folders[0], "once")
    again = published(tracking, folders[0], "once")
    assert (first.version, again.version) == ("1", "1")
    assert again == first
    other = published(tracking, folders[1], "once")
    assert other.version == "2"
    assert other.digest != first.digest
    assert [record.version for record in records(tracking, name="once")] == ["2", "1"]


def test_a_notebook_keeps_its_store_experiment_and_run(tracking: Tracking, folders: Folders, tmp_path: Path) -> None:
    import mlflow
    from mlflow.tracking import fluent

    own = f"sqlite:///{tmp_path / 'own.db'}"
    mlflow.set_tracking_uri(own)
    try:
        mlflow.set_experiment("theirs")
        with mlflow.start_run() as run:
            made = published(tracking, folders[0], "beside-a-notebook")
            mlflow.log_param("still", "here")
            assert mlflow.get_tracking_uri() == own
        assert mlflow.get_run(run.info.run_id).data.params == {"still": "here"}
        assert mlflow.search_logged_models(output_format="list") == []
    finally:
        mlflow.set_tracking_uri(cast(Any, None))
        fluent._active_experiment_id = None
        os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    assert resolve(tracking, "beside-a-notebook/1") == made


def test_what_is_resolved_is_what_was_published(tracking: Tracking, folders: Folders, base: BaseModel) -> None:
    adapter = published(
        tracking, folders[0], "whole", recipe_digest="r" * 64, data_digest="d" * 64, parent="whole-parent/1"
    )
    assert resolve(tracking, "whole/1") == resolve(tracking, "whole@candidate") == adapter
    assert (adapter.recipe_digest, adapter.data_digest, adapter.parent) == ("r" * 64, "d" * 64, "whole-parent/1")
    assert adapter.base == base
    assert adapter.digest == digest_folder(Path(adapter.path))
    (record,) = records(tracking, name="whole")
    assert record.aliases == ("candidate",)
    assert (record.recipe_digest, record.data_digest, record.parent) == ("r" * 64, "d" * 64, "whole-parent/1")
    assert record.metrics == {"loss": 1.5}


def test_what_lies_beside_an_adapter_is_no_part_of_it(tracking: Tracking, folders: Folders, tmp_path: Path) -> None:
    """PEFT writes a README beside the weights, and people and hubs put more there."""
    shutil.copytree(folders[0], tmp_path / "busy")
    (tmp_path / "busy" / "notes.txt").write_text("mine")
    first, again = published(tracking, folders[0], "busy"), published(tracking, tmp_path / "busy", "busy")
    assert (first.digest, first.version) == (again.digest, again.version)


def test_the_record_says_where_an_adapter_came_from(tracking: Tracking, folders: Folders) -> None:
    adapter = published(tracking, folders[0], "origin")
    kept = json.loads((Path(adapter.path).parent / "adapter.json").read_text())
    assert set(kept) == {"adapter", "metrics", "git_commit", "versions"}
    assert {"python", "torch", "peft", "transformers"} <= kept["versions"].keys()
    assert kept["adapter"]["path"] == ""  # where it lay on the publisher's disk is nobody's business


def test_files_that_were_altered_are_refused(tracking: Tracking, folders: Folders) -> None:
    adapter = published(tracking, folders[2], "altered")
    weights = Path(adapter.path) / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1  # one bit of one weight
    weights.write_bytes(data)
    with pytest.raises(IntegrityError, match="altered@candidate"):
        resolve(tracking, "altered@candidate")


def test_a_record_that_was_altered_with_its_files_is_refused_too(tracking: Tracking, folders: Folders) -> None:
    """Both the files and the digest beside them were replaced: the digest in the store still tells."""
    adapter = published(tracking, folders[2], "forged")
    weights = Path(adapter.path) / "adapter_model.safetensors"
    weights.write_bytes((folders[1] / "adapter_model.safetensors").read_bytes())
    record = Path(adapter.path).parent / "adapter.json"
    record.write_text(record.read_text().replace(adapter.digest, digest_folder(Path(adapter.path))))
    with pytest.raises(IntegrityError):
        resolve(tracking, "forged/1")


def test_aliases_move_and_leave_the_version_that_had_them(tracking: Tracking, folders: Folders) -> None:
    published(tracking, folders[0], "moved")
    assert promote(tracking, "moved@candidate").version == "1"
    published(tracking, folders[1], "moved")
    assert resolve(tracking, "moved@candidate").version == "2"
    assert resolve(tracking, "moved@champion").version == "1"
    promote(tracking, "moved/2")
    assert resolve(tracking, "moved@champion").version == "2"
    assert {r.version: r.aliases for r in records(tracking, name="moved")} == {
        "1": (),
        "2": ("candidate", "champion"),
    }


@pytest.mark.parametrize("alias", ["latest", "3", "v3", "", "a b", "../x"])
def test_an_alias_that_could_mean_another_thing_is_refused(tracking: Tracking, folders: Folders, alias: str) -> None:
    published(tracking, folders[0], "moved")
    with pytest.raises(InputError, match="alias"):
        promote(tracking, "moved/1", alias=alias)


@pytest.mark.parametrize("reference", ["nobody@candidate", "once@nobody", "once/99", "once", "once@", "a b@c"])
def test_an_unknown_reference_says_what_there_is(tracking: Tracking, folders: Folders, reference: str) -> None:
    published(tracking, folders[0], "once")
    with pytest.raises(InputError) as caught:
        resolve(tracking, reference)
    assert f"`{reference}`" in str(caught.value)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "-a", "a'b", "x" * 101])
def test_a_name_that_cannot_stand_in_a_reference_is_refused(tracking: Tracking, folders: Folders, name: str) -> None:
    with pytest.raises(InputError, match="name"):
        published(tracking, folders[0], name)


def test_base_weights_stay_outside(tracking: Tracking, home: Path, folders: Folders, base: BaseModel) -> None:
    adapter = published(tracking, folders[0], "small")
    weights = next(Path(base.source).glob("*.safetensors")).read_bytes()
    for path in stored(home):
        assert path.read_bytes() != weights
        assert path.name in {"adapter_model.safetensors"} or path.suffix != ".safetensors"
        assert path.suffix not in {".bin", ".pt", ".pkl"}
    assert sorted(p.name for p in Path(adapter.path).iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_an_exported_adapter_is_the_published_one(tracking: Tracking, folders: Folders, tmp_path: Path) -> None:
    published(tracking, folders[0], "exported")
    folder = export(tracking, "exported@candidate", tmp_path / "out")
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert open_adapter(folder).base == open_adapter(folders[0]).base
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (folder / name).read_bytes() == (folders[0] / name).read_bytes()
    with pytest.raises(InputError, match="empty folder"):
        export(tracking, "exported@candidate", tmp_path / "out")


def test_a_merged_export_says_the_same(tracking: Tracking, folders: Folders, base: BaseModel, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    published(tracking, folders[0], "merged")
    folder = export(tracking, "merged@candidate", tmp_path / "whole", merge=True)
    assert not (folder / "adapter_config.json").exists()
    tokens = torch.tensor([[3, 50, 60, 70, 80, 90, 12, 200]])
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(folder)(tokens).logits
        bare = AutoModelForCausalLM.from_pretrained(base.source)
        plain = bare(tokens).logits
        adapted = PeftModel.from_pretrained(bare, str(folders[0]))(tokens).logits
    assert (merged - adapted).abs().max() < 1e-4
    assert (merged - plain).abs().max() > 0.1  # or the comparison above would be of two bases
    assert (
        AutoTokenizer.from_pretrained(folder).chat_template == AutoTokenizer.from_pretrained(base.source).chat_template
    )
    assert resolve_base(str(folder)).digest != base.digest


# ── a training and its adapter ───────────────────────────────────────────────────────────────────────────────────────


def trained(tracking: Tracking, folder: Path, name: str) -> Adapter:
    """A training in small: its stage copies the adapter and publishes it as every training does."""
    session = Session(tracking=tracking)

    def work(stage: Stage, on_progress: OnProgress) -> None:
        shutil.copytree(folder, stage.folder / "adapter", dirs_exist_ok=True)
        made = replace(open_adapter(stage.folder / "adapter"), data_digest="d" * 64, parent="p" * 64)
        publish_trained(session, stage, made, name=name, facts={}, metrics={"loss": 1.0})

    config = {"recipe": folder.name, "name": name}
    return published_adapter(session, session.stage("sft", label="x", revision=1, config=config, inputs={}, work=work))


def test_a_training_asked_for_again_is_the_candidate_and_its_own_bytes(tracking: Tracking, folders: Folders) -> None:
    """Whatever was trained in between, and whatever became of the registered model."""
    one, two = trained(tracking, folders[0], "bound"), trained(tracking, folders[1], "bound")
    again = trained(tracking, folders[0], "bound")
    assert (again.version, again.digest) == (one.version, one.digest) != (two.version, two.digest)
    assert resolve(tracking, "bound@candidate").digest == one.digest
    tracking.client.delete_registered_model("bound")
    assert trained(tracking, folders[1], "bound").version == "1"  # MLflow counts anew
    back = trained(tracking, folders[0], "bound")
    assert back.digest == resolve(tracking, "bound@candidate").digest == one.digest
    assert (back.data_digest, back.parent) == ("d" * 64, "p" * 64)
    (record,) = [r for r in records(tracking, name="bound") if r.digest == one.digest]
    assert record.metrics == {"loss": 1.0}
    assert tracking.run(sure(record.run_id)).status == "FINISHED"


def test_an_altered_registered_adapter_is_published_anew_from_training(tracking: Tracking, folders: Folders) -> None:
    one = trained(tracking, folders[0], "mended")
    (Path(one.path) / "adapter_model.safetensors").write_bytes(b"x")
    again = trained(tracking, folders[0], "mended")
    assert (again.version, again.digest) == ("2", one.digest)


def test_a_training_from_before_that_was_written_down_comes_back_too(tracking: Tracking, folders: Folders) -> None:
    one = trained(tracking, folders[0], "older")
    (info,) = [i for i in tracking.originals(stage="sft") if i.tags.get("adapter") == "older/1"]
    folder = tracking.folder(info.run_id)
    write_json(folder / PUBLISHED, {"adapter": "older/1"})
    (folder / "manifest.json").unlink()
    tracking.client.set_tag(info.run_id, "output_digest", digest_json(write_manifest(folder)))
    tracking.client.delete_registered_model("older")
    assert trained(tracking, folders[0], "older").digest == one.digest


def test_an_adapter_that_is_imported_again_is_the_candidate(tracking: Tracking, folders: Folders) -> None:
    for number in (0, 1, 0):
        adapter = published(tracking, folders[number], "asked")
        assert resolve(tracking, "asked@candidate") == adapter


# ── through the command line ─────────────────────────────────────────────────────────────────────────────────────────


def test_import_list_promote_and_export(home: Path, folders: Folders, base: BaseModel, tmp_path: Path) -> None:
    imported = screentest("adapters", "import", folders[1], "--name", "mine", "--json", home=home).json
    assert imported["adapter"] == "mine/1"
    assert (
        screentest("adapters", "import", folders[1], "--name", "mine", "--json", home=home).json["adapter"] == "mine/1"
    )
    assert screentest("adapters", "promote", "mine@candidate", "--json", home=home).json["alias"] == "champion"
    (listed,) = screentest("adapters", "list", "mine", "--json", home=home).json["adapters"]
    assert (listed["version"], listed["aliases"], listed["base"]) == ("1", ["candidate", "champion"], base.source)
    exported = screentest("adapters", "export", "mine@champion", tmp_path / "out", "--json", home=home).json
    assert exported == {"folder": str(tmp_path / "out"), "merged": False}
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\n")
    assert base.digest[:16] in card
    shown = screentest("adapters", "list", "mine", home=home)
    assert "mine/1" in shown.stdout
    assert shown.stderr == ""


def test_a_base_not_named_is_given_by_hand(home: Path, folders: Folders, base: BaseModel, tmp_path: Path) -> None:
    nameless = tmp_path / "nameless"
    export_of(folders[2], nameless, base_model_name_or_path=None)
    refused = screentest("adapters", "import", nameless, "--name", "nameless", home=home)
    assert (refused.code, "--base" in refused.stderr) == (2, True)
    done = screentest("adapters", "import", nameless, "--name", "nameless", "--base", base.source, "--json", home=home)
    assert done.json["base"]["digest"] == base.digest


def export_of(folder: Path, target: Path, **config: object) -> None:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    file = target / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))


def test_a_pickled_adapter_is_never_taken(home: Path, folders: Folders, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    export_of(folders[0], pickled)
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    ran = screentest("adapters", "import", pickled, "--name", "pickled", home=home)
    assert ran.code == 2
    assert "pickled adapter_model.bin is never loaded" in ran.stderr
    beside = tmp_path / "beside"
    export_of(folders[0], beside)
    (beside / "extra.bin").write_bytes(b"\x80\x04")
    ran = screentest("adapters", "import", beside, "--name", "beside", "--json", home=home)
    kept = Path(ran.json["path"])
    assert sorted(p.name for p in kept.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.slow
def test_mlflow_itself_answers_with_it(home: Path, tracking: Tracking, folders: Folders, tmp_path: Path) -> None:
    published(tracking, folders[0], "served")
    rows = {"dataframe_split": {"columns": ["prompt"], "data": [["Is the boat in?"], ["Since noon."]]}}
    asked = {**rows, "params": {"max_new_tokens": 5, "temperature": 0.0}}
    (tmp_path / "input.json").write_text(json.dumps(asked))
    mlflow = Path(sys.executable).with_name("mlflow")
    command = [mlflow, "models", "predict", "-m", "models:/served@candidate", "--env-manager", "local"]
    command += ["-i", tmp_path / "input.json", "-t", "json", "-o", tmp_path / "output.json"]
    uri = {"MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}", "PATH": f"{mlflow.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [str(c) for c in command], env=environment(home, uri), capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    answered = json.loads((tmp_path / "output.json").read_text())["predictions"]
    assert len(answered) == 2
    assert answered == expected(open_adapter(folders[0]))


def expected(adapter: Adapter) -> list[str]:
    """The same replies by the adapter's own road, without MLflow."""
    from harness.models.chat_templates import chat_messages
    from harness.models.local import LocalModel
    from harness.models.protocol import ReplyRequest
    from harness.types import Decoding, Message

    model = LocalModel.load(adapter.base)
    name = model.add_adapter(adapter)
    asked = [chat_messages((Message(role="user", content=t),), system=None) for t in ("Is the boat in?", "Since noon.")]
    requests = [ReplyRequest(key=str(n), draw=0, messages=tuple(m), adapter=name) for n, m in enumerate(asked)]
    decoding = Decoding(max_new_tokens=5, temperature=0.0)
    return [reply.text for reply in model.generate(requests, decoding=decoding)]
