"""From a declared experiment to its graph of stages: what two arms share is one task, whichever arm asks first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import parse
from harness.doors import functions
from harness.errors import ConfigError
from harness.experiment import trainings
from harness.experiment.arms import AblationDesign, override
from harness.experiment.design import DecodingDesign, ExperimentDesign
from harness.experiment.graph import PREPARED, REPLIES, Builder, Cell, Plan
from harness.experiment.judges.teaching import TAUGHT, TEACH, needs_teaching
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
    trainings.refuse_unknown(design)
    builder = Builder()
    cells = [
        _trained(builder, design, arm=arm, seed=seed, folder=folder, limit=limit)
        for arm in design.arms
        for seed in design.seeds
    ]
    prepared = cells[0].prepared
    for name, variant in design.variants.items():
        settings = {**_asked(design), "variant": variant.model_dump(mode="json")}
        cells += [
            Cell(
                name=f"{name} · {seed}", arm=name, seed=seed, prepared=prepared, adapter=None, settings=settings,
                needs={"prepared": prepared},
            )
            for seed in design.seeds
        ]  # fmt: skip
    return _measured(builder, design, cells, folder=folder)


def plan_evaluation(design: EvaluationDesign, *, folder: Path, prepare: Mapping[str, Any]) -> Plan:
    """The variants with one seed each, nothing trained; `prepare` is how the data are prepared.

    Raises ConfigError: a judge is missing or broken.
    """
    builder = Builder()
    prepared = builder.add("prepare", prepare, {}, "Prepare")
    cells = [
        Cell(
            name=name, arm=name, seed=design.seed, prepared=prepared, adapter=None, needs={"prepared": prepared},
            settings={**_asked(design), "variant": variant.model_dump(mode="json"), "name": name},
        )
        for name, variant in design.variants.items()
    ]  # fmt: skip
    return _measured(builder, design, cells, folder=folder)


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


def _trained(builder: Builder, design: AblationDesign, *, arm: str, seed: int, folder: Path, limit: int | None) -> Cell:
    base = trainings.base(design, arm, folder=folder)
    roots: dict[str, str] = {}
    if base.pretrain is not None:
        roots = {"base": trainings.pretrain(builder, design, folder / base.pretrain, limit=limit)}
    named = {"source": base.source, "revision": base.revision}
    prepared = builder.add("prepare", trainings.prepare_settings(design, named, limit), roots, "Prepare")
    adapter = trainings.train(
        builder, design, arm=arm, seed=seed, folder=folder, base=named, roots=roots, prepared=prepared
    )
    return Cell(
        name=f"{arm} · {seed}",
        arm=arm,
        seed=seed,
        prepared=prepared,
        adapter=adapter,
        settings={**_asked(design), "variant": {"model": base.source, "revision": base.revision}},
        needs={**roots, "prepared": prepared} | ({} if adapter is None else {"adapter": adapter}),
    )


def _measured(builder: Builder, design: ExperimentDesign, cells: list[Cell], *, folder: Path) -> Plan:
    """Replies and losses of every cell, then what is taken on them; an evaluation's replies are part of its report."""
    is_heldout = any(name in WEIGHINGS for name in design.measures)
    if not isinstance(design, AblationDesign) or any(name not in WEIGHINGS for name in design.measures):
        for place, cell in enumerate(cells):
            if cell.settings["variant"].get("scored"):
                continue
            decoding = decoding_json(decoding_of(design, cell.arm).noun(seed=design.seed))
            settings = {**cell.settings, "decoding": decoding}
            key = builder.add("generate", settings, cell.needs, f"Generate {cell.label}")
            cells[place] = replace(cell, generate=key)
    for place, cell in enumerate(cells):
        variant = cell.settings["variant"]
        if is_heldout and has_weights(variant):
            settings = {**cell.settings, "n": design.asked.heldout}
            key = builder.add("heldout", settings, cell.needs, f"Held-out loss {cell.label}")
            cells[place] = replace(cell, heldout=key)
    metrics = None
    if any(cell.generate for cell in cells):
        metrics = builder.add("metrics", _asked(design), _replies(cells), "Reply metrics", is_joint=True)
    own = _own_measures(builder, design, cells, folder=folder)
    qualify = {}
    for judge in _judges(design, folder):
        needs = {"prepared": cells[0].prepared}
        needs |= (taught := _taught(builder, design, folder / judge, needs))
        cells = _judged(builder, design, cells, judge=judge, folder=folder, taught=taught)
        settings = {"judge": str(folder / judge), "n": design.controls, "seed": design.seed}
        qualify[judge] = builder.add("qualify", settings, needs, f"Controls {Path(judge).name}")
    return Plan(tasks=builder.tasks, cells=tuple(cells), metrics=metrics, own=own, qualify=qualify)


