"""The threat page's promise: each test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "threats.md"


def test_each_test_that_the_page_names_exists() -> None:
    """A test that is renamed takes its line of the page along, or fails here."""
    sources = "".join(path.read_text("utf-8") for path in HERE.rglob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)", sources, re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text("utf-8")))
    assert len(named) > 40
    assert named - there == set()


def test_each_threat_names_what_holds_it() -> None:
    """Every row of a table of threats ends in a test, or says in words why there is none."""
    page = PAGE.read_text("utf-8")
    rows = [line for line in page.splitlines() if line.count(" | ") == 2 and "---" not in line]
    threats = [row for row in rows if not row.startswith("| threat ")]
    assert len(threats) > 30
    assert [row for row in threats if "`test_" not in row and "no test stands" not in row] == []
