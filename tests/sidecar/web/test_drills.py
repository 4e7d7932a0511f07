"""Drills at the door: the operator's token, and never a word of it."""

from __future__ import annotations

import logging

import pytest

from sidecar.errors import DrillRefused
from sidecar.replicas.drill import Drill
from sidecar.web.drills import Drills

LOGGER = logging.getLogger("test.drills")


def test_the_operator_may_and_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With the request's id; the token stands nowhere."""
    headers = {"x-sidecar-drill": "slow@a", "x-sidecar-drill-token": "secret"}
    with caplog.at_level(logging.WARNING):
        drill = Drills("secret", LOGGER).find(headers, "req-1")
    assert drill == Drill(kind="slow", upstream="a")
    (record,) = caplog.records
    assert record.__dict__["facts"] == {"request_id": "req-1", "drill": "slow", "upstream": "a"}
    assert "secret" not in str(record.__dict__)


@pytest.mark.parametrize(
    ("token", "sent"),
    [
        pytest.param("secret", "", id="none"),
        pytest.param("secret", "secre", id="part"),
        pytest.param("secret", "sécret", id="not-ascii"),
        pytest.param("secret", "\udcff", id="no-text-at-all"),
        pytest.param("", "", id="no-operator"),
    ],
)
def test_nobody_else_may(token: str, sent: str) -> None:
    """Not even where no token is set: callers are not on this machine alone."""
    headers = {"x-sidecar-drill": "slow", "x-sidecar-drill-token": sent}
    with pytest.raises(DrillRefused):
        Drills(token, LOGGER).find(headers, "req-1")


def test_without_the_header_there_is_no_drill() -> None:
    """A token alone asks for nothing."""
    assert Drills("secret", LOGGER).find({"x-sidecar-drill-token": "secret"}, "req-1") is None
