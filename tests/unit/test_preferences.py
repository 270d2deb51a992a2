from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fakes import ScriptedJudge, UniformModel, tiny_checkpoint
from preference_data import pair, prepared_sample

from harness.config import parse
from harness.errors import ConfigError, InputError, SplitError
from harness.models.bases import resolve_base
from harness.models.protocol import LanguageModel, Reply, ReplyRequest
from harness.store.prepared import read_prompts
from harness.types import Adapter, Criterion, Decoding, Generation, JudgedItem, PreferencePair, Prompt
from pipelines.preferences import pair_builder as preferences
from pipelines.preferences.pair_builder import PairsConfig, read_pairs_summary
from pipelines.preferences.pair_files import PAIRS, import_file, read_pairs
from pipelines.preferences.ranking import HumanRanker, JudgeRanker, Ranker

COHERENCE = Criterion(name="coherence", definition="Fits.", steps=())
FLUENCY = Criterion(name="fluency", definition="Reads well.", steps=())


class Killed(BaseException):
    """What a kill is to a test."""


@dataclass(frozen=True, kw_only=True)
class Talker(UniformModel):
    """Replies with the draw's number, so that a judge can tell them apart; the last draw runs into the cap."""

    die_after: int | None = None
    asked: list[str] = field(default_factory=list)

    def generate(self, requests: Sequence[ReplyRequest], *, decoding: Decoding, on_reply: Any = None,
                 on_progress: Any = None) -> list[Reply]:  # fmt: skip
        replies = []
        for request in requests:
            if self.die_after is not None and len(self.asked) >= self.die_after:
                raise Killed
            self.asked.append(f"{request.key}/{request.draw}")
            is_cut = request.draw == 3
            reply = Reply(
                key=request.key, draw=request.draw, adapter=request.adapter, tag=request.tag, n_tokens=5,
                text=f"reply number {['one', 'two', 'three', 'four'][request.draw]}",
                finish_reason="length" if is_cut else "stop",
            )  # fmt: skip
            replies.append(reply)
            if on_reply is not None:
                on_reply(reply)
        return replies


def by_draw(item: JudgedItem, criterion: str) -> float | None:
    """Three is best, one is worst; the second is not scored."""
    return {"one": 1.0, "two": None, "three": 3.0, "four": 9.0}[item.reply.split()[-1]]


def config(**changes: Any) -> PairsConfig:
    return PairsConfig(**{"judge": "unused", "n_pairs": 20, **changes})


@dataclass(frozen=True, kw_only=True)
class World:
    """A corpus, and the adapter whose replies are ranked."""

    prepared: Path
    parent: Adapter

    def build(
        self, folder: Path, *, judge: ScriptedJudge | None = None, model: LanguageModel | None = None,
        ranker: Ranker | None = None, settings: PairsConfig | None = None, **changes: Any,
    ) -> preferences.PairsSummary:  # fmt: skip
        judge = judge or ScriptedJudge(value=by_draw, criteria=(COHERENCE, FLUENCY))
        folder.mkdir(parents=True, exist_ok=True)
        return preferences.run(
            settings or config(**changes), prepared=self.prepared, parent=self.parent, model=model or Talker(),
            folder=folder, ranker=ranker or JudgeRanker(judge=judge, criterion="coherence"),
        )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = tmp_path_factory.mktemp("world")
    base = tiny_checkpoint(made / "base")
    parent = Adapter(name="tiny-sft", version="1", path="", digest="a" * 64, base=resolve_base(str(base)))
    return World(prepared=prepared_sample(made / "prepared", base), parent=parent)


