"""What `bench` measured in; its tables, and what has become worse, out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from loadtest.report import Table

AT_ONCE: Final = (1, 16, 64, 256)

QUANTILES: Final = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"))
WORSE_RATIO: Final = 1.15
"""Chosen: a ratio that grew by more is told; from run to run they differ by a tenth."""

BASELINE: Final = "bare aiohttp"

NOTES: Final = (
    (
        "CPU is the server's own, all its threads and processes, in microseconds a request; its "
        "upstream's is not in it. Ratios are the bare server's CPU over the contender's, of the "
        "same rounds: 1 is as good as bare, 2 is half of its cost."
    ),
    "Open: requests at their appointed times; latencies count from those.",
)


def ratios_of(figures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By path and contender, the bare CPU over its own, by connections."""
    found: dict[str, dict[str, float]] = {}
    for path, told in figures["paths"].items():
        bare = told.get(BASELINE, {"closed": {}})["closed"]
        for name, runs in told.items():
            found[f"{path}: {name}"] = {
                at_once: bare[at_once]["cpu_us"] / run["cpu_us"]
                for at_once, run in runs["closed"].items()
                if at_once in bare and run["cpu_us"]
            }
    return found


def grown(figures: Mapping[str, Any], earlier: Path) -> list[str]:
    """Ratios to the bare servers that are worse than they were."""
    before = ratios_of(json.loads(earlier.read_text())["figures"])
    told = []
    for row, ratios in ratios_of(figures).items():
        for at_once, ratio in ratios.items():
            was = before.get(row, {}).get(at_once)
            if was is not None and was > WORSE_RATIO * ratio:
                told.append(f"{row}, {at_once} at once: {was:.2f} was, {ratio:.2f} is")
    return told


def ratio_table(figures: Mapping[str, Any]) -> Table:
    """CPU a request, and beside the bare server."""
    rows = []
    for row, ratios in ratios_of(figures).items():
        path, name = row.split(": ")
        runs = figures["paths"][path][name]["closed"]
        cells = [_cost_cell(run["cpu_us"], ratios.get(n)) for n, run in runs.items()]
        rows.append((row, *cells))
    headings = ("CPU a request, us (bare over it)", *(f"{n} at once" for n in _at_once(figures)))
    return Table(title="Cost", headings=headings, rows=rows)


def _at_once(figures: Mapping[str, Any]) -> list[str]:
    first = next(iter(figures["paths"].values()))
    return list(next(iter(first.values()))["closed"])


def _cost_cell(cpu_us: float, ratio: float | None) -> str:
    return f"{cpu_us:.0f}" + (f" ({ratio:.2f})" if ratio is not None else "")


def rate_table(figures: Mapping[str, Any]) -> Table:
    """Rates and latencies of the closed runs, and what generator and upstream took."""
    rows = [
        (
            f"{path}: {name}, {at_once} at once",
            *(f"{run[key]:.0f}" for key in ("rate", "generator_us", "vendor_us")),
            *(f"{run[key]:.2f}" for _, key in QUANTILES),
            f"{run['failed']:.0f}",
        )
        for path, told in figures["paths"].items()
        for name, each in told.items()
        for at_once, run in each["closed"].items()
    ]
    names = ("generator us", "vendor us", *(f"{name} ms" for _, name in QUANTILES), "failed")
    return Table(title="Closed loop", headings=("", "a second", *names), rows=rows)


def open_table(figures: Mapping[str, Any]) -> Table:
    """Latencies of the open runs."""
    rows = [
        (f"{path}: {name}, {rate} a second", *(f"{run[key]:.2f}" for _, key in QUANTILES))
        for path, told in figures["paths"].items()
        for name, each in told.items()
        for rate, run in each["open"].items()
    ]
    headings = ("", *(f"{name} ms" for _, name in QUANTILES))
    return Table(title="Open loop", headings=headings, rows=rows)


def size_table(figures: Mapping[str, Any]) -> Table:
    """What starting took, and memory at the end."""
    rows = [
        (name, f"{told['start_s']:.1f}", f"{told['rss_mib']:.0f}")
        for name, told in figures["servers"].items()
    ]
    return Table(title="Servers", headings=("", "start, s", "RSS, MiB"), rows=rows)


def busy_table(figures: Mapping[str, Any]) -> Table:
    """Hits and probes, with the encoder at rest and not."""
    rows = [
        (f"{what}, encoder {state}", *(f"{run[key]:.2f}" for _, key in QUANTILES))
        for state, told in figures["busy"].items()
        for what, run in told.items()
    ]
    headings = ("", *(f"{name} ms" for _, name in QUANTILES))
    return Table(title="While the encoder has more than it can do", headings=headings, rows=rows)


def all_tables(figures: Mapping[str, Any]) -> list[Table]:
    """Every table that there is something to show in."""
    told = [ratio_table(figures), rate_table(figures), open_table(figures), size_table(figures)]
    return told + ([busy_table(figures)] if "busy" in figures else [])
