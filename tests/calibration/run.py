"""Simulate every cell and write docs/calibration.md.

    python tests/calibration/run.py --draws 5000            all cells that results.json does not hold yet
    python tests/calibration/run.py --draws 5000 --fresh    everything again
    python tests/calibration/run.py --page                  the page only, from results.json

Counts are kept in results.json beside this file, a cell at a time, so that a run may be cut off and taken up again.
Exit code 1 when a cell misses its target by more than three Monte Carlo standard errors and is not explained.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import alternatives
from cell import Cell
from cells import all_cells

from harness.seeding import stream

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
PAGE = HERE.parent.parent / "docs" / "calibration.md"
SEED = 20261
TABLES = {
    "means": "Means of one arm: coverage of 95 % intervals",
    "contrasts": "Paired contrasts: coverage of 95 % intervals",
    "type I error of tests": "Tests of no difference at 5 %: how often they reject wrongly",
    "rates": "A 5 % rate: coverage of 95 % intervals",
    "differences of rates": "Paired differences of rare rates: coverage of 95 % intervals",
    "equivalence": "“Equivalent” where the true difference is the margin: how often it is said at 5 %",
    "seeds × films": "Seeds × films: coverage of 95 % intervals, and power at three standard errors",
    "raters × prompts": "Raters × prompts, about raters like these: coverage of 95 % intervals, and power",
    "win rates": "Win rates, raters crossed with prompts: coverage of 95 % intervals",
    "strengths": "Strengths from votes with ties (Davidson): coverage of 95 % intervals",
    "peeking": "Looking after every prompt at 5 %: how often a look is wrong",
    "other intervals": "Other intervals: coverage at 95 %",
    "tail asymmetry": "“The low tail falls more than the peak rises”, when only a common shift is there, at 5 %",
}

HEAD = """# Calibration

How often the statistics of Screentest are right, by simulation, beside what naive methods do on the same draws. The
first method of each row is ours and the target is its; the others stand for comparison. Three Monte Carlo standard
errors are allowed (at 5,000 draws and 95 %: 0.9 points). Films have 5 to 50 rows; ICC is the correlation of two rows of
a film on the latent normal scale (`tests/calibration/families.py`). Bootstraps take 1,000 resamples here, 10,000 in
use. `make calibrate` makes this page anew.
"""
NOTES = {
    "means": """Lognormal means have no target: with few films the largest row has often not been seen yet, and no
interval can know of it. “Rows independent” is the z interval of most evaluation tools.""",
    "contrasts": """Both arms come from the same family and share films and prompts. “Unpaired z” is what comparing two
leaderboard rows amounts to: too wide when arms are alike, too narrow when films differ.""",
    "type I error of tests": """The stress rows have skewed differences with mean 0: the arms are then not
exchangeable, which is what sign-flip tests. Rejecting is no error of it there, but no evidence about a mean either.""",
    "rates": """The logit interval pays for coverage with width, and where films differ its standard error is widened by
the skewness of their sums; under 20 films its rates carry a warning, since a film without a hit says little.""",
    "differences of rates": """The interval is cut at what a difference of rates can be, which costs no coverage; the
last column counts ends beyond it.""",
    "equivalence": """“Its own pair”: a treatment whose scores vary more than the control's, both lognormal. “Lognormal”
is the difference of a lognormal treatment from a constant: harsher than paired scores are, without a target.""",
    "seeds × films": """Films of 5 to 50 rows; share: how much of the variance of the mean comes from seeds. “Larger
one-way” is inclusion and exclusion with the larger one-way variance as a floor and seeds − 1 degrees of freedom, which
stood here before. Skewed seeds are three draws of an exponential distribution: no interval from three numbers can see
that. Three skewed seeds on 40 films, share 97 %, fall short of 90 % by a little: 89.4 % over 36,000 draws. A guard that
reaches 90 % there (1.3 / S in place of 0.8 / S) would take 15 % of the power that three seeds have at this share.""",
    "alternatives": """Minimum / median / maximum over normal and ordinal scenarios (10, 20, 40 films; share 0 to 97 %),
and over skewed ones; 1,800 contrasts a scenario. “Moderated” pools the seed variance over the six contrasts of one
ablation as limma does, with estimated prior degrees of freedom: where all scatter alike it more than doubles the power
that three seeds have at a large share. But where their seed variances span 16-fold, the contrast that scatters most is
covered as little as 83 % of the time, and nothing in three seeds tells which case it is; besides, an interval would
change with its neighbours. Kenward–Roger (for balanced cells: REML with expected information, no adjustment) is of the
mean of film means, which is why it is narrower; as REML, it covers down to 85 % of skewed effects. The bootstrap-t
gains nothing. So none took the engine's place.""",
    "raters × prompts": """One mark a rater and prompt; with gaps, some of the raters mark a prompt. “By film only” is
the claim about these raters, taken for one about all raters: right where raters hardly differ, and wrong elsewhere,
which is why both stand on the page.""",
    "win rates": """Raters are drawn anew each time, so that “these raters” is not the claim that is tested here: its
share is how often one panel's interval holds what all raters think.""",
    "strengths": """The truth is the log-odds of a win against a loss over all films. Half points for ties aim at
another, smaller number, and miss this one more surely the more votes there are.""",
    "peeking": """The naive tests look as often as the sequences do, unless said otherwise. The beta-binomial is
for one decisive vote a prompt; on repeated votes it fails, which is why the unit here is the prompt's mean.""",
    "other intervals": "“Judge at its word” takes a biased judge's scores for people's.",
    "tail asymmetry": "Comparing raw changes of the shares takes a pure shift for an asymmetry.",
}


