"""Record every number of the shipped experiments on tiny models: `python tests/golden/experiments/make_records.py`.

Run it when a number changes on purpose, and say which and why in the commit.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

if __name__ == "__main__":
    from shipped import ABLATIONS, EVALUATIONS, Workshop, numbers_of, record_of
    from stories import fresh_home

    folder = Path(tempfile.mkdtemp())
    workshop = Workshop(folder / "workshop", home=fresh_home(folder / "mlruns"))
    for name in (*EVALUATIONS, *ABLATIONS):
        numbers = numbers_of(record_of(workshop.run(name)))
        (HERE / f"{name}.json").write_text(
            json.dumps(numbers, indent=None, sort_keys=True, ensure_ascii=False).replace(', "/', ',\n"/') + "\n"
        )
