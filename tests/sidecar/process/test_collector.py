"""How the interpreter's collector is set once all that stays is there."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from sidecar.process import collector


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_what_was_there_before_is_never_looked_at_again() -> None:
    """What stays is put out of the collector's sight; cycles that come later are still found."""
    held = [{"n": n} for n in range(10_000)]
    collector.settle()
    assert gc.get_freeze_count() > len(held)
    assert gc.get_threshold() == collector.THRESHOLDS
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1
