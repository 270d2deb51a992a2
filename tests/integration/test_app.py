from __future__ import annotations

from pathlib import Path

from unit.reporting.report_example import example_record

from harness.reporting.render import write_report
from harness.reporting.runs import ANALYSIS
from harness.tracking import Stage, Tracking

APP = Path(__file__).resolve().parents[2] / "app.py"


def test_an_empty_store_says_what_to_do() -> None:
    from streamlit.testing.v1 import AppTest

    app = AppTest.from_file(str(APP)).run(timeout=60)
    assert not app.exception
    assert "screentest quickstart" in app.info[0].value


def test_a_finished_evaluation_can_be_read() -> None:
    from streamlit.testing.v1 import AppTest

    record = example_record()

    def work(stage: Stage) -> None:
        write_report(record, stage.folder)

    Tracking().stage(ANALYSIS, revision=1, config={}, inputs={}, work=work)
    app = AppTest.from_file(str(APP)).run(timeout=60)
    assert not app.exception
    assert record.question in app.selectbox[0].options[0]
