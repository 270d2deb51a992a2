"""One record, three files: a self-contained HTML page, Markdown, and JSON that others script against.

The page asks nothing of the network and runs nothing: its content policy allows the one style sheet by its hash and
nothing else, and every word of a model or a corpus is escaped and kept in its own direction.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InputError
from harness.reporting.finding_index import absences_json, findings_json
from harness.reporting.markdown import comment, markdown
from harness.reporting.page import N_OPEN_SAMPLES, Page, observations, page, takes
from harness.reporting.record import SCHEMA_VERSION, ReportRecord
from harness.reporting.safe_text import printable
from harness.store.artifacts import from_json, read_json, to_json

if TYPE_CHECKING:
    import jinja2

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """Where a written report lies."""

    html: Path
    markdown: Path
    json: Path


def render_html(record: ReportRecord) -> str:
    """The whole report as one HTML document without outside references."""
    from markupsafe import Markup

    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    laid = page(record)
    # The style sheet and the pictures are made here and escape what they hold; all else goes through autoescape.
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            page=laid,
            record=record,
            style=Markup(style),
            style_digest=digest,
            observations=observations,
            takes=takes,
            n_open=N_OPEN_SAMPLES,
        )
    )


def render_answer(laid: Page) -> str:
    """The answer with its picture and table, for a page that is somebody else's: the style reaches no further."""
    from markupsafe import Markup

    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8").replace(":root", "&")
    return _environment().get_template("answer.html.j2").render(page=laid, style=Markup(f".screentest {{{style}}}"))


def render_markdown(record: ReportRecord) -> str:
    """The report as GitHub-flavoured Markdown: the same words and tables, without pictures."""
    return markdown(page(record))


def render_comment(record: ReportRecord) -> str:
    """The answer as Markdown for a pull request: question, sentences, table, what it cannot show."""
    return comment(page(record))


def render_json(record: ReportRecord) -> str:
    """`schema_version`, `absences`, `findings` (flat, see `findings_json`) and `record` (whole, for `read_record`).

    JSON knows no NaN: in `findings` it is null, in `record` the string "NaN", which reads back as NaN.
    """
    data = {
        "schema_version": SCHEMA_VERSION,
        "absences": absences_json(record),
        "findings": findings_json(record),
        "record": _quoted_nonfinite(to_json(record)),
    }
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    if any(0xD800 <= ord(c) < 0xE000 for c in text):  # half of a pair, from a reply cut inside a character
        text = json.dumps(data, indent=1, ensure_ascii=True, allow_nan=False)
    return text + "\n"


def write_report(record: ReportRecord, folder: Path) -> ReportFiles:
    """Write `report.html`, `report.md` and `report.json` into a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    files = ReportFiles(html=folder / "report.html", markdown=folder / "report.md", json=folder / "report.json")
    # Everything is rendered before anything is written: a record that is refused leaves no file behind.
    texts = {files.json: render_json(record), files.markdown: render_markdown(record), files.html: render_html(record)}
    for path, text in texts.items():
        unfinished = path.with_name(path.name + ".part")
        unfinished.write_text(text, encoding="utf-8", newline="\n")
        os.replace(unfinished, path)
    return files


def read_record(path: Path) -> ReportRecord:
    """Read the record back from a `report.json`. Raises InputError: not a report, or one of another schema version."""
    data = read_json(path)
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION or "record" not in data:
        raise InputError(
            f"`{path}` must be a report.json of schema version {SCHEMA_VERSION}, got version {version!r}; "
            "render the report again with `screentest report RUN`"
        )
    return from_json(ReportRecord, _with_tails(data["record"]))


def _with_tails(record: dict[str, Any]) -> dict[str, Any]:
    """Until several tails could be declared, a record had one or null."""
    ablation = record.get("ablation") or {}
    if not isinstance(tail := ablation.get("tail", []), list):
        ablation["tail"] = [tail] if tail else []
    return record


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    return environment


def _quoted_nonfinite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _quoted_nonfinite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_quoted_nonfinite(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return "NaN" if math.isnan(data) else "Infinity" if data > 0 else "-Infinity"
    return data
