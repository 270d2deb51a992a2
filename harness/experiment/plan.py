"""From a declared ablation to a graph of stages: what two arms share is one task, whichever arm asks first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config import StrictConfig, load_yaml, parse, read_yaml
from harness.errors import ConfigError
from harness.experiment.arms import PLAIN_KEYS, AblationDesign, BaseDesign, override
from harness.experiment.design import DecodingDesign
from harness.experiment.kinds import methods, stage_kind
from harness.generation import decoding_json
from harness.judging.spec import load_judge_spec
from harness.store.artifacts import digest_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One stage to run. Two tasks with the same kind, settings and needs are the same task."""

    key: str
    kind: str  # of `harness.experiment.kinds`
    settings: Mapping[str, Any]  # JSON
    needs: Mapping[str, str]  # role → key of the task whose result is needed
    label: str  # as the screen shows it


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One arm with one seed: which tasks its numbers stand on."""

    arm: str
    seed: int
    prepared: str  # key of the task that cut the windows for this arm's base
    adapter: str | None  # key of the last training; None: the base as it is
    generate: str | None
    heldout: str | None
    judged: Mapping[str, str]  # judge's folder → key

    @property
    def name(self) -> str:
        """`a5 · 11`."""
        return f"{self.arm} · {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Tasks in an order in which each comes after what it needs, and the cells that stand on them."""

    tasks: Mapping[str, Task]
    cells: tuple[Cell, ...]
    qualify: Mapping[str, str]  # judge's folder → key

    def below(self, key: str) -> Iterator[Task]:
        """A task and everything that it needs, each once."""
        seen: set[str] = set()
        waiting = [key]
        while waiting:
            at = waiting.pop()
            if at not in seen:
                seen.add(at)
                waiting += self.tasks[at].needs.values()
                yield self.tasks[at]

    def of_cell(self, cell: Cell) -> dict[str, Task]:
        """Every task that a cell's numbers stand on."""
        ends = [cell.adapter or cell.prepared, cell.generate, cell.heldout, *cell.judged.values()]
        return {task.key: task for end in ends if end is not None for task in self.below(end)}

    def users(self) -> dict[str, list[Cell]]:
        """Task → the cells that need it."""
        found: dict[str, list[Cell]] = {key: [] for key in self.tasks}
        for cell in self.cells:
            for key in self.of_cell(cell):
                found[key].append(cell)
        return found


@dataclass(slots=True)
class _Builder:
    """Collects tasks; a task that stands already is not added twice."""

    tasks: dict[str, Task] = field(default_factory=dict)

    def add(self, kind: str, settings: Mapping[str, Any], needs: Mapping[str, str], label: str) -> str:
        key = digest_json({"kind": kind, "settings": settings, "needs": needs})[:20]
        self.tasks.setdefault(key, Task(key=key, kind=kind, settings=settings, needs=needs, label=label))
        return key


def make_plan(design: AblationDesign, *, folder: Path, limit: int | None = None) -> Plan:
    """Expand arms × seeds; `folder` is what the design's relative paths start from.

    Raises:
        ConfigError: a recipe is missing or broken, or an override names a key that nothing reads.
    """
    _refuse_unknown(design)
    builder = _Builder()
    cells = tuple(
        _cell(builder, design, arm=arm, seed=seed, folder=folder, limit=limit)
        for arm in design.arms
        for seed in design.seeds
    )
    qualify = {judge: _qualify(builder, design, judge, cells[0].prepared, folder) for judge in judges_of(design)}
    return Plan(tasks=builder.tasks, cells=cells, qualify=qualify)


def judges_of(design: AblationDesign) -> tuple[str, ...]:
    """The folders of judges that the measures name, each once."""
    return tuple(dict.fromkeys(m.judge for m in design.measures.values() if m.judge is not None))


def needs_replies(design: AblationDesign) -> bool:
    """Whether any measure is taken on generated replies."""
    return any(name != "heldout_loss" for name in design.measures)


def decoding_of(design: AblationDesign, arm: str) -> DecodingDesign:
    """How an arm's replies are drawn: the shared decoding, unless decoding is what the arms differ in."""
    data = override(design.decoding.model_dump(mode="json"), design.settings_of(arm), section="decoding")
    return parse(data, DecodingDesign, where=f"arm {arm}")


