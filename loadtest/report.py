"""Tables in; text for a terminal, JSON for a script, one HTML page for a browser out."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under headings; each cell is already text."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one verb found.

    Attributes:
        title: One line.
        tables: For people.
        figures: The same for scripts: JSON values.
        notes: What must be known to read the tables rightly.
        is_good: False makes the command exit with 1.
    """

    title: str
    tables: Sequence[Table]
    figures: Mapping[str, Any]
    notes: Sequence[str] = field(default_factory=tuple)
    is_good: bool = True


def as_text(report: Report) -> str:
    """The report in columns."""
    parts = [report.title, *(_table_text(table) for table in report.tables)]
    return "\n\n".join([*parts, *(f"Note: {note}" for note in report.notes)]) + "\n"


def _table_text(table: Table) -> str:
    grid = [list(table.headings), *(list(row) for row in table.rows)]
    widths = [max(len(row[column]) for row in grid) for column in range(len(table.headings))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([table.title, line(grid[0]), rule, *(line(row) for row in grid[1:])])


def as_json(report: Report) -> str:
    """The figures and the notes; what is not a number (NaN) is null."""
    told = {"title": report.title, "figures": report.figures, "notes": list(report.notes)}
    return json.dumps(_numbers_only(told), indent=2, allow_nan=False) + "\n"


def _numbers_only(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _numbers_only(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers_only(inner) for inner in value]
    is_nan = isinstance(value, float) and value != value  # noqa: PLR0124 - NaN alone differs from itself
    return None if is_nan else value


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 2rem }
caption { text-align: left; font-weight: 600 }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #8884; text-align: right }
th:first-child, td:first-child { text-align: left } p { color: #666 }
:root { color-scheme: light dark }
"""


def as_html(report: Report) -> str:
    """One page that needs no other file."""
    tables = "\n".join(_table_html(table) for table in report.tables)
    notes = "\n".join(f"<p>{html.escape(note)}</p>" for note in report.notes)
    title = html.escape(report.title)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1>\n{tables}\n{notes}</html>\n"
    )


def _table_html(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "\n".join(row(cells, "td") for cells in table.rows)
    caption = f"<caption>{html.escape(table.title)}</caption>"
    return f"<table>{caption}\n{row(table.headings, 'th')}\n{rows}</table>"


def write(report: Report, *, json_to: Path | None = None, html_to: Path | None = None) -> None:
    """Print the report, and write it where it is asked for."""
    print(as_text(report))
    if json_to is not None:
        json_to.write_text(as_json(report))
    if html_to is not None:
        html_to.write_text(as_html(report))


def dump(report: Report) -> str:
    """The whole report as JSON, for another process to `load`."""
    return json.dumps(_numbers_only(asdict(report)), allow_nan=False)


def load(text: str) -> Report:
    """`load(dump(report))` shows the same as `report`."""
    told = json.loads(text)
    told["tables"] = [Table(**table) for table in told["tables"]]
    return Report(**told)
