"""Two variants on one question: the experiment that `screentest compare` declares on the user's behalf."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import parse
from harness.errors import InputError
from harness.experiment.design import EvaluationDesign, VariantDesign
from harness.experiment.variants import parse_variant
from harness.reporting.text import slug

if TYPE_CHECKING:
    from harness.reporting.record import ReportRecord

N_PROMPTS = 60  # where replies have to be made


def build_design(
    control: str,
    treatment: str,
    *,
    data: Path | None,
    corpus: str | None,
    base: str | None,
    judges: tuple[Path, ...],
    n_prompts: int | None,
    min_effect: float,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    keep_thinking: bool = False,
) -> EvaluationDesign:
    """The declaration behind a comparison: B − A on held-out loss (where both are models) and on being cut off.

    Raises:
        InputError: both sides are the same, no data is named, or a side cannot be told from its text.
    """
    if (data is None) == (corpus is None):
        raise InputError("`compare` needs test prompts: give exactly one of --data test.jsonl and --corpus sample")
    first, second = (_variant(text, base) for text in (control, treatment))
    if first == second:
        raise InputError(f"`A` and `B` must differ, got {control} twice")
    names = _names(control, treatment)
    can_score = all(v.model is not None or v.adapter is not None for v in (first, second))
    measures: dict[str, Any] = {
        "cut_off": {"smallest_effect": {"value": 0.05, "unit": "share"}},
        **{name: {} for name in ("no_text", "distinct_2", "self_bleu", "repetition", "echo", "length")},
    }
    if can_score:
        effect = {"smallest_effect": {"value": min_effect, "unit": "bits_per_byte"}}
        measures = {"heldout_loss": effect, **measures}
    measures |= _judge_measures(judges)
    declared = ["heldout_loss"] if can_score else ["cut_off"]
    if n_prompts is None and not (first.generations or second.generations):
        n_prompts = N_PROMPTS
    return parse(
        {
            "schema": 1,
            "name": slug(f"{names[1]} against {names[0]}")[:80],
            "question": f"Is {treatment} better than {control}?",
            "variants": {names[0]: first, names[1]: second},
            "control": names[0],
            "data": {"file": None if data is None else str(data.resolve()), "corpus": corpus, "prompts": n_prompts},
            "decoding": {
                "max_new_tokens": max_new_tokens,
                "temperature": temperature,
                "keep_thinking": keep_thinking,
            },
            "measures": measures,
            "contrasts": [{"name": f"{names[1]}-{names[0]}"[:80], "arms": [names[1], names[0]]}],
            "family": {"measures": [*declared, *(m for m in measures if measures[m].get("judge"))]},
            "decision": "Prefer B when it is better on a declared measure and worse on none.",
            "seed": seed,
        },
        EvaluationDesign,
        where="compare",
    )


def worse_measures(record: ReportRecord) -> list[str]:
    """Names of the declared measures on which the verdict is *worse*."""
    return [f.name for f in record.findings if f.verdict is not None and f.verdict.label == "worse"]


def _variant(text: str, base: str | None) -> VariantDesign:
    design = parse_variant(text)
    return design.model_copy(update={"base": base}) if design.adapter is not None and base is not None else design


def _names(control: str, treatment: str) -> tuple[str, str]:
    """Short names for both sides, different from each other."""
    first, second = (slug(Path(text).stem or text) or "variant" for text in (control, treatment))
    return (first, second) if first != second else (f"{first}-a", f"{second}-b")


def _judge_measures(judges: tuple[Path, ...]) -> dict[str, Any]:
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
