from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asked import prompt
from fakes import tiny_adapter, tiny_checkpoint

from harness.errors import InputError, SplitError
from harness.experiment.design import VariantDesign
from harness.experiment.judges.spending import Spending
from harness.experiment.variants import ModelPool, draw_shots, parse_variant, resolve_variant, tokenizer_source
from harness.models.bases import resolve_base
from harness.settings import Settings
from harness.store.tracking import Tracking
from harness.types import Variant


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    base = resolve_base(str(tiny_checkpoint(folder / "base")))
    tiny_adapter(folder / "adapter", base)
    (folder / "replies.jsonl").write_text('{"prompt_id": "p1", "text": "Yes."}\n')
    return folder


@pytest.fixture
def tracking(tmp_path: Path) -> Tracking:
    return Tracking(Settings.from_environment({"SCREENTEST_HOME": str(tmp_path)}))


# ── as typed ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("base", {"model": "embedded"}),
        ("embedded", {"model": "embedded"}),
        ("mine@candidate", {"adapter": "mine@candidate"}),
        ("mine/3", {"adapter": "mine/3"}),
        ("Qwen/Qwen2.5-0.5B", {"model": "Qwen/Qwen2.5-0.5B"}),
        ("Qwen/Qwen2.5-0.5B@abc123", {"model": "Qwen/Qwen2.5-0.5B", "revision": "abc123"}),
        ("replies.jsonl", {"generations": "replies.jsonl"}),
        ("some/where/replies.jsonl", {"generations": "some/where/replies.jsonl"}),
        ("http://localhost:8000/v1#tiny", {"endpoint": "http://localhost:8000/v1", "endpoint_model": "tiny"}),
        ("https://host/v1#a/b", {"endpoint": "https://host/v1", "endpoint_model": "a/b"}),
    ],
)
def test_a_text_is_read_as_what_it_looks_like(text: str, expected: dict[str, Any]) -> None:
    assert parse_variant(text) == VariantDesign(**expected)


@pytest.mark.parametrize(
    "text", ["", "nobody", "./nowhere", "/no/where", "~/nowhere", "a/b/c", "http://host/v1", "a b"]
)
def test_what_is_none_of_them_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_variant(text)
    assert f"`{text}`" in str(caught.value)


# ── resolved ─────────────────────────────────────────────────────────────────────────────────────────────────────────


TRAIN = [
    prompt(f"p{i}", f"Why is it number {i} again?", split="train", cluster=f"m{i % 4}", reference="Because I said so.")
    for i in range(12)
]


def resolved(design: VariantDesign, tracking: Tracking, *, name: str = "it", system: str | None = None) -> Variant:
    return resolve_variant(name, design, tracking=tracking, system=system, shots_from=lambda: TRAIN, seed=7)


def test_a_variants_digest_is_what_it_says_not_what_it_is_called(folder: Path, tracking: Tracking) -> None:
    plain = VariantDesign(model=str(folder / "base"))
    same = resolved(plain, tracking).digest
    assert resolved(plain, tracking, name="other").digest == same
    changes = [
        resolved(plain, tracking, system="Speak in verse."),
        resolved(plain.model_copy(update={"system": "Speak in verse, please."}), tracking),
        resolved(plain.model_copy(update={"shots": 2}), tracking),
        resolved(VariantDesign(adapter=str(folder / "adapter")), tracking),
    ]
    assert len({same, *(variant.digest for variant in changes)}) == 5


def test_the_variants_own_system_prompt_comes_before_the_datas(folder: Path, tracking: Tracking) -> None:
    plain = VariantDesign(model=str(folder / "base"))
    assert resolved(plain, tracking).system is None
    assert resolved(plain, tracking, system="The data's.").system == "The data's."
    own = plain.model_copy(update={"system": "Its own."})
    assert resolved(own, tracking, system="The data's.").system == "Its own."


def test_an_adapter_brings_its_base(folder: Path, tracking: Tracking) -> None:
    variant = resolved(VariantDesign(adapter=str(folder / "adapter")), tracking)
    assert variant.adapter is not None
    assert variant.base == variant.adapter.base == resolve_base(str(folder / "base"))
    source = tokenizer_source([VariantDesign(adapter=str(folder / "adapter"))], tracking)
    assert source["source"] == str((folder / "base").resolve())


def test_a_file_is_digested_by_its_content(folder: Path, tracking: Tracking, tmp_path: Path) -> None:
    (tmp_path / "copy.jsonl").write_bytes((folder / "replies.jsonl").read_bytes())
    first = resolved(VariantDesign(generations=str(folder / "replies.jsonl")), tracking)
    copy = resolved(VariantDesign(generations=str(tmp_path / "copy.jsonl")), tracking)
    assert (first.kind, first.digest) == ("file", copy.digest)
    with pytest.raises(InputError, match="there is none"):
        resolved(VariantDesign(generations=str(tmp_path / "nothing.jsonl")), tracking)


def test_an_endpoint_is_not_asked_before_it_must_be(tracking: Tracking) -> None:
    assert resolved(VariantDesign(endpoint="http://127.0.0.1:9/v1", endpoint_model="none"), tracking).kind == "endpoint"


def test_the_tokenizer_is_that_of_the_first_variant_with_a_model(folder: Path, tracking: Tracking) -> None:
    file = VariantDesign(generations="replies.jsonl")
    hub = VariantDesign(model="Qwen/Qwen2.5-0.5B", revision="abc")
    found = tokenizer_source([file, hub, VariantDesign(model="embedded")], tracking)
    assert found == {"source": "Qwen/Qwen2.5-0.5B", "revision": "abc"}
    assert tokenizer_source([file], tracking)["source"] == "embedded"


def test_a_base_is_held_in_memory_once_with_its_adapters_beside_it(folder: Path, tracking: Tracking) -> None:
    pool = ModelPool()
    plain = resolved(VariantDesign(model=str(folder / "base")), tracking)
    tuned = resolved(VariantDesign(adapter=str(folder / "adapter")), tracking)
    spending = Spending()
    first, second, third = (pool.of(variant, spending=spending) for variant in (plain, tuned, tuned))
    assert first is second is third
    pool.clear()
    assert pool.of(plain, spending=spending) is not first


# ── few-shot exchanges ───────────────────────────────────────────────────────────────────────────────────────────────


def test_shots_are_of_train_only() -> None:
    with pytest.raises(SplitError):
        draw_shots([*TRAIN, prompt("p99", split="test")], n=1, seed=7)


def test_shots_take_films_in_turn_and_depend_on_the_seed_alone() -> None:
    shots = draw_shots(TRAIN, n=4, seed=7)
    by_text = {p.messages[-1].content: p.cluster for p in TRAIN}
    assert {by_text[asked.content] for asked, _ in shots} == {"m0", "m1", "m2", "m3"}
    assert [answer.role for _, answer in shots] == ["assistant"] * 4
    assert draw_shots(list(reversed(TRAIN)), n=4, seed=7) == shots
    assert draw_shots(TRAIN, n=4, seed=8) != shots
    assert len(draw_shots(TRAIN, n=12, seed=7)) == 12
    assert draw_shots(TRAIN, n=0, seed=7) == ()


def test_more_shots_than_there_are_is_said() -> None:
    short = [replace(one, reference="No.") for one in TRAIN[:3]]
    with pytest.raises(InputError, match="TRAIN has 2"):
        draw_shots([*TRAIN[:2], *short], n=3, seed=7)
