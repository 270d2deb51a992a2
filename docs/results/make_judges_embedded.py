"""Draw the tables of docs/results/judges-embedded.md from what `screentest judge qualify --json` printed.

python docs/results/make_judges_embedded.py likelihood.json geval.json pairwise.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def number(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"


def interval(family: Mapping[str, Any]) -> str:
    return f"{number(family['auc'])} [{number(family['low'])}, {number(family['high'])}]"


def rows(criterion: Mapping[str, Any]) -> Iterator[str]:
    """One line of the table per control family of a criterion."""
    for family in criterion["families"]:
        cells = (
            criterion["criterion"],
            f"{family['family']} ({family['kind']})",
            interval(family),
            number(family["concordance"]),
            f"{family['n']} / {family['n_clusters']} / {family['n_missing']}",
            family["status"].replace("_", " "),
        )
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Print one table per file."""
    for name in sys.argv[1:]:
        criteria = json.loads(Path(name).read_text(encoding="utf-8"))
        print(f"### {criteria[0]['judge_id'].split('@')[0]}\n")
        print("| criterion | control family | AUC, 95 % interval | concordance | n / films / missing | status |")
        print("|---|---|---|---|---|---|")
        for criterion in criteria:
            print("\n".join(rows(criterion)))
        said = ", ".join(f"{c['criterion']} {c['status'].replace('_', ' ')}" for c in criteria)
        print(f"\nIn all: {said}.\n")


if __name__ == "__main__":
    main()
