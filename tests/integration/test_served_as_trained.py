"""An adapter that learnt replies under a system message of its own gives them back however it is asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from certain import sure
from fakes import tiny_checkpoint, tiny_tokenizer
from servers import running
from stories import fresh_home, screentest
from training_data import sft_settings

from harness.config import parse
from harness.errors import InputError
from harness.experiment.design import VariantDesign
from harness.experiment.judges.spending import Spending
from harness.experiment.session import Session
from harness.experiment.variants import ModelPool, resolve_variant
from harness.generation import reply_request
from harness.measures.heldout import heldout_losses
from harness.models.bases import load_tokenizer, resolve_base
from harness.models.chat_templates import DIALOGUE_SYSTEM, chat_messages, render
from harness.models.local import LocalModel
from harness.models.protocol import ReplyRequest, adapter_name
from harness.registry import export, model_folder, open_adapter, publish, resolve
from harness.serving.api_schema import ChatRequest
from harness.serving.app import Service
from harness.serving.model_names import Variants
from harness.serving.vllm import shared_template
from harness.settings import Settings
from harness.store.artifacts import read_json
from harness.store.prepared import read_prompts
from harness.store.tracking import Tracking
from harness.types import Adapter, Decoding, Message, Prompt, Quantization
from harness.ui.speakers import LocalSpeakers, ServedSpeakers
from pipelines.corpus.prepare import PrepareConfig, prepare_stage
from pipelines.training.recipe import SftRecipe
from pipelines.training.training_audit import adapter_audit, training_audit
from pipelines.training.training_stage import training_stage

SYSTEM = 'You keep the light.\nSay "so" — 灯台 {{ no }} %}'
GREEDY = Decoding(max_new_tokens=8, temperature=0.0)
LEARNT = {"In?": "Yes", "Out?": "No", "Who?": "Ann", "Up?": "Go", "Why?": "Eh", "Ill?": "Fit"}


def rows() -> list[dict[str, Any]]:
    """Six exchanges to learn, and some to hold out."""
    said = [("train", asked, reply) for asked, reply in LEARNT.items()]
    said += [(split, f"Is it {n}?", "Maybe.") for split in ("validation", "test") for n in (3, 4)]
    return [
        {
            "id": f"r{n}",
            "cluster": f"c{n}",
            "split": split,
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": asked},
                {"role": "assistant", "content": reply},
            ],
        }
        for n, (split, asked, reply) in enumerate(said)
    ]


class World:
    """A base, and the adapter that was trained on it."""

    def __init__(self, folder: Path) -> None:
        self.base = resolve_base(str(tiny_checkpoint(folder / "base")))
        self.tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(fresh_home(folder / "home"))}))
        corpus = folder / "rows.jsonl"
        corpus.write_text("".join(json.dumps(row) + "\n" for row in rows()))
        session = Session(tracking=self.tracking)
        self.prepared = prepare_stage(session, PrepareConfig(corpus=str(corpus), base=self.base.source))
        learning = {
            "lora": {"rank": 16, "scale": 32, "dropout": 0.0, "targets": "all-linear", "dora": False},
            "data": {"train_tokens": None, "epochs": 150, "pack_tokens": 2000},
            "neftune_alpha": None,
            "validation": {"every_steps": 1000, "max_tokens": 400, "patience": None},
        }
        settings = sft_settings(Path(self.base.source), optimizer__packs_per_step=1, optimizer__learning_rate=2e-2)
        recipe = parse(settings | learning | {"checkpoint_steps": 1000}, SftRecipe, where="test")
        training_stage(session, "sft", recipe, prepared=self.prepared)
        self.adapter = resolve(self.tracking, "tiny-sft@candidate")
        self.model = LocalModel.load(self.base)
        self.name = self.model.add_adapter(self.adapter)
        self.prompts: list[Prompt] = read_prompts(self.prepared.folder, "train")
        self.asked = [prompt.messages[-1].content for prompt in self.prompts]
        self.learnt = self.replies(SYSTEM)

    def replies(self, system: str | None, *, decoding: Decoding = GREEDY) -> list[str]:
        """What the adapter says under a system message."""
        requests = [
            ReplyRequest(key="k", messages=chat_messages(p.messages, system=system), adapter=self.name)
            for p in self.prompts
        ]
        return [reply.text for reply in self.model.generate(requests, decoding=decoding)]

    def request(self, asked: str, *before: dict[str, str]) -> ChatRequest:
        """A chat request for it."""
        return ChatRequest(model="tiny-sft/1", messages=[*before, {"role": "user", "content": asked}])  # type: ignore[list-item]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("served-as-trained"))


def test_it_has_learnt_what_it_says_and_under_another_system_message_it_says_something_else(world: World) -> None:
    assert sum(LEARNT[asked] == reply for asked, reply in zip(world.asked, world.learnt, strict=True)) >= 5
    assert world.replies(None) != world.learnt
    contract = world.adapter.contract
    assert contract is not None
    assert (contract.system, contract.max_tokens, contract.quantization) == (SYSTEM, 512, "none")


def test_a_comparison_on_data_that_brings_no_system_message(world: World) -> None:
    variant = resolve_variant(
        "it", VariantDesign(adapter="tiny-sft/1"), tracking=world.tracking, system=None, shots_from=list, seed=0
    )
    assert (variant.system, variant.template) == (SYSTEM, ())
    model = ModelPool().of(variant, spending=Spending())
    found = model.generate([reply_request(variant, prompt, draw=0) for prompt in world.prompts], decoding=GREEDY)
    assert [reply.text for reply in found] == world.learnt
    for said in ({"design": "Be brief."}, {"data": "Be brief."}):
        declared = VariantDesign(adapter="tiny-sft/1", system=said.get("design"))
        other = resolve_variant(
            "it", declared, tracking=world.tracking, system=said.get("data"), shots_from=list, seed=0
        )
        assert other.system == "Be brief."
        assert other.template == ("asked under another system prompt than it was trained with",)


def test_the_service_and_the_chat(world: World) -> None:
    with running(LocalModel.load(world.base), Variants(world.tracking, world.base)) as server:
        body = {"model": "tiny-sft@candidate", "max_tokens": 8, "temperature": 0}
        found = [server.post(messages=[{"role": "user", "content": asked}], **body).json() for asked in world.asked]
        assert [answer["choices"][0]["message"]["content"].strip() for answer in found] == world.learnt
        speakers = ServedSpeakers(f"{server.url}/v1")
        assert speakers.names() == ["base", "tiny-sft@candidate", "tiny-sft/1"]
        assert speakers.system_of("tiny-sft/1", None) == SYSTEM
        assert speakers.system_of("base", None) is None
    chat = LocalSpeakers(world.tracking, base=world.base.source)
    drawn = Decoding(max_new_tokens=8, seed=3)
    (request,) = [ReplyRequest(key="chat", messages=chat_messages(p.messages, system=SYSTEM), adapter=world.name)
                  for p in world.prompts[:1]]  # fmt: skip
    own = chat.system_of("tiny-sft@candidate", None)
    line = "".join(chat.stream("tiny-sft@candidate", world.prompts[0].messages, system=own, n_tokens=8, seed=3))
    assert line.strip() == world.model.generate([request], decoding=drawn)[0].text


def test_a_request_s_own_system_message_wins_and_two_are_refused(world: World) -> None:
    service = Service(world.model, Variants(world.tracking, world.base))
    bare = Service(world.model, Variants(world.tracking, world.base), as_trained=False)
    turns = [{"role": "user", "content": "In?"}]
    own = {"role": "developer", "content": "Be brief."}

    def render_(*before: dict[str, str]) -> tuple[int, ...]:
        return render(world.model.tokenizer, [*before, *turns])

    assert service.prompt_ids(world.request("In?"), world.adapter) == render_({"role": "system", "content": SYSTEM})
    assert service.prompt_ids(world.request("In?", own), world.adapter) == render_(own | {"role": "system"})
    for plain in (service.prompt_ids(world.request("In?")), bare.prompt_ids(world.request("In?"), world.adapter)):
        assert plain == render_()
    with pytest.raises(Exception, match="must hold one system"):
        service.prompt_ids(world.request("In?", own, own), world.adapter)


def test_history_is_cut_as_in_training_by_every_road_in_this_process(world: World) -> None:
    assert world.adapter.contract is not None
    turns: list[Any] = [(role, f"It is {n} now.") for n in range(6) for role in ("user", "assistant")]
    prompt = Prompt(id="k", messages=tuple(Message(role=r, content=t) for r, t in [*turns, ("user", "In?")]),
                    split="test", cluster="c", reference="Yes")  # fmt: skip
    whole, short = (chat_messages(m, system=SYSTEM) for m in (prompt.messages, prompt.messages[-5:]))
    n_short = len(render(world.model.tokenizer, short))
    adapter = replace(world.adapter, contract=replace(world.adapter.contract, max_tokens=n_short + 1))
    model = LocalModel.load(world.base)
    cut, free = model.add_adapter(adapter, name="cut"), model.add_adapter(world.adapter, name="free")

    def asked(chat: Any, name: str) -> Any:
        request = ReplyRequest(key="k", messages=chat, adapter=name)
        return model.generate([request], decoding=GREEDY)[0].text, tuple(model.stream(request, decoding=GREEDY))

    assert asked(whole, cut) == asked(short, free)
    assert asked(short, cut) == asked(short, free)  # what fits is asked as it stands
    newest = replace(prompt, messages=prompt.messages[-5:])
    of_cut, of_newest, of_whole = (
        heldout_losses(model, [p], system=SYSTEM, adapter=name)[0].total_bits
        for p, name in ((prompt, cut), (newest, free), (prompt, free))
    )
    assert of_cut == pytest.approx(of_newest, rel=1e-5) != of_whole
    request = ChatRequest.model_validate({"model": "x", "messages": [t for t in whole if t["role"] != "system"]})
    service = Service(model, Variants(world.tracking, world.base))
    bare = Service(model, Variants(world.tracking, world.base), as_trained=False)
    assert service.prompt_ids(request, adapter) == render(model.tokenizer, short)
    assert bare.prompt_ids(request, adapter) == render(model.tokenizer, whole[1:])


def test_a_base_in_4_bits_is_kept_where_it_can_be_and_said_where_not(world: World, tmp_path: Path) -> None:
    settings = sft_settings(Path(world.base.source), quantization="nf4", validation__max_tokens=10_000)
    recipe = parse(settings | {"name": "small-sft"}, SftRecipe, where="test")
    stage = training_stage(Session(tracking=world.tracking), "sft", recipe, prepared=world.prepared)
    held: list[Prompt] = read_prompts(world.prepared.folder, "validation")
    losses, said = {}, "trained on its base in 4 bits (NF4), asked in full precision"
    for quantization in get_args(Quantization):
        declared = VariantDesign(adapter="small-sft/1", quantization=quantization)
        variant = resolve_variant("it", declared, tracking=world.tracking, system=None, shots_from=list, seed=0)
        assert variant.template == (() if quantization == "nf4" else (said,))
        assert variant.adapter is not None
        model = ModelPool().of(variant, spending=Spending())
        rows = heldout_losses(model, held, system=SYSTEM, adapter=adapter_name(variant.adapter))
        losses[quantization] = sum(sure(r.nats_per_token) * r.n_tokens for r in rows) / sum(r.n_tokens for r in rows)
    trained = read_json(stage.folder / "training.json")["validation_loss"]
    assert losses["nf4"] == pytest.approx(trained, rel=1e-4) != pytest.approx(losses["none"], rel=1e-4)
    for merge in (False, True):
        folder = export(world.tracking, "small-sft/1", tmp_path / f"{merge}", merge=merge)
        assert "a merge answer in full precision" in (folder / "README.md").read_text()
    line = ("serve", "small-sft/1", "--base", world.base.source, "--engine", "vllm", "--print")
    assert said in screentest(*line, home=world.tracking.settings.home).stderr
    assert "full precision" in LocalSpeakers(world.tracking, base=world.base.source).where


def test_mlflow_s_own_model(world: World) -> None:
    import pandas as pd
    from mlflow.pyfunc.model import PythonModelContext

    from harness.registry_model import AdapterModel

    item = world.tracking.client.get_model_version("tiny-sft", "1")
    folder = model_folder(world.tracking, item) / "artifacts"
    model = AdapterModel()
    paths = {"adapter": str(folder / "adapter"), "record": str(folder / "adapter.json")}
    context = PythonModelContext(artifacts=paths, model_config={})
    model.load_context(context)
    rows, greedy = pd.DataFrame({"prompt": world.asked}), {"max_new_tokens": 8, "temperature": 0.0}
    assert model.predict(context, rows, greedy) == world.learnt
    assert model.predict(context, rows, greedy | {"system": ""}) == world.replies(None)


def test_what_is_exported_and_given_to_vllm(world: World, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merged = export(world.tracking, "tiny-sft/1", tmp_path / "merged", merge=True)
    whole = AutoModelForCausalLM.from_pretrained(merged), AutoTokenizer.from_pretrained(merged)
    assert greedy_replies(*whole, world.asked) == world.learnt
    assert load_tokenizer(resolve_base(str(merged))).chat_template == whole[1].chat_template  # a base like any other
    plain = export(world.tracking, "tiny-sft/1", tmp_path / "plain")
    tokenizer = AutoTokenizer.from_pretrained(world.base.source)
    tokenizer.chat_template = (plain / "chat_template.jinja").read_text()
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(world.base.source), plain)
    assert greedy_replies(model, tokenizer, world.asked) == world.learnt
    assert open_adapter(plain, base=world.base).contract == world.adapter.contract
    file = shared_template(world.base, {"tiny-sft/1": world.adapter}, folder=tmp_path)
    assert file is not None
    tokenizer.chat_template = file.read_text()
    assert greedy_replies(model, tokenizer, world.asked) == world.learnt
    other = replace(world.adapter, contract=replace(world.adapter.contract, system="Else."))  # type: ignore[type-var]
    assert shared_template(world.base, {"a": world.adapter, "b": other}, folder=tmp_path) is None


def greedy_replies(model: Any, tokenizer: Any, asked: Sequence[str]) -> list[str]:
    """As a program does that knows transformers alone."""
    replies = []
    for text in asked:
        chat = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        end = tokenizer.convert_tokens_to_ids("<|im_end|>")
        with torch.no_grad():
            out = model.generate(**ids, max_new_tokens=8, do_sample=False, eos_token_id=[0, end], pad_token_id=0)
        replies.append(tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    return replies


def test_the_audit_holds_training_windows_against_generation(world: World) -> None:
    (row,) = [r for r in adapter_audit(world.tracking, [world.adapter], prepared=world.prepared) if "asked" in r.label]
    assert (row.is_passed, row.detail) == (True, "6 of 6 prompts of training windows have the same token ids")
    other = resolve_variant(
        "it", VariantDesign(adapter="tiny-sft/1", system="Else."), tracking=world.tracking, system=None,
        shots_from=list, seed=0,
    )  # fmt: skip
    (row,) = [r for r in training_audit(world.tracking, [other], prepared=world.prepared) if "asked" in r.label]
    assert row.is_passed is False
    assert "0 of 6" in row.detail
    assert "another system prompt" in row.detail


def test_a_template_that_changed_since_training_is_a_sentence(world: World) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = str(tokenizer.chat_template).replace("persona", "helper")
    with pytest.raises(InputError, match="must be asked under the chat template that it was trained with"):
        LocalModel(world.model.bank._bare, tokenizer).add_adapter(world.adapter)


def test_an_adapter_from_elsewhere_is_told_its_system_message_at_import(world: World, tmp_path: Path) -> None:
    folder, home = shutil.copytree(world.adapter.path, tmp_path / "mine"), world.tracking.settings.home
    line = ("adapters", "import", folder, "--name", "mine", "--base", world.base.source)
    assert "not on record" in screentest(*line, home=home).stderr
    assert screentest(*line, "--system", SYSTEM, "--json", home=home).json["adapter"] == "mine/2"
    assert resolve(world.tracking, "mine@candidate").contract == replace(
        world.adapter.contract,
        max_tokens=None,
        quantization=None,  # type: ignore[type-var]
    )
    served = screentest(
        "serve", "mine/1", "mine/2", "--base", world.base.source, "--engine", "vllm", "--print", home=home
    )
    assert "mine/1: not on record how it was asked in training" in served.stderr
    assert "--chat-template" not in served.stdout  # they differ in the message
    alone = screentest("serve", "mine/2", "--base", world.base.source, "--engine", "vllm", "--print", home=home)
    assert "--chat-template" in alone.stdout
    assert "goes before a chat that brings no system message" in alone.stderr
    whole = screentest("serve", "tiny-sft/1", "--base", world.base.source, "--engine", "vllm", "--print", home=home)
    assert "chats are not cut to 512 tokens" in whole.stderr


def test_an_adapter_without_a_record_is_asked_with_the_data_s_message_or_none_by_every_road(
    world: World, tmp_path: Path
) -> None:
    """As TRL leaves it; beside it one that is known to have been trained under none, and one under its own."""
    import mlflow
    import pandas as pd

    folder, tracking = shutil.copytree(world.adapter.path, tmp_path / "trl"), world.tracking
    (folder / "training_args.bin").write_bytes(b"never opened")
    found = open_adapter(folder, base=world.base)
    contract = replace(world.adapter.contract, system=None)  # type: ignore[type-var]
    for name, adapter in (("trl", found), ("bare", replace(found, contract=contract))):
        publish(tracking, adapter, name=name, card="# card")
    film = DIALOGUE_SYSTEM
    cases = [  # the name that servers know, a comparison's, and what it is asked with: nothing said, films, rows' own
        ("trl/1", VariantDesign(adapter=str(folder), base=world.base.source), (None, film, "Be brief.")),
        ("bare/1", VariantDesign(adapter="bare/1"), (None, None, "Be brief.")),
        ("tiny-sft@candidate", VariantDesign(adapter="tiny-sft/1"), (SYSTEM, SYSTEM, "Be brief.")),
        ("base", VariantDesign(model=world.base.source), (None, film, "Be brief.")),
    ]

    def compared(design: VariantDesign, data: str | None) -> str | None:
        found = {"tracking": tracking, "shots_from": list, "seed": 0, "probe": Spending().prober}
        return resolve_variant("it", design, system=data, **found).system  # type: ignore[arg-type]

    chat = LocalSpeakers(tracking, base=world.base.source)
    with running(LocalModel.load(world.base), Variants(tracking, world.base)) as server:
        there = ServedSpeakers(f"{server.url}/v1")
        there.names()
        for name, here, expected in cases:
            behind = VariantDesign(endpoint=f"{server.url}/v1", endpoint_model=name)
            for data, said in zip((None, film, "Be brief."), expected, strict=True):
                assert compared(here, data) == chat.system_of(name, data) == there.system_of(name, data) == said
            assert compared(behind, film) == expected[1]
        asked = {"model": "trl/1", "max_tokens": 8, "temperature": 0}
        answers = [server.post(messages=[{"role": "user", "content": text}], **asked).json() for text in world.asked]
    plain = world.replies(None)
    assert [answer["choices"][0]["message"]["content"].strip() for answer in answers] == plain
    model = mlflow.pyfunc.load_model(str(model_folder(tracking, tracking.client.get_model_version("trl", "1"))))
    assert (
        model.predict(pd.DataFrame({"prompt": world.asked}), params={"max_new_tokens": 8, "temperature": 0.0}) == plain
    )
    assert not (export(tracking, "trl/1", tmp_path / "plain") / "chat_template.jinja").exists()
    merged = load_tokenizer(resolve_base(str(export(tracking, "trl/1", tmp_path / "merged", merge=True))))
    assert merged.chat_template == load_tokenizer(world.base).chat_template
    assert shared_template(world.base, {"trl/1": resolve(tracking, "trl/1")}, folder=tmp_path) is None


def test_a_contract_that_is_none_is_refused_and_one_that_is_not_there_is_said(world: World, tmp_path: Path) -> None:
    folder = shutil.copytree(world.adapter.path, tmp_path / "mine")
    found: Adapter = open_adapter(folder, base=world.base)
    assert found.contract is None
    variant = resolve_variant(
        "it", VariantDesign(adapter=str(folder), base=world.base.source), tracking=world.tracking, system=None,
        shots_from=list, seed=0,
    )  # fmt: skip
    assert variant.template == ("not on record how it was asked in training",)
    for text in ("{", "[]", '{"system": 3}', '{"system": null, "more": 1}', "{" * 5000, '"' + "x" * 2**21 + '"'):
        (folder / "screentest_contract.json").write_text(text)
        with pytest.raises(InputError, match="screentest_contract"):
            open_adapter(folder, base=world.base)
    assert read_json(Path(world.adapter.path).parent / "adapter.json")["adapter"]["contract"]["system"] == SYSTEM