def stages_of(design: AblationDesign, arm: str) -> tuple[str, ...]:
    """What an arm goes through, in order.

    Raises:
        ConfigError: the order cannot be trained.
    """
    said = tuple(design.settings_of(arm).get("stages", design.stages))
    allowed: list[tuple[str, ...]] = [()]
    for way in allowed:  # grows while it is read: each way is followed by those that go on from it
        allowed += [(*way, name) for name, kind in methods().items() if kind.follows == (way[-1] if way else None)]
    if said not in allowed:
        ways = "; ".join(", ".join(way) or "none" for way in allowed)
        raise ConfigError(f"arm `{arm}`: `stages` must be one of {ways}; got {', '.join(map(str, said))}")
    return said


def _cell(builder: _Builder, design: AblationDesign, *, arm: str, seed: int, folder: Path, limit: int | None) -> Cell:
    base = _base(design, arm, folder=folder)
    shown = f"{arm} · {seed}"
    roots: dict[str, str] = {}
    if base.pretrain is not None:
        roots = {"base": _pretrain(builder, design, folder / base.pretrain, limit=limit)}
    named = {"source": base.source, "revision": base.revision}
    prepared = builder.add("prepare", _prepare_settings(design, named, limit), roots, "Prepare")
    adapter = _train(builder, design, arm=arm, seed=seed, folder=folder, base=named, roots=roots, prepared=prepared)

    needs = {**roots, "prepared": prepared} | ({"adapter": adapter} if adapter is not None else {})
    asked = {"n": design.test.prompts, "seed": design.seed, "base": named}
    decoding = decoding_of(design, arm).noun(seed=design.seed)
    generate = heldout = None
    judged: dict[str, str] = {}
    # An untrained arm is the same for every seed, and is asked once.
    whose = shown if adapter is not None else arm
    if needs_replies(design):
        settings = {**asked, "decoding": decoding_json(decoding)}
        generate = builder.add("generate", settings, needs, f"Generate {whose}")
        for judge in judges_of(design):
            settings = {"judge": str(folder / judge), "n": asked["n"], "seed": asked["seed"]}
            reads = {"prepared": prepared, "replies": generate}
            judged[judge] = builder.add("judge", settings, reads, f"Judge {whose}")
    if "heldout_loss" in design.measures:
        settings = {**asked, "n": max(design.test.heldout_prompts or 0, design.test.prompts)}
        heldout = builder.add("heldout", settings, needs, f"Held-out loss {whose}")
    return Cell(
        arm=arm, seed=seed, prepared=prepared, adapter=adapter, generate=generate, heldout=heldout, judged=judged
    )


def _train(
    builder: _Builder,
    design: AblationDesign,
    *,
    arm: str,
    seed: int,
    folder: Path,
    base: Mapping[str, Any],
    roots: Mapping[str, str],
    prepared: str,
) -> str | None:
    """The chain of trainings of one cell; the key of its last adapter."""
    stages, settings = stages_of(design, arm), design.settings_of(arm)
    _refuse_unread(design, arm, stages)
    if not stages:
        return None
    needs = {**roots, "prepared": prepared}
    # The worker puts the folder of a base that is trained here in its place.
    same: dict[str, Any] = {"base": {"source": "pretrained", "revision": None} if roots else dict(base)}
    last = ""
    for name in stages:
        kind = stage_kind(name)
        data = override(_recipe(design, kind.section, folder), settings, section=kind.section) | {"seed": seed} | same
        recipe = parse(data, _shape(name), where=f"arm {arm}").model_dump(mode="json")
        if kind.reads_pairs:
            needs |= {"pairs": _pairs(builder, design, arm=arm, seed=seed, folder=folder, needs=needs)}
        last = builder.add(name, recipe, needs, f"{kind.words} {arm} · {seed}")
        needs = {**roots, "prepared": prepared, "parent": last}
        same |= {"quantization": recipe["quantization"], "parent": "parent/1"}
    return last


def _pairs(
    builder: _Builder, design: AblationDesign, *, arm: str, seed: int, folder: Path, needs: Mapping[str, str]
) -> str:
    """How an arm's preference pairs are made on the adapter that it has so far."""
    data = override(_pairs_defaults(), {f"pairs.{k}": v for k, v in design.pairs.items()}, section="pairs")
    data = override(data, design.settings_of(arm), section="pairs") | {"seed": seed}
    if data["judge"] is not None:
        data |= {"judge": str(folder / str(data["judge"]))}
    config = parse(data, _shape("pairs"), where=f"arm {arm}").model_dump(mode="json")
    made_of = {role: needs[role] for role in ("prepared", "parent")}
    return builder.add("pairs", config, made_of, f"Pairs {arm} · {seed}")


