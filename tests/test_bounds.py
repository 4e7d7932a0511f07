"""The page's promise of what is bounded: each bound that it names is there, and is that number."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
BOUND = re.compile(r"`((?:sidecar|cache|router)[\w.]*)\.([A-Z_]+)` = ([\d,]+)")


def test_each_bound_that_the_page_names_is_the_codes() -> None:
    """Who changes a bound changes its line, or fails here."""
    told = BOUND.findall(PAGE.read_text("utf-8"))
    there = [(module, name, getattr(import_module(module), name)) for module, name, _ in told]
    assert len(told) > 25
    assert there == [(m, name, float(number.replace(",", ""))) for m, name, number in told]
