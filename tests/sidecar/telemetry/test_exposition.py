"""Exposition and tallies: what is shown is what there is when somebody looks."""

from __future__ import annotations

from sidecar.telemetry.exposition import Exposition
from sidecar.telemetry.tallies import Spread, Tally


def shown(exposition: Exposition) -> list[str]:
    lines = exposition.text().decode().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_readings_are_taken_whenever_somebody_looks() -> None:
    """Also of rows that were not there before."""
    exposition, rows = Exposition(), {"a": 1.0}
    exposition.gauge("size", "Of it", lambda: sum(rows.values()))
    exposition.gauges("each", "Of each", "name", {"a": lambda: rows["a"]})
    exposition.table("row", "Rows", ("name",), lambda: [((k,), v) for k, v in rows.items()])
    assert shown(exposition) == ["size 1.0", 'each{name="a"} 1.0', 'row{name="a"} 1.0']
    rows["b"] = 2.0
    assert shown(exposition)[0] == "size 3.0"
    assert shown(exposition)[2:] == ['row{name="a"} 1.0', 'row{name="b"} 2.0']


def test_facts_are_labels() -> None:
    """And quotes in them do no harm."""
    exposition = Exposition()
    exposition.info("build", "What runs here", {"version": '1"2'})
    assert shown(exposition) == [r'build{version="1\"2"} 1.0']


def test_a_tally_counts_each_set_of_labels() -> None:
    """One without labels is there from the start."""
    exposition = Exposition()
    Tally("asked", "All", registry=exposition.registry)
    by = Tally("by", "Each", ["who", "how"], registry=exposition.registry)
    by.add("a", "x")
    by.add("a", "x", amount=2.5)
    by.add("b", "x")
    assert shown(exposition) == [
        "asked_total 0.0",
        'by_total{how="x",who="a"} 3.5',
        'by_total{how="x",who="b"} 1.0',
    ]


def test_a_spread_counts_up_to_each_bound() -> None:
    """A value that is equal to a bound lies under it, one beyond all of them in the last."""
    exposition = Exposition()
    spread = Spread("took", "Seconds", "hop", (1, 2.5), registry=exposition.registry)
    for value in (0.5, 1.0, 2.0, 7.0):
        spread.see("encoder", value)
    assert shown(exposition) == [
        'took_bucket{hop="encoder",le="1.0"} 2.0',
        'took_bucket{hop="encoder",le="2.5"} 3.0',
        'took_bucket{hop="encoder",le="+Inf"} 4.0',
        'took_count{hop="encoder"} 4.0',
        'took_sum{hop="encoder"} 10.5',
    ]
