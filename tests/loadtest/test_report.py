"""Reports: the same figures as text, JSON and a page."""

from __future__ import annotations

import json
import math

from loadtest.report import Report, Table, as_html, as_json, as_text, dump, load

_REPORT = Report(
    title="A <title>",
    tables=[Table(title="T", headings=("what", "n"), rows=[("a & b", "10"), ("c", "2")])],
    figures={"n": 1, "none": math.nan},
    notes=["Mind <this>."],
)


def test_text_has_columns_and_notes() -> None:
    """The first column stands left, the others right."""
    text = as_text(_REPORT)
    assert "a & b  10" in text
    assert "c       2" in text
    assert "Note: Mind <this>." in text


def test_json_has_no_nan() -> None:
    """What was not counted is null, which every reader of JSON takes."""
    assert json.loads(as_json(_REPORT))["figures"] == {"n": 1, "none": None}


def test_the_page_shows_text_as_text() -> None:
    """Nothing in a report can become markup."""
    page = as_html(_REPORT)
    assert "a &amp; b" in page
    assert "A &lt;title&gt;" in page
    assert "<this>" not in page


def test_a_report_survives_the_way_to_another_process() -> None:
    """What is loaded shows the same as what was dumped."""
    assert as_text(load(dump(_REPORT))) == as_text(_REPORT)
