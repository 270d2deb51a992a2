"""From a declared experiment to its graph of stages: what two arms share is one task, whichever arm asks first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import parse
from harness.doors import functions
from harness.errors import ConfigError
from harness.experiment.arms import AblationDesign, override
from harness.experiment.design import DecodingDesign, ExperimentDesign
from harness.experiment.graph import PREPARED, REPLIES, Builder, Cell, Plan
from harness.experiment.judges.teaching import TAUGHT, TEACH, needs_teaching
from harness.experiment.trainings import Trainer, refuse_unknown
from harness.experiment.variants import has_weights
from harness.generation import decoding_json
from harness.judging.spec import load_judge_spec
from harness.measures.catalogue import find_measure
from harness.measures.heldout import WEIGHINGS

if TYPE_CHECKING:
    from harness.experiment.design import EvaluationDesign


def plan_ablation(design: AblationDesign, *, folder: Path, limit: int | None = None) -> Plan:
    """Arms × seeds, with the trainings of each; `folder` is what the design's relative paths start from.

    Raises ConfigError: a recipe or a judge is missing or broken, or an override names a key that nothing reads.
    """
    refuse_unknown(design)
    planner, asked = _Planner(design=design, folder=folder), _asked(design)
    trainer = Trainer(builder=planner.builder, design=design, folder=folder, limit=limit)
    cells = [trainer.cell(arm, seed, asked) for arm in design.arms for seed in design.seeds]
    prepared = cells[0].prepared
    for name, variant in design.variants.items():
        settings = {**asked, "variant": variant.model_dump(mode="json")}
        cells += [
            Cell(
                name=f"{name} · {seed}", arm=name, seed=seed, prepared=prepared, adapter=None, settings=settings,
                needs={"prepared": prepared},
            )
            for seed in design.seeds
        ]  # fmt: skip
    return planner.measured(cells)


def plan_evaluation(design: EvaluationDesign, *, folder: Path, prepare: Mapping[str, Any]) -> Plan:
    """The variants with one seed each, nothing trained; `prepare` is how the data are prepared.

    Raises ConfigError: a judge is missing or broken.
    """
    planner = _Planner(design=design, folder=folder)
    prepared = planner.builder.add("prepare", prepare, {}, "Prepare")
    cells = [
        Cell(
            name=name, arm=name, seed=design.seed, prepared=prepared, adapter=None, needs={"prepared": prepared},
            settings={**_asked(design), "variant": variant.model_dump(mode="json"), "name": name},
        )
        for name, variant in design.variants.items()
    ]  # fmt: skip
    return planner.measured(cells)


def decoding_of(design: ExperimentDesign, arm: str) -> DecodingDesign:
    """How an arm's replies are drawn: the shared decoding, unless decoding is what the arms differ in."""
    if not isinstance(design, AblationDesign):
        return design.decoding
    data = override(design.decoding.model_dump(mode="json"), design.settings_of(arm), section="decoding")
    return parse(data, DecodingDesign, where=f"arm {arm}")