def main() -> int:
    arguments = _arguments()
    results = {} if arguments.fresh or not RESULTS.exists() else json.loads(RESULTS.read_text())
    started = time.monotonic()
    for cell in all_cells():
        key = f"{cell.table}: {cell.name}"
        if arguments.page or (arguments.only and arguments.only not in key):
            continue
        if results.get(key, {}).get("draws", 0) >= arguments.draws:
            continue
        if arguments.minutes and time.monotonic() - started > 60 * arguments.minutes:
            break
        found = cell.simulate(arguments.draws, stream(SEED, key))
        counts = {name: int(count) for name, count in found.items()}
        results[key] = {"draws": arguments.draws, "counts": counts}
        RESULTS.write_text(_lines(results))
        print(key, {name: round(count / arguments.draws, 3) for name, count in counts.items()}, flush=True)
    PAGE.write_text(page(results))
    missed = [cell.name for cell in all_cells() if judged(cell, results).startswith("missed")]
    print(f"{PAGE}: {len(missed)} cells missed their target" + (f": {missed}" if missed else ""))
    return 1 if any(not cell.why for cell in all_cells() if judged(cell, results).startswith("missed")) else 0


def _lines(results: dict[str, Any]) -> str:
    """JSON with a line a cell."""
    cells = (
        f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(found, ensure_ascii=False)}"
        for key, found in results.items()
    )
    return "{\n" + ",\n".join(cells) + "\n}\n"


def judged(cell: Cell, results: dict[str, Any]) -> str:
    """Whether our method (the first of the cell) meets the target, three Monte Carlo standard errors allowed."""
    found = results.get(f"{cell.table}: {cell.name}")
    if found is None or (cell.target_low is None and cell.target_high is None):
        return ""
    share = next(iter(found["counts"].values())) / found["draws"]
    for target, sign in ((cell.target_low, 1), (cell.target_high, -1)):
        if target is not None and sign * (target - share) > 3 * math.sqrt(target * (1 - target) / found["draws"]):
            return "missed" + (f": {cell.why}" if cell.why else "")
    return "met"


def page(results: dict[str, Any]) -> str:
    """The calibration page in Markdown."""
    lines = [HEAD]
    for table, title in TABLES.items():
        cells = [cell for cell in all_cells() if cell.table == table and f"{table}: {cell.name}" in results]
        if cells:
            lines += [f"## {title}", "", *_table(cells, results), "", NOTES[table], ""]
            if table == "seeds × films":
                lines += ["### What else was tried", "", *alternatives.table(), "", NOTES["alternatives"], ""]
    return "\n".join(lines).rstrip().replace("\n\n\n", "\n\n") + "\n"


def _table(cells: list[Cell], results: dict[str, Any]) -> list[str]:
    found = [results[f"{cell.table}: {cell.name}"] for cell in cells]
    methods = list(dict.fromkeys(name for one in found for name in one["counts"]))
    lines = ["| case | " + " | ".join(methods) + " | target | draws |", "|---|" + "---:|" * len(methods) + "---|---:|"]
    for cell, one in zip(cells, found, strict=True):
        shares = [f"{100 * one['counts'][m] / one['draws']:.1f} %" if m in one["counts"] else "" for m in methods]
        lines.append(f"| {cell.name} | " + " | ".join(shares) + f" | {_target(cell, results)} | {one['draws']:,} |")
    return lines


def _target(cell: Cell, results: dict[str, Any]) -> str:
    if cell.target_low is None and cell.target_high is None:
        return "none"
    if cell.target_high is None:
        said = f"at least {100 * (cell.target_low or 0):g} %"
    elif cell.target_low is None:
        said = f"at most {100 * cell.target_high:g} %"
    else:
        said = f"{100 * cell.target_low:g}–{100 * cell.target_high:g} %"
    return f"{said}: {judged(cell, results)}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=5_000)
    parser.add_argument("--only", default="", help="cells whose key holds this text")
    parser.add_argument("--minutes", type=float, default=0, help="stop beginning new cells after this long")
    parser.add_argument("--fresh", action="store_true", help="forget results.json")
    parser.add_argument("--page", action="store_true", help="write the page only")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