def _refuse_unknown(design: AblationDesign) -> None:
    """Recipes and overrides that no training method reads."""
    sections = tuple(dict.fromkeys(kind.section for kind in methods().values()))
    if strangers := [key for key in design.recipes if key not in sections]:
        raise ConfigError(f"`recipes` must name one of {', '.join(sections)}, got `{strangers[0]}`")
    sections = (*sections, "pairs", "decoding")
    for key in (key for settings in (design.fixed, *design.arms.values()) for key in settings):
        if key not in PLAIN_KEYS and key.partition(".")[0] not in sections:
            known = ", ".join(f"{section}.…" for section in sections)
            raise ConfigError(f"an arm overrides {', '.join(PLAIN_KEYS)} or {known}; nothing reads {key!r}")


def _refuse_unread(design: AblationDesign, arm: str, stages: Sequence[str]) -> None:
    """An override of a stage that the arm does not go through would change nothing, silently."""
    for key in design.arms[arm]:
        if not is_read(key, stages):
            raise ConfigError(
                f"arm `{arm}`: nothing reads `{key}`, because its stages are {', '.join(stages) or 'none'}"
            )


def is_read(key: str, stages: Sequence[str]) -> bool:
    """Whether an arm of these stages reads an override."""
    kinds = [stage_kind(name) for name in stages]
    sections = {kind.section for kind in kinds} | {"pairs" for kind in kinds if kind.reads_pairs}
    return key.partition(".")[0] in (*sections, "decoding", *PLAIN_KEYS)


def _shape(kind: str) -> type[StrictConfig]:
    """The shape of a stage's settings."""
    recipe = stage_kind(kind).recipe
    if recipe is None:
        raise ConfigError(f"`{kind}` has no settings that a file could state")
    return recipe()


def _pairs_defaults() -> dict[str, Any]:
    return {name: info.get_default() for name, info in _shape("pairs").model_fields.items()}


def _recipe(design: AblationDesign, kind: str, folder: Path) -> dict[str, Any]:
    path = design.recipes.get(kind)
    if path is None:
        raise ConfigError(f"`{design.name}`: `recipes` must name the {kind} recipe that its arms are trained by")
    return read_yaml(folder / path)


def _base(design: AblationDesign, arm: str, *, folder: Path) -> BaseDesign:
    """The base of an arm: the one it names, else that of the SFT recipe, else the embedded one."""
    named = design.settings_of(arm).get("base")
    if named is not None:
        if named not in design.bases:
            raise ConfigError(
                f"arm `{arm}` names the base `{named}`; `bases` has {', '.join(design.bases) or 'none'}: "
                "choose a profile"
            )
        return design.bases[named]
    if design.recipes.get("sft") is None:
        return BaseDesign(source="embedded")
    base = _recipe(design, "sft", folder)["base"]
    return BaseDesign(source=base["source"], revision=base["revision"])


def _prepare_settings(design: AblationDesign, base: Mapping[str, Any], limit: int | None) -> dict[str, Any]:
    data = design.data
    return {"corpus": data.corpus, "max_tokens": data.max_tokens, "seed": data.seed, "limit": limit, "base": dict(base)}


def _pretrain(builder: _Builder, design: AblationDesign, path: Path, *, limit: int | None) -> str:
    recipe = load_yaml(path, _shape("pretrain")).model_dump(mode="json")
    # Any tokenizer will do for the text; the embedded one is always there.
    text = _prepare_settings(design, {"source": recipe["text_base"], "revision": None}, limit)
    prepared = builder.add("prepare", text, {}, "Prepare")
    return builder.add("pretrain", recipe, {"prepared": prepared}, f"Pretrain {recipe['name']}")


def _qualify(builder: _Builder, design: AblationDesign, judge: str, prepared: str, folder: Path) -> str:
    if load_judge_spec(folder / judge).method == "pairwise":
        raise ConfigError(
            f"`{judge}` must score single replies in an ablation, got a pairwise judge, which compares two arms at a "
            "time: use `screentest judge run --against` on the arms' replies"
        )
    settings = {"judge": str(folder / judge), "n": design.controls, "seed": design.seed}
    return builder.add("qualify", settings, {"prepared": prepared}, f"Controls {Path(judge).name}")
