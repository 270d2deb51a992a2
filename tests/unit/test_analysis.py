from __future__ import annotations

import re

import numpy as np
import pytest
from ablations import untrained
from certain import ends, sure

from harness.config import parse
from harness.errors import ConfigError, InputError
from harness.experiment.analysis.contrasts import (
    MeasuredArm,
    MeasureRule,
    label_clusters,
    smallest_effect_in_units,
)
from harness.experiment.analysis.seeds import analyse_seeds
from harness.experiment.analysis.values import Row, Rows
from harness.experiment.design import ContrastDesign, EffectDesign, EvaluationDesign, FamilyDesign
from harness.types import Direction, Finding

CONTRAST = ContrastDesign(name="sft-base", arms=("sft", "base"))


def an_arm(variant: str, shift: float, *, n_films: int = 12, missing: tuple[str, ...] = ()) -> MeasuredArm:
    rng = np.random.default_rng(3)
    rows = []
    for film in range(n_films):
        for prompt in range(5):
            name, value = f"p{film}-{prompt}", float(rng.normal() + shift + 0.1 * np.sin(7 * film * shift + prompt))
            rows.append(Row(prompt_id=name, cluster=f"m{film}", value=None if name in missing else value))
    return MeasuredArm(measure="loss", variant=variant, rows=Rows.of(rows), sources=())


def run(
    *arms: MeasuredArm, reason: str = "", family: tuple[str, ...] = ("loss",), better: Direction | None = "lower"
) -> tuple[Finding, ...]:
    return analyse_seeds(
        [untrained(arm) for arm in arms],
        rules={"loss": MeasureRule(name="loss", unit="nats", better=better, exploratory_reason=reason)},
        contrasts=(CONTRAST,),
        control="base",
        family=FamilyDesign(measures=family),
        min_clusters=10,
        seed=0,
        variants=("sft", "base"),
    ).findings


def test_a_shift_is_found_and_named_better() -> None:
    *_, contrast = run(an_arm("sft", -1.0), an_arm("base", 0.0))
    assert contrast.contrast == "sft-base"
    assert contrast.estimate.value == pytest.approx(-1.0, abs=0.2)
    assert contrast.verdict is not None
    assert contrast.verdict.label == "better"


def test_pairs_that_one_arm_lacks_are_counted_as_missing_never_filled() -> None:
    base, treated, contrast = run(an_arm("base", 0.0, missing=("p0-0",)), an_arm("sft", -1.0, missing=("p1-1",)))
    assert (base.estimate.n, base.estimate.n_missing) == (59, 1)
    assert (treated.estimate.n, treated.estimate.n_missing) == (59, 1)
    assert (contrast.estimate.n, contrast.estimate.n_missing) == (58, 2)


def test_a_judge_that_may_not_claim_is_exploratory_whatever_it_shows() -> None:
    *_, contrast = run(an_arm("sft", -1.0), an_arm("base", 0.0), reason="It judges its own family.")
    assert contrast.verdict is not None
    assert (contrast.verdict.label, contrast.verdict.reason) == ("exploratory", "It judges its own family.")


def test_a_verdict_speaks_of_what_was_resampled_by_its_own_name() -> None:
    found = run(an_arm("sft", 0.02), an_arm("base", 0.0))
    few = run(an_arm("sft", -1.0, n_films=4), an_arm("base", 0.0, n_films=4))
    for noun in ("film", "prompt", "cluster"):
        (open_,) = [f.verdict for f in label_clusters(found, (), noun=noun) if f.verdict]
        (lacking,) = [f.verdict for f in label_clusters(few, (), noun=noun) if f.verdict]
        assert re.search(rf"[\d,]+ more {noun}s", open_.settle)
        assert ("more prompts)" in open_.settle) == (noun != "prompt")  # there a prompt more is a cluster more
        assert lacking.reason.startswith(f"Too few {noun}s")
        assert lacking.settle == f"At least 6 more {noun}s."


def test_a_rate_has_a_rates_interval_and_its_warning_in_few_films() -> None:
    """One reply in 60 is cut off: the interval stays inside [0, 1], and 12 films are too few for its coverage."""
    rows = [Row(prompt_id=f"p{i}", cluster=f"m{i % 12}", value=float(i == 7)) for i in range(60)]
    arm = MeasuredArm(measure="cut_off", variant="base", rows=Rows.of(rows), sources=())
    (finding,) = analyse_seeds(
        (untrained(arm),),
        rules={"cut_off": MeasureRule(name="cut_off", unit="share", better="lower", is_rate=True)},
        contrasts=(),
        control="base",
        family=FamilyDesign(measures=()),
        min_clusters=10,
        seed=0,
        variants=("base",),
    ).findings
    assert finding.estimate.low is not None
    assert 0 < finding.estimate.low < finding.estimate.value == pytest.approx(1 / 60)
    assert "logit" in finding.estimate.method
    assert finding.estimate.notes == ("rare in 12 clusters: clusters without a hit say little",)


