"""Judges: what scores a reply, and whether it may be believed.

`load_judge_spec` reads a judge's folder, `build_judge` puts it on a model, `Judge.score` scores blind items made by
`judged_items`, and `qualify` finds out on planted controls how far the scores may be trusted. docs/judges.md has a
worked example. A judge that compares two replies scores items with an opponent, made by `judged_pairs`.
"""

from harness.judging.controls import make_control_set, read_controls
from harness.judging.criterion_files import load_criterion, shipped_criteria
from harness.judging.judge_builder import build_judge, judge_id
from harness.judging.judge_protocol import Judge
from harness.judging.preferences import judged_pairs, pairwise_estimates
from harness.judging.qualification import is_self_judging, qualify
from harness.judging.scored import ScoredGeneration, item_id, join_scores, judged_items
from harness.judging.spec import JudgeSpec, load_judge_spec

__all__ = [
    "Judge",
    "JudgeSpec",
    "ScoredGeneration",
    "build_judge",
    "is_self_judging",
    "item_id",
    "join_scores",
    "judge_id",
    "judged_items",
    "judged_pairs",
    "load_criterion",
    "load_judge_spec",
    "make_control_set",
    "pairwise_estimates",
    "qualify",
    "read_controls",
    "shipped_criteria",
]
