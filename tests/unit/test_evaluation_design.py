"""Declarations of an evaluation: what is refused, and what their digest follows."""

from __future__ import annotations

import pytest

from harness.config import parse
from harness.errors import ConfigError
from harness.experiment.design import EvaluationDesign


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