def _asked(design: ExperimentDesign) -> dict[str, Any]:
    """Which prompts: a number of them, or all that the design's files answer."""
    has_scored = any(variant.scored for variant in design.variants.values())  # of any prompt
    files = [] if has_scored else [v.generations for v in design.variants.values() if v.generations]
    asked: dict[str, Any] = {"n": design.asked.prompts, "seed": design.seed}
    return asked if design.asked.prompts is not None else asked | {"files": files}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planner:
    """Adds to a graph what is taken on its cells."""

    design: ExperimentDesign
    folder: Path  # what the design's relative paths start from
    builder: Builder = field(default_factory=Builder)

    def measured(self, cells: list[Cell]) -> Plan:
        """Replies and losses of every cell, then what is taken on them.

        An evaluation's replies are part of its report, whatever is measured.
        """
        design, add = self.design, self.builder.add
        if not isinstance(design, AblationDesign) or any(name not in WEIGHINGS for name in design.measures):
            for place, cell in enumerate(cells):
                if cell.settings["variant"].get("scored"):
                    continue
                decoding = decoding_json(decoding_of(design, cell.arm).as_decoding(seed=design.seed))
                settings = {**cell.settings, "decoding": decoding}
                key = add("generate", settings, cell.needs, f"Generate {cell.label}")
                cells[place] = replace(cell, generate=key)
        if any(name in WEIGHINGS for name in design.measures):
            for place, cell in enumerate(cells):
                if has_weights(cell.settings["variant"]):
                    settings = {**cell.settings, "n": design.asked.heldout}
                    key = add("heldout", settings, cell.needs, f"Held-out loss {cell.label}")
                    cells[place] = replace(cell, heldout=key)
        shipped = None
        if any(cell.generate for cell in cells):
            shipped = add("metrics", _asked(design), _replies(cells), "Reply measures", is_joint=True)
        own = self._own_measures(cells)
        qualify = {}
        for judge in self._judges():
            needs = {"prepared": cells[0].prepared}
            needs |= (taught := self._taught(judge, needs))
            cells = self._judged(cells, judge, taught)
            settings = {"judge": str(self.folder / judge), "n": design.controls, "seed": design.seed}
            qualify[judge] = add("qualify", settings, needs, f"Controls {Path(judge).name}")
        return Plan(tasks=self.builder.tasks, cells=tuple(cells), shipped=shipped, own=own, qualify=qualify)

    def _own_measures(self, cells: Sequence[Cell]) -> dict[str, str]:
        """A stage for each declared measure that is a function; workers look for it where this process found it."""
        found = {}
        for name, declared in self.design.measures.items():
            is_taken = declared.judge is None and declared.scores is None and any(cell.generate for cell in cells)
            known = find_measure(name, declared.measure) if is_taken else None
            if known is not None and (known.function or known.take) is not None:
                settings = {**_asked(self.design), "name": name, "measure": declared.measure}
                settings["beside"] = str(functions.root_of(declared.measure or "") or self.folder)
                settings |= {} if declared.encoder is None else {"encoder": declared.encoder}
                found[name] = self.builder.add("measure", settings, _replies(cells), f"Measure {name}", is_joint=True)
        return found

    def _taught(self, judge: str, needs: Mapping[str, str]) -> dict[str, str]:
        """What teaches a judge, where it is taught on the data that it judges."""
        spec = load_judge_spec(self.folder / judge)
        if not needs_teaching(spec):
            return {}
        settings = {"judge": str(self.folder / judge), "seed": self.design.seed}
        return {TAUGHT: self.builder.add(TEACH, settings, needs, f"Teach {spec.name}")}

    def _judged(self, cells: Sequence[Cell], judge: str, taught: Mapping[str, str]) -> list[Cell]:
        """Cells with the scores of one judge: where nothing is trained, all replies to a prompt share its encoding."""
        spec = load_judge_spec(self.folder / judge)
        is_pairwise = spec.declared.compares
        controls = {cell.seed: cell for cell in cells if cell.arm == self.design.control}
        is_together = not isinstance(self.design, AblationDesign)
        found = []
        for cell in cells:
            chosen = list(cells) if is_together else [controls[cell.seed], cell] if is_pairwise else [cell]
            settings: dict[str, Any] = {**_asked(self.design), "judge": str(self.folder / judge)}
            if is_pairwise:
                settings["control"] = f"{REPLIES} {controls[cell.seed].label}"
            whose = spec.name if is_together else cell.label
            kind, label = ("versus", "Compare") if is_pairwise else ("judge", "Judge")
            key = self.builder.add(kind, settings, {**_replies(chosen), **taught}, f"{label} {whose}")
            found.append(replace(cell, judged={**cell.judged, judge: key}))
        return found

    def _judges(self) -> tuple[str, ...]:
        """The folders of judges that the measures name, each once; what one does not score is refused here."""
        measures = self.design.measures
        for name, declared in measures.items():
            if declared.judge is not None:
                spec, asked = load_judge_spec(self.folder / declared.judge), declared.criterion or name
                known = [criterion.name for criterion in spec.criteria]
                if asked not in known:
                    said = f"judge {spec.name} scores {', '.join(known)}, not {asked!r}"
                    raise ConfigError(f"measure `{name}`: {said}")
        return tuple(dict.fromkeys(m.judge for m in measures.values() if m.judge is not None))


def _replies(cells: Iterable[Cell]) -> dict[str, str]:
    """Roles of replies that are looked at together, and of the data with their prompts, which are the same in all."""
    asked = [cell for cell in cells if cell.generate is not None]
    prepared = {f"{PREPARED} {place}": key for place, key in enumerate(dict.fromkeys(cell.prepared for cell in asked))}
    return prepared | {f"{REPLIES} {cell.label}": cell.generate or "" for cell in asked}
