"""What has become worse is named by its ratio to the bare server, and who falls behind is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loadtest.report import Table
from loadtest.servers.contenders import BASELINE
from loadtest.speed.meaning import SESSION
from loadtest.speed.tables import all_tables, grown

RUN = {
    **dict.fromkeys(("p50", "p90", "p99", "p99.9"), 1.0),
    **dict.fromkeys(("failed", "unlike", "vendor_us", "generator_us"), 0.0),
    "rate": 1.0,
    "asked": 10.0,
    "spent_s": 1.0,
}


def figures(ours_us: float, bare_us: float, **theirs: float) -> dict[str, Any]:
    runs = {
        "this sidecar": {**RUN, "cpu_us": ours_us},
        BASELINE: {**RUN, "cpu_us": bare_us},
        **({"another": {**RUN, **theirs}} if theirs else {}),
    }
    started = {"this sidecar": {"start_s": 1.0, "rss_mib": 100.0}}
    told = {name: {"closed": {"16": run}, "open": {}} for name, run in runs.items()}
    return {"paths": {"exact hit": told}, "servers": started, "started": started}


def titled(told: dict[str, Any], title: str) -> Table:
    return next(table for table in all_tables(told) if table.title.startswith(title))


def test_a_slower_machine_is_no_regression(tmp_path: Path) -> None:
    """Both twice as slow is the machine; one of them alone is not."""
    earlier = tmp_path / "bench.json"
    earlier.write_text(json.dumps({"figures": figures(50.0, 50.0)}))
    assert grown(figures(100.0, 100.0), earlier) == []
    assert grown(figures(100.0, 50.0), earlier) == [
        "exact hit: this sidecar, 16 at once: 1.00 was, 0.50 is"
    ]


def test_each_cost_stands_beside_its_ratio() -> None:
    """The bare server is one."""
    cost = titled(figures(100.0, 50.0), "Cost")
    assert [row[1] for row in cost.rows] == ["100 (0.50)", "50 (1.00)"]


def test_another_gateway_is_held_against_the_sidecar() -> None:
    """By what it takes over what the sidecar takes; the bare server is no gateway."""
    told = figures(100.0, 50.0, cpu_us=1_000.0, rate=0.25, p99=3.0)
    assert titled(told, "Beside other").rows == [
        ("exact hit: another, 16 at once", "10.0", "4.0", "1.0", "3.0")
    ]
    assert all(table.title != "Beside other gateways" for table in all_tables(figures(1.0, 1.0)))


def test_who_does_not_keep_up_is_told_of() -> None:
    """How many of how many, and in what time; and what was no hit."""
    told = figures(100.0, 50.0, cpu_us=1.0, failed=6.0, unlike=1.0, spent_s=10.7)
    assert titled(told, "Cost").rows[2][1] == "-"
    assert titled(told, "Beside other").rows[0][1:] == ("it fails", "-", "-", "-")
    answered = [row[2] for row in titled(told, "Closed").rows]
    assert answered == ["all", "all", "4 of 10 in 10.7 s, 1 otherwise"]


def test_who_cannot_answer_so_many_is_not_asked_for_them() -> None:
    """The rate is that of the sidecar's row; the other's row says what it reached."""
    told = figures(100.0, 50.0, cpu_us=1.0, rate=7.0)
    told["paths"]["exact hit"]["this sidecar"]["open"] = {"90": RUN}
    rows = titled(told, "Open").rows
    assert [row[1] for row in rows] == ["all", "no: 1 a second at most", "no: 7 a second at most"]
    assert {len(row) for row in rows} == {6}


def test_a_hit_by_meaning_stands_beside_the_session() -> None:
    """Twice as long is 2; who had no hit at all has no time."""
    ms = {SESSION: {"p50": 2.0, "p90": 3.0, "count": 5.0}}
    ms["this sidecar"] = {"p50": 4.0, "p90": 6.0, "count": 4.0}
    found = {"meaning": {"asked": 5, "ms": ms, "own_ms": {"this sidecar": 3.5}}}
    table = titled(figures(1.0, 1.0) | found, "By meaning")
    assert [row[1:] for row in table.rows] == [
        ("5 of 5", "2.00", "3.00", "", "1.00"),
        ("4 of 5", "4.00", "6.00", "3.50", "2.00"),
    ]


def test_what_is_busy_stands_beside_what_is_idle() -> None:
    """By the 99th percentile, of what is asked in both states."""
    busy = {"exact hit": {**RUN, "p99": 3.0}, "questions": RUN}
    told = figures(1.0, 1.0) | {"busy": {"idle": {"exact hit": RUN}, "busy": busy}}
    rows = titled(told, "While").rows
    assert [row[-1] for row in rows] == ["", "3.00", ""]


def test_paths_may_be_left_out() -> None:
    """A bench of one part has tables of that part alone."""
    told = figures(1.0, 1.0) | {"paths": {}}
    assert [table.title for table in all_tables(told)] == ["Servers"]
