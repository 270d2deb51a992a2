"""The experiments that ship, whole in their declarations, on models so small that one takes seconds.

`from shipped import Workshop`. Every key of a file stays but the sizes: bases, recipes, judges' models, lengths.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from fakes import tiny_checkpoint
from stories import EXPERIMENTS, screentest, tiny_preference_recipe, tiny_recipe

from harness.experiment.arms import AblationDesign
from harness.experiment.evaluate import read_design

ABLATIONS = ("components", "dpo", "extended_length", "neftune", "scale")
EVALUATIONS = ("quickstart", "inference_comparison")
LIMIT = 60  # conversations of the sample corpus


class Workshop:
    """Tiny bases, recipes and judges in one folder, and one store for all experiments: they share stages."""

    def __init__(self, folder: Path, *, home: Path) -> None:
        self.folder, self.home = folder, home
        folder.mkdir(parents=True, exist_ok=True)
        self.bases = {
            name: str(tiny_checkpoint(folder / name, seed=seed, kind="qwen2" if name == "judge" else "llama"))
            for seed, name in enumerate(("small", "medium", "large", "judge"))
        }
        small = Path(self.bases["small"])
        self.sft = tiny_recipe(folder / "recipe-sft.yaml", small, name="embedded-sft", data__train_tokens=1500)
        self.dpo = tiny_preference_recipe(
            folder / "recipe-dpo.yaml", small, name="embedded-dpo", parent="embedded-sft@candidate"
        )
        for judge in ("embedded-likelihood", "embedded-geval"):
            self._judge(judge)
        # teaching is what moves most, and costs most: its own tests hold the judge that is taught
        (folder / "judges" / "learned").symlink_to(folder / "judges" / "embedded-likelihood")

    def run(self, name: str) -> Any:
        """The JSON that the experiment's command prints."""
        return self._ablate(name) if name in ABLATIONS else self._evaluate(name)

    def _ablate(self, name: str) -> Any:
        data = read_design(EXPERIMENTS / "ablations" / f"{name}.yaml", profile="quick")
        data.pop("profiles")
        data["recipes"] = {kind: f"recipe-{kind}.yaml" for kind in data["recipes"]}
        data["test"] = {"prompts": 12, "heldout_prompts": 16, "min_clusters": 3}
        data["data"] = {"max_tokens": 300}
        data["controls"] = 4
        if data.get("bases"):
            data["bases"] = {base: {"source": self.bases[base]} for base in data["bases"]}
        if "pairs" in data:
            data["pairs"] |= {"n_pairs": 16, "n_candidates": 4}  # tiny models rarely end a reply
        if "decoding" in data:
            data["decoding"]["max_new_tokens"] = 8
        for arm in data["arms"].values():
            if "decoding.max_new_tokens" in arm:
                arm["decoding.max_new_tokens"] //= 8
        self._judges_here(data)
        file = self._write(name, data)
        AblationDesign.model_validate(data)
        return screentest("ablate", file, "--limit", LIMIT, "--workers", 1, "--json", home=self.home).json

    def _evaluate(self, name: str) -> Any:
        data = read_design(EXPERIMENTS / f"{name}.yaml", profile=None if name == "quickstart" else "quick")
        data.pop("profiles", None)
        data["data"] |= {"prompts": 12, "heldout_prompts": 16, "min_clusters": 3, "max_tokens": 300}
        data["decoding"]["max_new_tokens"] = 8
        data["controls"] = 4
        for variant in data["variants"].values():
            if "model" in variant:
                variant |= {"model": self.bases["small"]} | ({"shots": 1} if "shots" in variant else {})
        self._judges_here(data)
        file = self._write(name, data)
        if name == "quickstart":
            command = ["quickstart", "--recipe", self.sft, "--dpo-recipe", self.dpo, "--experiment", file]
        else:
            command = ["evaluate", file]
        return screentest(*command, "--corpus", "sample", "--limit", LIMIT, "--json", home=self.home).json

    def _judges_here(self, data: dict[str, Any]) -> None:
        for measure in data["measures"].values():
            if "judge" in measure:
                measure["judge"] = str(self.folder / "judges" / Path(measure["judge"]).name)

    def _write(self, name: str, data: dict[str, Any]) -> Path:
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(data, sort_keys=False))
        return file

    def _judge(self, name: str) -> None:
        folder = self.folder / "judges" / name
        shutil.copytree(EXPERIMENTS / "judges" / name, folder)
        data = yaml.safe_load((folder / "judge.yaml").read_text())
        data["model"]["source"] = self.bases["judge"]
        data["family"] = "qwen2.5"
        (folder / "judge.yaml").write_text(yaml.safe_dump(data))


# What differs from run to run or machine to machine, or is a row under a picture and no number of its own.
_PASSING = {
    "run_id", "digest", "judge_id", "sources", "seconds", "own_seconds", "created", "stages", "versions", "cost",
    "work", "config", "samples", "distributions", "curves", "adapters", "adapter", "base", "declaration", "audit",
    "data",
    "description",
}  # fmt: skip
_ESTIMATE = {"value", "low", "high", "n", "n_clusters", "n_missing", "df", "se"}
_NAMES = ("key", "name", "measure", "contrast", "variant", "arm", "criterion", "control", "seed", "what")


def record_of(printed: Any) -> Any:
    """A finished experiment's record."""
    return json.loads(Path(printed["report"]).with_suffix(".json").read_text())["record"]


def numbers_of(record: Any) -> dict[str, Any]:
    """Every number of a record, and how it was got, by a path that says what it is of."""
    found: dict[str, Any] = {}
    _walk(record, "", found)
    return found


def shares_outside(record: Any) -> list[str]:
    """Intervals of shares that leave [0, 1], and of their differences that leave [−1, 1]."""
    units = {measure["name"]: measure["unit"] for measure in record["measures"]}
    found = [
        (f["name"], f["estimate"], -1 if f["contrast"] else 0)
        for f in record["findings"]
        if units.get(f["name"]) in ("share", "share of wins")
    ]
    for variant in record["variants"]:
        found += [(variant["name"], variant[key], 0) for key in ("cut_off", "no_text") if variant[key] is not None]
    for row in (record["ablation"] or {}).get("by_seed", ()):
        found += [(row["contrast"], row["estimate"], -1)] if units[row["measure"]] == "share" else []
    slack = 1e-9
    return [
        f"{name}: {estimate}"
        for name, estimate, least in found
        if any(end is not None and not least - slack <= end <= 1 + slack for end in (estimate["low"], estimate["high"]))
    ]


def _walk(value: Any, path: str, found: dict[str, Any]) -> None:
    if isinstance(value, dict) and value.keys() >= _ESTIMATE:
        found[path] = [_rounded(value[key]) for key in (*sorted(_ESTIMATE), "method")]
    elif isinstance(value, dict):
        for key, below in value.items():
            if key not in _PASSING:
                _walk(below, f"{path}/{key}", found)
    elif isinstance(value, list):
        for place, below in enumerate(value):
            named = [str(below[k]) for k in _NAMES if below.get(k) is not None] if isinstance(below, dict) else []
            _walk(below, f"{path}/{'·'.join(named) or place}", found)
    elif not isinstance(value, str) or path.endswith(("/verdict/label", "/status")):
        found[path] = _rounded(value)


def _rounded(value: Any) -> Any:
    return float(f"{value:.7g}") if isinstance(value, float) else value
