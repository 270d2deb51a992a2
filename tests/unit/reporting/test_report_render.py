"""The three files: self-contained, complete, safe to open, and readable back."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_example import as_stored, estimate, example_record

from harness.errors import InputError
from harness.reporting.finding_index import index
from harness.reporting.markdown import fenced, plain
from harness.reporting.record import Line, ReportRecord, Sample, SampleReply
from harness.reporting.render import (
    read_record,
    render_comment,
    render_html,
    render_json,
    render_markdown,
    write_report,
)
from harness.types import Absence
from harness.types.findings import VerdictLabel


class Outline(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def html() -> str:
    return render_html(example_record())


@pytest.fixture(scope="module")
def outline(html: str) -> Outline:
    return Outline(html)


def empty_record() -> ReportRecord:
    return ReportRecord(
        title="Empty", question="Is anything here?", created="", run_id="r", profile="", caveat="",
        findings=(), contrasts=(), variants=(),
    )  # fmt: skip


def with_reply(text: str) -> ReportRecord:
    reply = SampleReply(variant="sft", text=text)
    line = Line(speaker="Mara", text=text)
    sample = Sample(prompt_id="p", title=text, history=(line,), reference=line, replies=(reply,))
    return replace(empty_record(), question=text, samples=(sample,))


def test_what_was_not_tested_stands_first_in_all_three_files_and_is_no_markup() -> None:
    absence = Absence(kind="mute", said="`<b>mute</b>` is mute: none of its 60 replies has text.", variants=("sft",))
    record = replace(example_record(), absences=(absence,))
    page, text, data = render_html(record), render_markdown(record), render_json(record)
    assert page.index("&lt;b&gt;mute&lt;/b&gt;` is mute") < page.index('class="answer"') < page.index("Verdicts</h2>")
    assert text.index("none of its 60 replies has text") < text.index("Compared with") < text.index("## Verdicts")
    assert "<b>" not in text
    assert list(json.loads(data))[1] == "absences"
    assert json.loads(data)["absences"][0]["variants"] == ["sft"]
    assert "Not everything was tested" not in render_html(example_record())


def test_page_asks_nothing_of_the_network(html: str, outline: Outline) -> None:
    links = outline.values("href") + outline.values("src")
    assert links
    assert all(link.startswith("#") or link == "data:," for link in links)
    outside = re.findall(r"https?://[^\s\"'<)]+", html)
    assert set(outside) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(", html)


def test_page_runs_nothing_and_its_policy_allows_the_one_style_sheet(html: str, outline: Outline) -> None:
    assert "script" not in outline.tags
    assert not [name for _, name, _ in outline.attributes if name.startswith("on") or name == "style"]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(v for v in outline.values("content") if "default-src" in v)
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
    assert "unsafe" not in policy


def test_every_link_leads_somewhere_and_no_id_is_used_twice(outline: Outline) -> None:
    ids = outline.values("id")
    assert len(ids) == len(set(ids))
    targets = {href[1:] for href in outline.values("href") if href.startswith("#")}
    assert targets <= set(ids)
    labels = {part for value in outline.values("aria-labelledby") for part in value.split()}
    assert labels <= set(ids)


def test_every_number_links_to_its_source_with_a_trace_command(outline: Outline) -> None:
    found = index(example_record())
    text = "".join(outline.words)
    hrefs = outline.values("href")
    for named in found.named:
        assert f"#{named.anchor}" in hrefs
        assert found.trace(named) in text
        assert found.write(named.finding).interval in text
        assert found.write(named.finding).missing in text


def test_sections_stand_in_reading_order(outline: Outline) -> None:
    order = [
        "examples", "verdict", "contrasts", "variants", "distributions", "judges", "training", "missing",
        "limitations", "lineage", "config",
    ]  # fmt: skip
    sections = [value for tag, name, value in outline.attributes if tag == "section" and name == "id"]
    assert sections == order
    assert [h[1:] for h in outline.values("href") if h[1:] in order][:11] == order


def test_hostile_text_is_shown_not_obeyed(html: str, outline: Outline) -> None:
    text = "".join(outline.words)
    assert "<script>alert('x')</script><img src=x onerror=alert(1)> {{ 7*7 }}" in text
    assert "img" not in outline.tags
    assert "␀␛[31m" in text
    assert "\x00" not in html
    assert "\x1b" not in html
    assert "49" not in "".join(w for w in outline.words if "onerror" in w)


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1).filter(lambda t: t.strip() != ""))
def test_no_text_changes_the_structure_of_the_page(text: str) -> None:
    assert Outline(render_html(with_reply(text))).tags == Outline(render_html(with_reply("plain"))).tags
    render_markdown(with_reply(text)).encode()
    render_json(with_reply(text)).encode()


def test_lone_surrogate_can_be_written_and_read_back(tmp_path: Path) -> None:
    record = with_reply("half \ud83d of a pair")
    files = write_report(record, tmp_path)
    assert "half \ufffd of a pair" in files.html.read_text(encoding="utf-8")
    assert read_record(files.json) == as_stored(record)


def test_a_judges_reason_stands_beside_the_reply(html: str) -> None:
    assert "coherence: It takes up &lt;what&gt; was said." in html
    assert plain("coherence: It takes up <what> was said.") in render_markdown(example_record())


def test_json_reads_back_to_the_same_record_and_the_same_page(tmp_path: Path) -> None:
    record = as_stored(example_record())
    html = render_html(record)
    files = write_report(record, tmp_path / "new" / "folder")
    assert read_record(files.json) == record
    assert render_html(read_record(files.json)) == html == files.html.read_text(encoding="utf-8")
    assert sorted(p.name for p in files.html.parent.iterdir()) == ["report.html", "report.json", "report.md"]


def test_json_holds_no_nan_and_reads_back_nan(tmp_path: Path) -> None:
    first = replace(example_record().findings[3], estimate=estimate(math.nan, None, None))
    files = write_report(replace(empty_record(), findings=(first,)), tmp_path)
    data = json.loads(files.json.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))
    assert data["findings"][0]["value"] is None
    assert math.isnan(read_record(files.json).findings[0].estimate.value)
    assert "no value" in files.html.read_text(encoding="utf-8")


def test_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"schema_version": 99, "record": {}}')
    with pytest.raises(InputError, match="schema version 1, got version 99"):
        read_record(path)


def test_a_refused_record_leaves_no_file(tmp_path: Path) -> None:
    bad = replace(example_record(), qualifications=())
    with pytest.raises(InputError):
        write_report(bad, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_record_is_a_page_that_says_so() -> None:
    page, text = render_html(empty_record()), render_markdown(empty_record())
    assert "No contrast was estimated." in page
    assert "Nothing was missing." in page
    assert "Nothing was missing." in text
    assert "None" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)


def test_markdown_says_what_the_page_says() -> None:
    text = render_markdown(example_record())
    found = index(example_record())
    for named in found.named:
        assert plain(found.write(named.finding).interval) in text
        assert f'<a id="{named.anchor}"></a>' in text
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        assert f'id="{anchor}"' in text
    assert text.index("## Examples") < text.index("## Verdicts") < text.index("## Contrasts") < text.index("## Lineage")


def test_the_answer_is_said_from_verdicts_and_as_loud_as_their_size() -> None:
    """sft − base on held-out loss is ten smallest effects, on bigrams its near end lies within one."""
    said = render_comment(example_record())
    assert "sft clearly fits what people wrote better (1.698 instead of 1.912 bits per byte)" in plain_again(said)
    assert "distinct bigrams (83.0 instead of 87.1 %, perhaps by too little to matter)" in plain_again(said)
    assert "Still open: base-shots against base on held-out loss" in said
    assert len(said) < 2500


def test_variants_that_differ_by_nothing_are_said_together_and_values_alike_by_their_effect() -> None:
    """As the ablation of NEFTune reads: two strengths equivalent to none, a third open with the same 1.70."""
    record = example_record()
    labels: dict[str, VerdictLabel] = {
        "sft-base": "equivalent",
        "shots-base": "equivalent",
        "sft-shots": "inconclusive",
    }
    findings = [
        replace(f, verdict=replace(f.verdict, label=labels[f.contrast or ""]))
        if f.verdict
        else replace(f, estimate=replace(f.estimate, value=1.7))
        for f in record.findings
        if f.name == "heldout_loss"
    ]
    said = plain_again(render_comment(replace(record, findings=tuple(findings))))
    assert "Compared with base, sft and base-shots are no different by an amount that matters on held-out loss." in said
    assert "sft against base-shots on held-out loss (−0.119 bits per byte [−0.181, −0.057])." in said


def test_a_number_says_what_its_measure_means_by_it_and_remarks_stand_beside_the_measure() -> None:
    record = example_record()
    meant = "a classifier finds it in {own} instead of {others} of pairs"
    measures = tuple(replace(m, meaning=meant) if m.name == "distinct_2" else m for m in record.measures)
    said = render_comment(replace(record, measures=measures))
    assert "(a classifier finds it in 83.0 instead of 87.1 % of pairs, perhaps" in plain_again(said)
    assert "Held-out loss, sft: What shows at a glance: nothing." in plain_again(render_markdown(record))


def plain_again(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def test_markdown_tables_have_equal_rows() -> None:
    tables = re.findall(r"(?:^\|.*\|\n)+", render_markdown(example_record()), re.MULTILINE)
    assert len(tables) >= 8
    for drawn in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in drawn.splitlines()}) == 1
    assert plain("a|b\n<b>*x*</b>") == "a\\|b &lt;b&gt;\\*x\\*&lt;/b&gt;"


@given(st.text(alphabet="`~\n a") | st.text())
def test_a_fence_is_longer_than_any_inside(text: str) -> None:
    lines = fenced(text).split("\n")
    fence = lines[-1]
    assert lines[0] == f"{fence}text"
    assert not any(line.strip().startswith(fence) for line in lines[1:-1])


def test_reporting_loads_without_the_heavy_libraries() -> None:
    code = (
        "import sys, harness.reporting.render as r\n"
        "heavy = {'torch', 'transformers', 'mlflow', 'pandas', 'matplotlib', 'pyarrow', 'numpy', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