def test_shares_of_wins_are_a_rate_that_stays_a_share_and_the_controls_half_is_known() -> None:
    wins = {"sft": (1.0, 1.0, 0.5, 1.0, 1.0, 0.0), "base": (0.5,) * 6}
    arms = [
        untrained(
            MeasuredArm(
                measure="wins",
                variant=variant,
                rows=Rows.of(Row(prompt_id=f"p{i}", cluster=f"m{i // 2}", value=v) for i, v in enumerate(values)),
                sources=(),
            )
        )
        for variant, values in wins.items()
    ]
    sft, base, contrast = analyse_seeds(
        arms,
        rules={"wins": MeasureRule(name="wins", unit="share of wins", better="higher", is_rate=True)},
        contrasts=(CONTRAST,),
        control="base",
        family=FamilyDesign(measures=("wins",)),
        min_clusters=3,
        seed=0,
        variants=("sft", "base"),
    ).findings
    assert "logit" in sft.estimate.method
    assert 0 < ends(sft.estimate)[0] < sft.estimate.value == 0.75 < ends(sft.estimate)[1] < 1
    assert (base.estimate.low, base.estimate.high) == (0.5, 0.5)
    assert -1 <= ends(contrast.estimate)[0] < ends(contrast.estimate)[1] <= 1


def test_one_arm_twice_is_refused() -> None:
    with pytest.raises(InputError, match="stands twice"):
        run(an_arm("sft", 0.0), an_arm("sft", 0.0))


def test_a_contrast_that_could_not_be_tested_still_costs_its_place_in_the_family() -> None:
    contrasts = (CONTRAST, ContrastDesign(name="dpo-base", arms=("dpo", "base")))
    arms = (an_arm("sft", -0.02), an_arm("base", 0.0))
    alone, both = (
        analyse_seeds(
            [untrained(arm) for arm in arms],
            rules={"loss": MeasureRule(name="loss", unit="nats", better="lower")},
            contrasts=declared,
            control="base",
            family=FamilyDesign(measures=("loss",)),
            min_clusters=10,
            seed=0,
            variants=("sft", "base"),
        )
        .findings[2]
        .verdict
        for declared in (contrasts[:1], contrasts)
    )
    assert alone is not None
    assert both is not None
    assert alone.p_value == both.p_value
    assert both.p_adjusted == pytest.approx(min(1.0, 2 * (alone.p_adjusted or 0)))


def test_an_effect_in_units_of_the_control_uses_its_spread() -> None:
    control = an_arm("base", 0.0)
    deviation = np.std([sure(row.value) for row in control.rows], ddof=1)
    effect = smallest_effect_in_units(EffectDesign(value=0.2, unit="sd_of_control"), control)
    assert effect == pytest.approx(0.2 * deviation)
    assert smallest_effect_in_units(EffectDesign(value=0.2, unit="points"), control) == 0.2


def a_design(**changes: object) -> EvaluationDesign:
    data: dict[str, object] = {
        "schema": 1,
        "name": "x",
        "question": "Is it better?",
        "variants": {"base": {"model": "embedded"}, "sft": {"adapter": "film@candidate"}},
        "control": "base",
        "measures": {"heldout_loss": {"smallest_effect": {"value": 0.02, "unit": "bits_per_byte"}}},
        "contrasts": [{"name": "sft-base", "arms": ["sft", "base"]}],
        "family": {"measures": ["heldout_loss"]},
    }
    return parse(data | changes, EvaluationDesign, where="x.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contrasts": [{"name": "c", "arms": ["sft", "dpo"]}]}, "names the arm 'dpo'"),
        ({"contrasts": [{"name": "c", "arms": ["sft", "sft"]}]}, "with itself"),
        ({"control": "none"}, "`control` must be one of base, sft"),
        ({"family": {"measures": ["fluency"]}}, "`family.measures` names 'fluency'"),
        ({"measures": {"charm": {}}, "family": {"measures": []}}, "measure `charm` needs a `judge`"),
        ({"measures": {"length": {}}, "family": {"measures": ["length"]}}, "must say `better:"),
        ({"variants": {"base": {"model": "a", "adapter": "b"}}}, "exactly one of model, adapter"),
        ({"sauce": 1}, "`sauce` is not a key"),
        ({"decoding": {"temperature": -1}}, r"decoding\.temperature"),
    ],
)
def test_a_broken_declaration_is_refused_in_a_sentence(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        a_design(**changes)


def test_the_declaration_digest_follows_what_is_declared_and_nothing_else() -> None:
    design = a_design()
    assert a_design(data={"prompts": 9}, seed=3).declaration_digest() == design.declaration_digest()
    changed = {"heldout_loss": {"smallest_effect": {"value": 0.03, "unit": "bits_per_byte"}}}
    assert a_design(measures=changed).declaration_digest() != design.declaration_digest()
