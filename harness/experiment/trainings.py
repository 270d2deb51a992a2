"""The trainings of an ablation's arms as tasks: recipes with each arm's overrides laid over them, and their bases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import StrictConfig, load_yaml, parse, read_yaml
from harness.errors import ConfigError
from harness.experiment.arms import PLAIN_KEYS, AblationDesign, BaseDesign, override
from harness.experiment.graph import Builder, Cell
from harness.experiment.kinds import methods, stage_kind
from harness.experiment.preparing import prepare_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """Adds the trainings of an ablation's cells to its graph."""

    builder: Builder
    design: AblationDesign
    folder: Path  # what the design's relative paths start from
    limit: int | None  # windows per split

    def cell(self, arm: str, seed: int, asked: Mapping[str, Any]) -> Cell:
        """An arm with one seed: its data and its chain of trainings; `asked` says which prompts."""
        base, roots = self._base(arm), dict[str, str]()
        if base.pretrain is not None:
            roots = {"base": self._pretrain(self.folder / base.pretrain)}
        named = {"source": base.source, "revision": base.revision}
        prepared = self._prepare(named, roots)
        adapter = self._train(arm, seed, base=named, roots=roots, prepared=prepared)
        return Cell(
            name=f"{arm} · {seed}",
            arm=arm,
            seed=seed,
            prepared=prepared,
            adapter=adapter,
            settings={**asked, "variant": {"model": base.source, "revision": base.revision}},
            needs={**roots, "prepared": prepared} | ({} if adapter is None else {"adapter": adapter}),
        )

    def _base(self, arm: str) -> BaseDesign:
        """The base of an arm: the one it names, else that of the SFT recipe, else the embedded one."""
        bases, named = self.design.bases, self.design.settings_of(arm).get("base")
        if named is not None:
            if named not in bases:
                known = ", ".join(bases) or "none"
                raise ConfigError(f"arm `{arm}` names the base `{named}`; `bases` has {known}: choose a profile")
            return bases[named]
        if self.design.recipes.get("sft") is None:
            return BaseDesign(source="embedded")
        base = self._recipe("sft")["base"]
        return BaseDesign(source=base["source"], revision=base["revision"])

    def _pretrain(self, path: Path) -> str:
        """The training of a base from nothing."""
        recipe = load_yaml(path, _shape("pretrain")).model_dump(mode="json")
        # Any tokenizer will do for the text; the embedded one is always there.
        prepared = self._prepare({"source": recipe["text_base"], "revision": None}, {})
        return self.builder.add("pretrain", recipe, {"prepared": prepared}, f"Pretrain {recipe['name']}")

    def _prepare(self, base: Mapping[str, str | None], roots: Mapping[str, str]) -> str:
        kind = None if self.design.task is None else self.design.kind
        settings = prepare_settings(self.design.data, base=base, limit=self.limit, kind=kind)
        return self.builder.add("prepare", settings, roots, "Prepare")

    def _train(
        self, arm: str, seed: int, *, base: Mapping[str, Any], roots: Mapping[str, str], prepared: str
    ) -> str | None:
        """The chain of trainings of one cell; the key of its last adapter."""
        stages, settings = stages_of(self.design, arm), self.design.settings_of(arm)
        _refuse_unread(self.design, arm, stages)
        needs = {**roots, "prepared": prepared}
        # The worker puts the folder of a base that is trained here in its place.
        same: dict[str, Any] = {"base": {"source": "pretrained", "revision": None} if roots else dict(base)}
        last = None
        for name in stages:
            kind = stage_kind(name)
            data = override(self._recipe(kind.section), settings, section=kind.section) | {"seed": seed} | same
            recipe = parse(data, _shape(name), where=f"arm {arm}").model_dump(mode="json")
            if kind.reads_pairs:
                needs |= {"pairs": self._pairs(arm, seed, needs=needs)}
            last = self.builder.add(name, recipe, needs, f"{kind.words} {arm} · {seed}")
            needs = {**roots, "prepared": prepared, "parent": last}
            same |= {"quantization": recipe["quantization"], "parent": "parent/1"}
        return last

    def _pairs(self, arm: str, seed: int, *, needs: Mapping[str, str]) -> str:
        """How an arm's preference pairs are made on the adapter that it has so far."""
        defaults = {name: info.get_default() for name, info in _shape("pairs").model_fields.items()}
        shared = {f"pairs.{key}": value for key, value in self.design.pairs.items()}
        data = override(defaults, shared, section="pairs")
        data = override(data, self.design.settings_of(arm), section="pairs") | {"seed": seed}
        if data["judge"] is not None:
            data |= {"judge": str(self.folder / str(data["judge"]))}
        config = parse(data, _shape("pairs"), where=f"arm {arm}").model_dump(mode="json")
        made_of = {role: needs[role] for role in ("prepared", "parent")}
        return self.builder.add("pairs", config, made_of, f"Pairs {arm} · {seed}")

    def _recipe(self, kind: str) -> dict[str, Any]:
        path = self.design.recipes.get(kind)
        if path is None:
            name = self.design.name
            raise ConfigError(f"`{name}`: `recipes` must name the {kind} recipe that its arms are trained by")
        return read_yaml(self.folder / path)


def stages_of(design: AblationDesign, arm: str) -> tuple[str, ...]:
    """What an arm goes through, in order. Raises ConfigError: the order cannot be trained."""
    said = tuple(design.settings_of(arm).get("stages", design.stages))
    allowed: list[tuple[str, ...]] = [()]
    for way in allowed:  # grows while it is read: each way is followed by those that go on from it
        allowed += [(*way, name) for name, kind in methods().items() if kind.follows == (way[-1] if way else None)]
    if said not in allowed:
        ways = "; ".join(", ".join(way) or "none" for way in allowed)
        raise ConfigError(f"arm `{arm}`: `stages` must be one of {ways}; got {', '.join(map(str, said))}")
    return said


def refuse_unknown(design: AblationDesign) -> None:
    """Recipes and overrides that no training method reads."""
    sections = tuple(dict.fromkeys(kind.section for kind in methods().values()))
    if strangers := [key for key in design.recipes if key not in sections]:
        raise ConfigError(f"`recipes` must name one of {', '.join(sections)}, got `{strangers[0]}`")
    sections = (*sections, "pairs", "decoding")
    for key in (key for settings in (design.fixed, *design.arms.values()) for key in settings):
        section, _, path = key.partition(".")
        if key not in PLAIN_KEYS and not (section in sections and path):
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
