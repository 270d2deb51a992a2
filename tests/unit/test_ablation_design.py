"""What an ablation may declare, and what is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ablations import design_of
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ConfigError, InputError
from harness.experiment.arms import override, varying

THREE = {"a": {"sft.neftune_alpha": 0}, "b": {"sft.neftune_alpha": 5}, "c": {"sft.neftune_alpha": 10}}
AB = [{"name": "b-a", "arms": ["b", "a"]}]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"contrasts": [{"name": "x", "arms": ["a5", "a6"]}]}, "names the arm 'a6'"),
        ({"arms": {"none": {}, "a5": {"sft.neftune_alpha": 5, "sft.seed": 3}}}, "also differ in sft.seed"),
        ({"contrasts": [{"name": "x", "arms": [["a5", "none"], "none"]}]}, "compares 'none' with itself"),
        ({"contrasts": [{"name": "x", "arms": [["a5", "a6"], "none"]}]}, "names the arm 'a6'"),
        ({"contrasts": [{"name": "x", "arms": [[], "none"]}]}, "an arm on each side"),
        ({"factor": "sft.seed"}, "also differ in sft.neftune_alpha"),
        ({"factors": ["sft.neftune_alpha"]}, "declare `factor`"),
        ({"factor": None}, "declare `factor`"),
        ({"factor": None, "factors": ["sft.neftune_alpha", "sft.lora.rank"]}, "'sft.lora.rank' is the same in every"),
        ({"arms": {"none": {"sft.neftune_alpha": 5}, "a5": {"sft.neftune_alpha": 5}}}, "is the same in every arm"),
        ({"arms": {"none": {"learning_rate": 1}, "a5": {"learning_rate": 2}}}, "also differ in learning_rate"),
        ({"arms": THREE | {"d": THREE["c"]}, "control": "a", "contrasts": AB}, "'c' and 'd' are the same"),
        ({"control": "base"}, "`control` must be one of"),
        ({"seeds": [3, 3]}, "must all differ"),
        ({"seeds": [1, 2]}, "at least 3 (about the method), got 2"),
        ({"seeds": [-1]}, "greater than or equal to 0"),
        ({"trend": ["none", "a5"]}, "at least three different arms"),
        ({"trend": ["none", "a5", "a9"]}, "`trend` names the arm 'a9'"),
        ({"tail": {"measure": "heldout_loss", "contrast": "a5-none"}}, "more is better"),
        ({"tail": {"measure": "distinct_2", "contrast": "a5"}}, "must name a measure and a contrast"),
        ({"tail": {"measure": "distinct_2", "contrast": "a5-none", "low": 0.9}}, "must lie below"),
        ({"bases": {"small": {}}}, "exactly one of `source` and `pretrain`"),
        ({"factor_": 1}, "is not a key of AblationDesign"),
        ({"contrasts": []}, "contrasts"),
        ({"decision": ""}, "decision"),
    ],
)  # fmt: skip
def test_a_declaration_that_does_not_hold_together_is_refused_in_a_sentence(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as err:
        design_of(**changes)
    assert said in str(err.value)
    assert "\n" not in str(err.value)


def test_the_factorial_of_the_documentation_is_a_declaration() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "ablations.md").read_text()
    (block,) = [part for part in page.split("```") if part.startswith("yaml\nfactors:")]
    design = design_of(factor=None, control="off-8", **yaml.safe_load(block.removeprefix("yaml")))
    assert next(c.as_contrast().arms for c in design.contrasts) == ("mean of on-8, on-32", "mean of off-8, off-32")


def test_the_digest_of_a_declaration_changes_with_what_is_claimed_and_with_nothing_else() -> None:
    plain = design_of().declaration_digest()
    assert design_of(seeds=[7, 8, 9], test={"prompts": 5}, name="other").declaration_digest() == plain
    assert design_of(decision="Never.").declaration_digest() != plain
    assert design_of(arms=THREE, control="a", contrasts=AB, trend=["a", "b", "c"]).declaration_digest() != (
        design_of(arms=THREE, control="a", contrasts=AB).declaration_digest()
    )


def test_a_sign_flip_family_that_films_could_never_decide_is_refused() -> None:
    design = design_of(family={"measures": ["heldout_loss", "distinct_2"], "test": "sign_flip"})
    design.require_reachable(7)  # 2 / 2^7 = 0.0156 ≤ 0.05 / 2
    with pytest.raises(InputError, match="at least 7"):
        design.require_reachable(6)  # 2 / 2^6 = 0.031
    design_of().require_reachable(2)  # the crossed t test has no such floor


def test_an_override_reaches_the_key_it_names_and_no_other() -> None:
    recipe = {"lora": {"rank": 16, "scale": 32}, "seed": 0}
    assert override(recipe, {"sft.lora.rank": 4, "dpo.lora.scale": 1}, section="sft") == {
        "lora": {"rank": 4, "scale": 32},
        "seed": 0,
    }
    assert recipe == {"lora": {"rank": 16, "scale": 32}, "seed": 0}


@pytest.mark.parametrize("key", ["sft.lora.ranks", "sft.noise", "sft.seed.value"])
def test_an_override_that_nothing_reads_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="nothing reads"):
        override({"lora": {"rank": 16}, "seed": 0}, {key: 1}, section="sft")


@given(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), min_size=1), st.integers(0, 2))
def test_arms_vary_in_exactly_the_keys_with_more_than_one_value(arm: dict[str, int], other: int) -> None:
    found = varying({"one": arm, "two": dict.fromkeys(arm, other)}, {})
    assert set(found) == {key for key, value in arm.items() if value != other}
