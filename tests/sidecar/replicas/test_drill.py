"""Drills: what may be asked for, and of whom."""

from __future__ import annotations

import pytest

from sidecar.errors import MalformedRequest
from sidecar.replicas.drill import Drill
from tests.sidecar.replicas.fakes import FakeUpstream


@pytest.mark.parametrize(
    ("header", "drill"),
    [
        pytest.param("upstream-down", Drill(kind="upstream-down"), id="all"),
        pytest.param(" slow@vendor ", Drill(kind="slow", upstream="vendor"), id="one"),
    ],
)
def test_a_drill_names_its_fault_and_its_upstream(header: str, drill: Drill) -> None:
    """Without an upstream it is all of them."""
    assert Drill.parse(header) == drill


@pytest.mark.parametrize("header", ["fire", "slow-@a", "@a", "SLOW"])
def test_an_unknown_drill_is_the_requests_fault(header: str) -> None:
    """The header is named."""
    with pytest.raises(MalformedRequest) as caught:
        Drill.parse(header)
    assert caught.value.param == "x-sidecar-drill"


def test_only_the_one_that_is_meant_is_drilled() -> None:
    """The others stay as they are."""
    upstream = FakeUpstream("4", name="a")
    assert Drill(kind="slow", upstream="b").applied(upstream) is upstream
    assert Drill(kind="slow").applied(upstream) is not upstream
