"""What `bench` measured in; its tables, and what has become worse, out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from loadtest.report import Table
from loadtest.servers.contenders import BASELINE, QUANTILES
from loadtest.speed.meaning import AGAIN, SESSION

AT_ONCE: Final = (1, 16, 64, 256)

WORSE_RATIO: Final = 1.15
"""Chosen: a ratio that grew by more is told; from run to run they differ by a tenth."""

NOTES: Final = (
    (
        "CPU is the server's own, all its threads and processes, in microseconds a request; its "
        "upstream's is not in it. Ratios are the bare server's CPU over the contender's, of the "
        "same rounds: 1 is as good as bare, 2 is half of its cost."
    ),
    "Open: requests at their appointed times; latencies count from those.",
)


def cost_us(run: Mapping[str, float]) -> float:
    """CPU a request; 0, not known, of a run of which more than half came to nothing."""
    return max(0.0, run["cpu_us"]) if is_answered(run) else 0.0


def is_answered(run: Mapping[str, float]) -> bool:
    """Most of it was; else its figures are of what failed."""
    return 2 * run["failed"] <= run["asked"]


def ratios_of(figures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By path and contender, the bare CPU over its own, by connections."""
    found: dict[str, dict[str, float]] = {}
    for path, told in figures["paths"].items():
        bare = told.get(BASELINE, {"closed": {}})["closed"]
        for name, runs in told.items():
            found[f"{path}: {name}"] = {
                at_once: cost_us(bare[at_once]) / cost_us(run)
                for at_once, run in runs["closed"].items()
                if at_once in bare and cost_us(run)
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
        cells = [_cost_cell(cost_us(run), ratios.get(n)) for n, run in runs.items()]
        rows.append((row, *cells))
    headings = ("CPU a request, us (bare over it)", *(f"{n} at once" for n in _at_once(figures)))
    return Table(title="Cost", headings=headings, rows=rows)


def _at_once(figures: Mapping[str, Any]) -> list[str]:
    first = next(iter(figures["paths"].values()))
    return list(next(iter(first.values()))["closed"])


def _cost_cell(cpu_us: float, ratio: float | None) -> str:
    if not cpu_us:
        return "-"
    return f"{cpu_us:.0f}" + (f" ({ratio:.2f})" if ratio is not None else "")


def _answered_cell(run: Mapping[str, float]) -> str:
    """All of what was asked, or how many of how many in how long; and what was not what it seems.

    Medians over rounds, so that a count may be of no one round.
    """
    answered = run["asked"] - run["failed"]
    is_all = not run["failed"]
    cell = "all" if is_all else f"{answered:.0f} of {run['asked']:.0f} in {run['spent_s']:.1f} s"
    return cell + (f", {run['unlike']:.0f} otherwise" if run["unlike"] else "")


def rate_table(figures: Mapping[str, Any]) -> Table:
    """Rates and latencies of the closed runs, and what generator and upstream took."""
    rows = [
        (
            f"{path}: {name}, {at_once} at once",
            f"{run['rate']:.0f}",
            _answered_cell(run),
            *(f"{run[key]:.0f}" for key in ("generator_us", "vendor_us")),
            *_latency_cells(run),
        )
        for path, told in figures["paths"].items()
        for name, each in told.items()
        for at_once, run in each["closed"].items()
    ]
    names = ("generator us", "vendor us", *_LATENCIES)
    return Table(title="Closed loop", headings=("", "a second", "answered", *names), rows=rows)


_LATENCIES: Final = tuple(f"{name} ms" for _, name in QUANTILES)


def _latency_cells(run: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(f"{run[key]:.2f}" for _, key in QUANTILES)


def open_table(figures: Mapping[str, Any]) -> Table:
    """Latencies of the open runs."""
    rows = [
        (f"{path}: {name}, {rate} a second", *_open_cells(each, rate))
        for path, told in figures["paths"].items()
        for name, each in told.items()
        for rate in next(iter(told.values()))["open"]
    ]
    return Table(title="Open loop", headings=("", "answered", *_LATENCIES), rows=rows)


def _open_cells(each: Mapping[str, Any], rate: str) -> tuple[str, ...]:
    """Of who was asked at that rate; who cannot answer so many was not."""
    run = each["open"].get(rate)
    if run is not None:
        return _answered_cell(run), *_latency_cells(run)
    most = max(closed["rate"] for closed in each["closed"].values())
    return f"no: {most:.0f} a second at most", *("" for _ in QUANTILES)


def size_table(figures: Mapping[str, Any]) -> Table:
    """What starting took, and memory then and at the end."""
    before = figures["started"]
    rows = [
        (
            name,
            f"{told['start_s']:.1f}",
            f"{before[name]['rss_mib']:.0f}",
            f"{told['rss_mib']:.0f}",
        )
        for name, told in figures["servers"].items()
    ]
    headings = ("", "start, s", "RSS, MiB", "at the end")
    return Table(title="Servers", headings=headings, rows=rows)


def peer_table(figures: Mapping[str, Any]) -> Table:
    """What others take over what the first takes, the sidecar: above 1 it is ahead."""
    rows = []
    for path, told in figures["paths"].items():
        (_, ours), *others = told.items()
        for name, each in others:
            if name != BASELINE:
                rows += [
                    (f"{path}: {name}, {at_once} at once", *_ahead(ours["closed"][at_once], run))
                    for at_once, run in each["closed"].items()
                ]
    headings = ("the sidecar is ahead by", "CPU", "rate", "p50", "p99")
    return Table(title="Beside other gateways", headings=headings, rows=rows)


def _ahead(ours: Mapping[str, float], theirs: Mapping[str, float]) -> tuple[str, ...]:
    if not is_answered(theirs):
        return ("it fails", *("-" for _ in range(3)))
    pairs = [(cost_us(theirs), cost_us(ours)), (ours["rate"], theirs["rate"])]
    pairs += [(theirs[name], ours[name]) for name in ("p50", "p99")]
    return tuple(f"{more / less:.1f}" if more and less else "-" for more, less in pairs)


def meaning_table(figures: Mapping[str, Any]) -> Table:
    """Hits by meaning at idle, beside the session alone."""
    told = figures["meaning"]
    bare = told["ms"][SESSION]["p50"]
    rows = [
        (
            name,
            f"{each['count']:.0f} of {told['asked']}",
            f"{each['p50']:.2f}",
            f"{each['p90']:.2f}",
            f"{told['own_ms'][name]:.2f}" if name in told["own_ms"] else "",
            f"{each['p50'] / bare:.2f}",
        )
        for name, each in told["ms"].items()
    ]
    headings = ("one at a time, ms", "hits", "p50", "p90", "by its header", "over the session")
    return Table(title=f"By meaning, at rest; {AGAIN}: the same text", headings=headings, rows=rows)


def busy_table(figures: Mapping[str, Any]) -> Table:
    """Hits and probes, with the encoder at rest and not."""
    told = figures["busy"]
    rows = [
        (f"{what}, encoder {state}", *_latency_cells(run), _over_idle(told, state, what))
        for state, each in told.items()
        for what, run in each.items()
    ]
    headings = ("", *_LATENCIES, "p99 over idle")
    return Table(title="While the encoder has more than it can do", headings=headings, rows=rows)


def _over_idle(told: Mapping[str, Any], state: str, what: str) -> str:
    idle = told["idle"].get(what)
    return f"{told[state][what]['p99'] / idle['p99']:.2f}" if idle and state != "idle" else ""


def progress(told: Mapping[str, Any]) -> str:
    """One line while it runs."""
    costs = (
        (name, at_once, run["cpu_us"])
        for name, each in told.items()
        for at_once, run in each["closed"].items()
    )
    return ", ".join(f"{name} at {at_once}: {cpu_us:.0f} us" for name, at_once, cpu_us in costs)


def all_tables(figures: Mapping[str, Any]) -> list[Table]:
    """Every table that there is something to show in."""
    paths = [ratio_table, rate_table, open_table, peer_table] if figures["paths"] else []
    rest = [("meaning", meaning_table), ("busy", busy_table), ("servers", size_table)]
    made = [table(figures) for table in paths]
    made += [table(figures) for name, table in rest if name in figures]
    return [table for table in made if table.rows]
