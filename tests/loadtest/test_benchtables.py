"""What has become worse is named by its ratio to the bare server, not by its time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loadtest.benchtables import BASELINE, all_tables, grown


def figures(ours_us: float, bare_us: float) -> dict[str, Any]:
    run = {"rate": 1.0, "vendor_us": 0.0, "generator_us": 0.0, "failed": 0.0}
    run |= dict.fromkeys(("p50", "p90", "p99", "p99.9"), 1.0)
    told = {"this sidecar": ours_us, BASELINE: bare_us}
    return {
        "paths": {
            "exact hit": {
                name: {"closed": {"16": {**run, "cpu_us": cpu_us}}, "open": {}}
                for name, cpu_us in told.items()
            }
        },
        "servers": {"this sidecar": {"start_s": 1.0, "rss_mib": 100.0}},
    }


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
    cost = all_tables(figures(100.0, 50.0))[0]
    assert [row[1] for row in cost.rows] == ["100 (0.50)", "50 (1.00)"]
