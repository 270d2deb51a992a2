"""Which prompts a report shows is decided by a rule."""

from __future__ import annotations

from ablations import seeded

from harness.experiment.analysis.seeded import paired_rows
from harness.experiment.examples import choose_examples


def test_gains_losses_typical_and_worst_take_turns_and_no_prompt_stands_twice() -> None:
    """Lower is better. Gains by prompt: 5, −4, 1, 0, 0.9, 2; the treatment's own values: 1, 9, 3, 8, 3, 2."""
    treatment, reference = [1.0, 9.0, 3.0, 8.0, 3.1, 2.0], [6.0, 5.0, 4.0, 8.0, 4.0, 4.0]
    rows = paired_rows(seeded("a", {1: treatment}), seeded("b", {1: reference}))
    assert rows is not None
    ids = [str(label) for label in rows.prompts.labels]
    chosen = choose_examples(rows, better="lower", among=ids)
    assert [(ids.index(prompt), why) for prompt, why in chosen.items()] == [
        (0, "largest gain"), (1, "largest loss"), (2, "typical"), (5, "largest gain"), (3, "largest loss"),
        (4, "typical"),
    ]  # fmt: skip
    assert choose_examples(rows, better="lower", among=[]) == {}
    assert len(choose_examples(rows, better="higher", among=ids, n=2)) == 2
