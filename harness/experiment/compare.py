"""Two variants on one question: the experiment that `screentest compare` declares on the user's behalf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import parse
from harness.errors import InputError
from harness.experiment.design import EvaluationDesign, VariantDesign, directed
from harness.experiment.task_choice import Chosen, choose_task, with_task
from harness.experiment.variants import has_weights, parse_variant
from harness.measures.heldout import WEIGHINGS
from harness.reporting.safe_text import slug
from harness.task_kinds import require_fit

if TYPE_CHECKING:
    from harness.reporting.record import ReportRecord

N_PROMPTS = 60  # where replies have to be made
ENDS = ("cut_off", "no_text", "length")
DESCRIBED = ("cut_off", "no_text", "distinct_2", "self_bleu", "repetition", "echo", "length")  # of dialogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two variants: as one names it, and what it is."""

    text: str
    design: VariantDesign

    @classmethod
    def of(cls, text: str, *, base: str | None) -> Side:
        """A side as it is written on a command line."""
        design = parse_variant(text)
        is_moved = design.adapter is not None and base is not None
        return cls(text=text, design=design.model_copy(update={"base": base}) if is_moved else design)


def build_design(
    control: str | Side,
    treatment: str | Side,
    *,
    data: Path | None,
    corpus: str | None,
    base: str | None,
    judges: Sequence[Path],
    n_prompts: int | None,
    min_effect: float,
    max_new_tokens: int | None,
    temperature: float | None,
    seed: int,
    task: str | None = None,
    keep_thinking: bool = False,
    family: Mapping[str, Mapping[str, Any]] | None = None,
) -> EvaluationDesign:
    """The declaration behind a comparison: B − A on what the task measures against references.

    Film dialogue is measured by held-out loss where both are models, else by being cut off; so is a task whose prompts
    have no references. `family` names other measures to claim something on, each as an experiment file declares it;
    length cap and temperature are the task's where they are None.

    Raises InputError: both sides are the same, no data is named, or a side cannot be told from its text.
    """
    if (data is None) == (corpus is None):
        raise InputError("`compare` needs test prompts: give exactly one of --data test.jsonl and --corpus sample")
    sides = [side if isinstance(side, Side) else Side.of(side, base=base) for side in (control, treatment)]
    first, second = (side.design for side in sides)
    if first == second:
        raise InputError(f"`A` and `B` must differ, got {sides[0].text} twice")
    chosen = choose_task(str(data or corpus), named=task)
    if chosen.is_named and chosen.look is not None and family is None:
        require_fit(chosen.kind, chosen.look.references)
    names = _names(*(side.text for side in sides))
    can_score = all(has_weights(v.model_dump()) for v in (first, second))
    effects: dict[str, Any] = {
        "heldout_loss": {"smallest_effect": {"value": min_effect, "unit": "bits_per_byte"}},
        "cut_off": {"smallest_effect": {"value": 0.05, "unit": "share"}},
    }
    declared: dict[str, Any] = {}
    for name, said in (family or _declared(chosen, can_score=can_score)).items():
        if name in WEIGHINGS and not can_score:
            raise InputError(f"`{name}` needs two sides with weights: a function, an endpoint or a file has none")
        declared[name] = effects.get(name, {}) | dict(said)
    judged = judge_measures(judges)
    own_loss = ("heldout_loss",) if can_score and chosen.has_references else ()
    shown = DESCRIBED if chosen.kind.is_dialogue else (*own_loss, *ENDS)
    measures = declared | {name: effects.get(name, {}) for name in shown if name not in declared} | judged
    if n_prompts is None and not (first.generations or second.generations):
        n_prompts = N_PROMPTS
    kind = chosen.kind
    design = with_task(
        {
            "schema": 1,
            "name": slug(f"{names[1]} against {names[0]}")[:80],
            "question": f"Is {sides[1].text} better than {sides[0].text}?",
            "variants": {names[0]: first, names[1]: second},
            "control": names[0],
            "data": {"file": None if data is None else str(data.resolve()), "corpus": corpus, "prompts": n_prompts},
            "decoding": {
                "max_new_tokens": kind.max_new_tokens if max_new_tokens is None else max_new_tokens,
                "temperature": kind.temperature if temperature is None else temperature,
                "keep_thinking": keep_thinking,
            },
            "measures": measures,
            "contrasts": [{"name": f"{names[1]}-{names[0]}"[:80], "arms": [names[1], names[0]]}],
            "family": {"measures": directed(declared | judged)},
            "decision": "Prefer B when it is better on a declared measure and worse on none.",
            "seed": seed,
        },
        chosen,
    )
    return parse(design, EvaluationDesign, where="compare")


def _declared(chosen: Chosen, *, can_score: bool) -> dict[str, dict[str, Any]]:
    """What is claimed on where nobody says otherwise."""
    if chosen.kind.measures and chosen.has_references:
        return {name: {} for name in chosen.kind.measures}
    return {"heldout_loss" if can_score else "cut_off": {}}


def worse_measures(record: ReportRecord) -> list[str]:
    """Names of the declared measures on which the verdict is *worse*."""
    return [f.name for f in record.findings if f.verdict is not None and f.verdict.label == "worse"]


def _names(control: str, treatment: str) -> tuple[str, str]:
    """Short names for both sides, different from each other."""
    first, second = (slug(Path(text).stem or text) or "variant" for text in (control, treatment))
    return (first, second) if first != second else (f"{first}-a", f"{second}-b")


def judge_measures(judges: Sequence[Path]) -> dict[str, Any]:
    """Every criterion of the judges as a measure, the first judge that has it."""
    from harness.judging.spec import load_judge_spec

    measures: dict[str, Any] = {}
    for folder in judges:
        for criterion in load_judge_spec(folder).criteria:
            measures.setdefault(
                criterion.name,
                {
                    "judge": str(folder.resolve()),
                    "better": "higher",
                    "smallest_effect": {"value": 0.2, "unit": "sd_of_control"},
                },
            )
    return measures
