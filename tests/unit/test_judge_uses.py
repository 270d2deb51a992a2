"""What a judge's use knows of its own kind."""

from __future__ import annotations

import pytest
from fakes import FAKE_BASE
from stories import EXPERIMENTS

from harness.experiment.judges.judge_uses import family_of_variant
from harness.judging import load_judge_spec
from harness.judging.spec import JudgeSpec
from harness.types import Variant

REMOTE = load_judge_spec(EXPERIMENTS / "judges" / "gpt-4o-mini")
LOCAL = load_judge_spec(EXPERIMENTS / "judges" / "embedded-geval")
SELF = Variant(name="v", kind="endpoint", endpoint="https://api.openai.com/v1/", model="gpt-4o-mini")


@pytest.mark.parametrize(
    ("variant", "spec", "family"),
    [
        (Variant(name="v", kind="model", base=FAKE_BASE), REMOTE, "fake"),
        (SELF, REMOTE, "gpt-4o"),
        (SELF, LOCAL, None),
        (Variant(name="v", kind="endpoint", endpoint="http://localhost/v1", model="gpt-4o-mini"), REMOTE, None),
        (Variant(name="v", kind="endpoint", endpoint=SELF.endpoint, model="another"), REMOTE, None),
        (Variant(name="v", kind="file", path="x.jsonl"), REMOTE, None),
    ],
)
def test_an_endpoint_that_is_the_judge_is_of_its_family(variant: Variant, spec: JudgeSpec, family: str | None) -> None:
    assert family_of_variant(variant, spec) == family
