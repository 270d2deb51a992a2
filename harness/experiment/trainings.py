"""The trainings of an ablation's arms as tasks: recipes with each arm's overrides laid over them, and their bases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from harness.config import StrictConfig, load_yaml, parse, read_yaml
from harness.errors import ConfigError
from harness.experiment.arms import AblationDesign, BaseDesign, StageName, override
from harness.experiment.graph import Builder
from harness.experiment.kinds import stage_kind


def stages_of(design: AblationDesign, arm: str) -> tuple[StageName, ...]:
    """What an arm goes through, in order.

    Raises:
        ConfigError: the order cannot be trained.
    """
    said = tuple(design.settings_of(arm).get("stages", design.stages))
    allowed: tuple[tuple[str, ...], ...] = ((), ("sft",), ("sft", "dpo"), ("sft", "chosen_sft"))
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
    shown = f"{arm} · {seed}"
    where = f"arm {arm}"
    data = override(_recipe(design, "sft", folder), settings, section="sft") | {"seed": seed, "base": dict(base)}
    if roots:
        data = data | {"base": {"source": "pretrained", "revision": None}}  # the worker puts the folder here
    recipe = parse(data, _shape("sft"), where=where).model_dump(mode="json")
    sft = builder.add("sft", recipe, {**roots, "prepared": prepared}, f"SFT {shown}")
    if stages == ("sft",):
        return sft
    preference_data = override(_recipe(design, "dpo", folder), settings, section="dpo") | {"seed": seed}
    pairs_data = override(_pairs_defaults(), {f"pairs.{k}": v for k, v in design.pairs.items()}, section="pairs")
    pairs_data = override(pairs_data, settings, section="pairs") | {"seed": seed}
    if pairs_data["judge"] is not None:
        pairs_data |= {"judge": str(folder / str(pairs_data["judge"]))}
    pairs_config = parse(pairs_data, _shape("pairs"), where=where).model_dump(mode="json")
    pairs = builder.add("pairs", pairs_config, {"prepared": prepared, "parent": sft}, f"Pairs {shown}")
    same = {"base": recipe["base"], "quantization": recipe["quantization"], "parent": "parent/1"}
    preference = parse(preference_data | same, _shape("dpo"), where=where).model_dump(mode="json")
    last = "dpo" if stages[-1] == "dpo" else "chosen_sft"
    needs = {**roots, "prepared": prepared, "parent": sft, "pairs": pairs}
    return builder.add(last, preference, needs, f"{'DPO' if last == 'dpo' else 'Chosen SFT'} {shown}")


def _refuse_unread(design: AblationDesign, arm: str, stages: Sequence[str]) -> None:
    """An override of a stage that the arm does not go through would change nothing, silently."""
    reads = {"sft": "sft" in stages, "dpo": len(stages) > 1, "pairs": len(stages) > 1}
    for key in design.arms[arm]:
        section = key.partition(".")[0]
        if section in reads and not reads[section]:
            raise ConfigError(
                f"arm `{arm}`: nothing reads `{key}`, because its stages are {', '.join(stages) or 'none'}"
            )


def _shape(kind: str) -> type[StrictConfig]:
    """The shape of a stage's settings."""
    recipe = stage_kind(kind).recipe
    if recipe is None:
        raise ConfigError(f"`{kind}` has no settings that a file could state")
    return recipe()


def _pairs_defaults() -> dict[str, Any]:
    return {name: info.get_default() for name, info in _shape("pairs").model_fields.items()}


def _recipe(design: AblationDesign, kind: Literal["sft", "dpo"], folder: Path) -> dict[str, Any]:
    path = getattr(design.recipes, kind)
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
    if design.recipes.sft is None:
        return BaseDesign(source="embedded")
    base = _recipe(design, "sft", folder)["base"]
    return BaseDesign(source=base["source"], revision=base["revision"])


def prepare_settings(design: AblationDesign, base: Mapping[str, Any], limit: int | None) -> dict[str, Any]:
    """How the data are prepared for a base."""
    data = design.data
    return {"corpus": data.corpus, "max_tokens": data.max_tokens, "seed": data.seed, "limit": limit, "base": dict(base)}


def pretrain(builder: Builder, design: AblationDesign, path: Path, *, limit: int | None) -> str:
    """The training of a base from nothing; the key of its task."""
    recipe = load_yaml(path, _shape("pretrain")).model_dump(mode="json")
    # Any tokenizer will do for the text; the embedded one is always there.
    text = prepare_settings(design, {"source": recipe["text_base"], "revision": None}, limit)
    prepared = builder.add("prepare", text, {}, "Prepare")
    return builder.add("pretrain", recipe, {"prepared": prepared}, f"Pretrain {recipe['name']}")
