"""Callers at once, some of whom leave, and a vendor that adds its own bill up."""

from __future__ import annotations

import argparse
from decimal import Decimal

import pytest

from loadtest.resilience.budget import Way, spend
from tests.integration.conftest import BUNDLE


async def test_the_vendors_bill_is_within_the_count_and_the_count_within_the_budget() -> None:
    """Seen from outside, with real processes and a budget for a few of two hundred."""
    if not BUNDLE.exists():
        pytest.skip("no encoder bundle in .sidecar/encoder: run `make encoder`")
    args = argparse.Namespace(seed=0, requests=200, at_once=200)
    seen = await spend(args, Way(name="short", limit_usd="0.01", leavers=0.2))
    assert 0 < seen.billed_usd <= seen.counted_usd <= Decimal("0.01")
    assert seen.reserved_usd == 0
    assert seen.answered > 0
    assert seen.refused > 0