# ── building ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_best_against_the_worst_with_all_that_is_known_of_the_choice(world: World, tmp_path: Path) -> None:
    summary = world.build(tmp_path)
    pairs = read_pairs(tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["audit.json", "pairs.jsonl", "summary.json"]
    assert len(pairs) == summary.n_pairs == 20
    assert summary == read_pairs_summary(tmp_path)
    for made in pairs:
        assert (made.chosen, made.rejected) == ("reply number three", "reply number one")
        assert made.margin == 2.0
        assert made.preferred_by == "scripted@00000000"
        assert [(c.text.split()[-1], c.score) for c in made.candidates] == [("one", 1.0), ("two", None), ("three", 3.0)]
    train = {p.id: p for p in read_prompts(world.prepared, "train")}
    assert all(train[p.prompt.id].cluster == p.prompt.cluster for p in pairs)
    assert len({p.prompt.cluster for p in pairs}) > 5  # films take turns
    assert summary.n_generations == 4 * summary.n_prompts
    assert summary.n_cut_off == summary.n_prompts  # the fourth draw, which stood back
    assert summary.n_judged == 3 * summary.n_prompts
    assert summary.n_generated_tokens == 5 * summary.n_generations


def test_trl_reads_what_is_written(world: World, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl.data_utils import is_conversational

    world.build(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / PAIRS).read_text().splitlines()]
    dataset = Dataset.from_list(rows)
    assert {"prompt", "chosen", "rejected"} <= set(dataset.column_names)
    assert is_conversational(dataset[0])
    assert rows[0]["prompt"][0]["role"] == "system"
    assert rows[0]["prompt"][-1]["role"] == "user"
    assert [m["role"] for m in rows[0]["chosen"]] == ["assistant"]
    assert rows[0]["words"] == {"chosen": 3, "rejected": 3}


def test_a_margin_that_is_not_clear_makes_no_pair(world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no pair could be made of \d+ prompts"):
        world.build(tmp_path, min_margin=2.5)


@pytest.mark.parametrize("die_after", [3, 50, 100])
def test_killed_anywhere_it_ends_with_equal_pairs_and_asks_once(die_after: int, world: World, tmp_path: Path) -> None:
    world.build(tmp_path / "whole")
    first = Talker(die_after=die_after)
    folder = tmp_path / "killed"
    try:
        world.build(folder, model=first)
    except Killed:
        second = Talker()
        world.build(folder, model=second)
        assert set(first.asked) & set(second.asked) == set()
    assert (folder / PAIRS).read_bytes() == (tmp_path / "whole" / PAIRS).read_bytes()


def test_prompts_of_another_split_are_refused(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = read_prompts
    monkeypatch.setattr(preferences, "read_prompts", lambda folder, split: real(folder, "test"))
    with pytest.raises(SplitError, match="must be of train, got some of test"):
        world.build(tmp_path)


def test_the_human_reply_against_a_sample(world: World, tmp_path: Path) -> None:
    chosen = PairsConfig(method="reference", n_pairs=10, n_candidates=1)
    world.build(tmp_path, settings=chosen, ranker=HumanRanker())
    for made in read_pairs(tmp_path):
        assert made.chosen == (made.prompt.reference or "").strip()
        assert made.rejected == "reply number one"
        assert (made.preferred_by, made.margin) == ("reference", None)
    summary = read_pairs_summary(tmp_path)
    assert summary.n_judged == 0


def test_a_candidate_near_a_held_out_reply_is_dropped(world: World, tmp_path: Path) -> None:
    held = max(read_prompts(world.prepared, "test"), key=lambda p: len((p.reference or "").split())).reference or ""

    class Thief(Talker):
        def generate(self, requests: Any, **kwargs: Any) -> list[Reply]:
            on_reply = kwargs.pop("on_reply")
            replies = super().generate(requests, on_reply=None, **kwargs)
            stolen = [replace(r, text=held) if r.draw == 2 and n % 8 == 2 else r for n, r in enumerate(replies)]
            for reply in stolen:
                on_reply(reply)
            return stolen

    def value(item: JudgedItem, criterion: str) -> float | None:
        return 3.0 if item.reply == held else by_draw(item, criterion)

    judge = ScriptedJudge(value=value, criteria=(COHERENCE,))
    summary = world.build(tmp_path, model=Thief(), judge=judge)
    assert summary.dropped["nearly the same as a held-out row"] > 0
    assert all(held not in (p.chosen, p.rejected) for p in read_pairs(tmp_path))


def test_a_ranker_that_compares_sides_is_believed_where_both_orders_agree(world: World, tmp_path: Path) -> None:
    class Compares:
        def choose(
            self, prompts: Sequence[Prompt], candidates: Mapping[str, Sequence[Generation]]
        ) -> dict[str, PreferencePair | None]:
            return {p.id: pair(row, prompt=p, margin=None, orders_agree=row % 2 == 0) for row, p in enumerate(prompts)}

    summary = world.build(tmp_path, n_pairs=10, ranker=Compares())
    assert summary.dropped["the verdict turned with the sides"] > 0
    assert all(p.orders_agree for p in read_pairs(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "judge"}, "`judge` must name a judge's folder"),
        ({"method": "judge", "judge": "j", "n_candidates": 1}, "`n_candidates` must be at least 2"),
        ({"method": "reference", "min_margin": 0.5}, "have no meaning with `method: reference`"),
        ({"method": "guess"}, "`method`"),
        ({"method": "reference", "n": 3}, "`n` is not a key of PairsConfig"),
    ],
    ids=str,
)
def test_settings_that_break_a_rule_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(changes, PairsConfig, where="test")


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


ASK = [{"role": "user", "content": "Where?"}]


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Where?", "chosen": "Here.", "rejected": "No."},
        {"prompt": ASK, "chosen": answer("Here."), "rejected": answer("No.")},
        {"prompt": [{"role": "system", "content": "Be brief."}, *ASK], "chosen": "Here.", "rejected": answer("No.")},
        {"chosen": ASK + answer("Here."), "rejected": ASK + answer("No.")},
    ],
    ids=["text", "messages", "system and mixed", "implicit prompt"],
)
def test_every_form_of_preferences_is_imported(row: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(row) + "\n\n")
    imported = import_file(file)
    (only,) = imported.pairs
    assert [(m.role, m.content) for m in only.prompt.messages] == [("user", "Where?")]
    assert (only.chosen, only.rejected, only.preferred_by) == ("Here.", "No.", "import")
    assert (only.prompt.id, only.prompt.cluster) == ("row-1", "row-1")
    assert imported.n_own_system == ("system" in json.dumps(row.get("prompt", "")))


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ('{"prompt": "a", "chosen": "b", "rejected": " b "}', InputError, "must differ, they are the same"),
        ('{"prompt": "a", "chosen": "b"}', InputError, "`rejected` must be given; the keys are `prompt`, `chosen`"),
        ('{"prompt": "a", "chosen": "b", "rejected": ""}', InputError, "`rejected` must not be empty"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c", "split": "test"}', SplitError, "got \"test\": TEST and"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c", "margin": "x"}', InputError, "`margin` must be float"),
        ('{"prompt": [], "chosen": "b", "rejected": "c"}', InputError, "`prompt` must be given, or"),
        ('{"prompt": [{"role": "assistant", "content": "a"}], "chosen": "b", "rejected": "c"}', InputError,
         "`prompt` must end with the user's turn"),
        ('{"chosen": "b", "rejected": "c"}', InputError, "`prompt` must be given, or"),
        ("{nonsense", InputError, "must be JSON"),
        ('["a"]', InputError, "must be a JSON object, got list"),
    ],
)  # fmt: skip
def test_a_row_out_of_format_is_told_by_its_line(line: str, error: type[Exception], words: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n' + line)
    with pytest.raises(error, match=words) as raised:
        import_file(file)
    assert f"`{file}` line 2" in str(raised.value)


def test_an_empty_or_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be an existing JSONL file of preferences"):
        import_file(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="at least one row of preferences"):
        import_file(tmp_path / "empty.jsonl")


def test_an_import_is_placed_beside_its_prompt_and_refused_near_held_out_rows(world: World, tmp_path: Path) -> None:
    known = next(p for p in read_prompts(world.prepared, "train") if p.reference)
    mine = {"prompt": "a", "chosen": "b", "rejected": "c"}
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in (mine | {"prompt_id": known.id}, mine | {"prompt": "d"})))
    (tmp_path / "out").mkdir()
    summary = preferences.import_pairs(file, prepared=world.prepared, folder=tmp_path / "out")
    first, second = read_pairs(tmp_path / "out")
    assert (first.prompt.cluster, first.prompt.reference) == (known.cluster, known.reference)
    assert second.prompt.cluster == "row-2"
    assert (summary.method, summary.n_pairs) == ("import", 2)
    held = next(p for p in read_prompts(world.prepared, "validation") if p.reference)
    file.write_text(json.dumps(mine | {"prompt_id": held.id}))
    with pytest.raises(SplitError, match="must keep away from VALIDATION and TEST, got 1 of 1"):
        preferences.import_pairs(file, prepared=world.prepared, folder=tmp_path / "out")