def _own_measures(builder: Builder, design: ExperimentDesign, cells: Sequence[Cell], *, folder: Path) -> dict[str, str]:
    """A stage for each declared measure that is a function; workers look for it where this process found it."""
    found = {}
    for name, declared in design.measures.items():
        is_taken = declared.judge is None and declared.scores is None and any(cell.generate for cell in cells)
        known = find_measure(name, declared.measure) if is_taken else None
        if known is not None and (known.function or known.take) is not None:
            settings = {**_asked(design), "name": name, "measure": declared.measure}
            settings["beside"] = str(functions.root_of(declared.measure or "") or folder)
            settings |= {} if declared.encoder is None else {"encoder": declared.encoder}
            found[name] = builder.add("measure", settings, _replies(cells), f"Measure {name}", is_joint=True)
    return found


def _replies(cells: Iterable[Cell]) -> dict[str, str]:
    """Roles of replies that are looked at together, and of the data with their prompts, which are the same in all."""
    asked = [cell for cell in cells if cell.generate is not None]
    prepared = {f"{PREPARED} {place}": key for place, key in enumerate(dict.fromkeys(cell.prepared for cell in asked))}
    return prepared | {f"{REPLIES} {cell.label}": cell.generate or "" for cell in asked}


def _taught(builder: Builder, design: ExperimentDesign, judge: Path, needs: Mapping[str, str]) -> dict[str, str]:
    """What teaches a judge, where it is taught on the data that it judges."""
    spec = load_judge_spec(judge)
    if not needs_teaching(spec):
        return {}
    return {TAUGHT: builder.add(TEACH, {"judge": str(judge), "seed": design.seed}, needs, f"Teach {spec.name}")}


def _judged(
    builder: Builder,
    design: ExperimentDesign,
    cells: Sequence[Cell],
    *,
    judge: str,
    folder: Path,
    taught: Mapping[str, str],
) -> list[Cell]:
    """Cells with the scores of one judge: where nothing is trained, all replies to a prompt share its encoding."""
    spec = load_judge_spec(folder / judge)
    is_pairwise = spec.declared.compares
    controls = {cell.seed: cell for cell in cells if cell.arm == design.control}
    is_together = not isinstance(design, AblationDesign)
    found = []
    for cell in cells:
        chosen = list(cells) if is_together else [controls[cell.seed], cell] if is_pairwise else [cell]
        settings: dict[str, Any] = {**_asked(design), "judge": str(folder / judge)}
        if is_pairwise:
            settings["control"] = f"{REPLIES} {controls[cell.seed].label}"
        whose = spec.name if is_together else cell.label
        kind, label = ("versus", "Compare") if is_pairwise else ("judge", "Judge")
        key = builder.add(kind, settings, {**_replies(chosen), **taught}, f"{label} {whose}")
        found.append(replace(cell, judged={**cell.judged, judge: key}))
    return found


def _judges(design: ExperimentDesign, folder: Path) -> tuple[str, ...]:
    """The folders of judges that the measures name, each once; what one does not score is refused here."""
    for name, declared in design.measures.items():
        if declared.judge is not None:
            spec = load_judge_spec(folder / declared.judge)
            known = [criterion.name for criterion in spec.criteria]
            if (declared.criterion or name) not in known:
                raise ConfigError(
                    f"measure `{name}`: judge {spec.name} scores {', '.join(known)}, not {declared.criterion or name!r}"
                )
    return tuple(dict.fromkeys(m.judge for m in design.measures.values() if m.judge is not None))
