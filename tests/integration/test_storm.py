"""A vendor that fails sees its budget of calls and no more, counted at the vendor."""

from __future__ import annotations

import argparse

import pytest

from loadtest.resilience.storm import Weather, endure
from tests.integration.conftest import BUNDLE


@pytest.mark.parametrize(
    "weather",
    [
        pytest.param(Weather(fault="status=500", share=1.0, model="auto"), id="outage"),
        pytest.param(Weather(fault="reset", share=0.5), id="half-of-the-calls"),
    ],
)
async def test_a_storm_is_not_made_worse(weather: Weather) -> None:
    """Three retries and three tiers, all at one vendor: a tenth more calls, and the floor."""
    if not BUNDLE.exists():
        pytest.skip("no encoder bundle in .sidecar/encoder: run `make encoder`")
    args = argparse.Namespace(seed=0, requests=100, at_once=16)
    seen = await endure(args, weather)
    assert seen.requests <= seen.calls <= seen.bound
