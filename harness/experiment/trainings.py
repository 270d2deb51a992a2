"""The trainings of an ablation's arms as tasks: recipes with each arm's overrides laid over them, and their bases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config import StrictConfig, load_yaml, parse, read_yaml
from harness.errors import ConfigError
from harness.experiment.arms import PLAIN_KEYS, AblationDesign, BaseDesign, override
from harness.experiment.graph import Builder
from harness.experiment.kinds import methods, stage_kind
from harness.experiment.preparing import system_setting


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


def train(
    builder: Builder,
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
    builder: Builder, design: AblationDesign, *, arm: str, seed: int, folder: Path, needs: Mapping[str, str]
) -> str:
    """How an arm's preference pairs are made on the adapter that it has so far."""
    defaults = {name: info.get_default() for name, info in _shape("pairs").model_fields.items()}
    data = override(defaults, {f"pairs.{k}": v for k, v in design.pairs.items()}, section="pairs")
    data = override(data, design.settings_of(arm), section="pairs") | {"seed": seed}
    if data["judge"] is not None:
        data |= {"judge": str(folder / str(data["judge"]))}
    config = parse(data, _shape("pairs"), where=f"arm {arm}").model_dump(mode="json")
    made_of = {role: needs[role] for role in ("prepared", "parent")}
    return builder.add("pairs", config, made_of, f"Pairs {arm} · {seed}")


def refuse_unknown(design: AblationDesign) -> None:
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


def _recipe(design: AblationDesign, kind: str, folder: Path) -> dict[str, Any]:
    path = design.recipes.get(kind)
    if path is None:
        raise ConfigError(f"`{design.name}`: `recipes` must name the {kind} recipe that its arms are trained by")
    return read_yaml(folder / path)


def base(design: AblationDesign, arm: str, *, folder: Path) -> BaseDesign:
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


def prepare_settings(design: AblationDesign, base: Mapping[str, Any], limit: int | None) -> dict[str, Any]:
    """How the data are prepared for a base."""
    data = design.data
    system = {} if design.task is None else {"system": system_setting(design.kind)}
    return {
        **system,
        "corpus": data.corpus,
        "max_tokens": data.max_tokens,
        "seed": data.seed,
        "limit": limit,
        "base": dict(base),
    }


def pretrain(builder: Builder, design: AblationDesign, path: Path, *, limit: int | None) -> str:
    """The training of a base from nothing; the key of its task."""
    recipe = load_yaml(path, _shape("pretrain")).model_dump(mode="json")
    # Any tokenizer will do for the text; the embedded one is always there.
    text = prepare_settings(design, {"source": recipe["text_base"], "revision": None}, limit)
    prepared = builder.add("prepare", text, {}, "Prepare")
    return builder.add("pretrain", recipe, {"prepared": prepared}, f"Pretrain {recipe['name']}")
