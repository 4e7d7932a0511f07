"""What fronts may give, and what is remembered of what they gave, stays within its bounds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from cache.entry import Hit
from cache.stores.memory import entry_bytes
from sidecar.accounting.again import Again
from sidecar.admission.tenants import Caller
from sidecar.chat import parse
from sidecar.deadline import Deadline
from sidecar.front import table
from sidecar.front.display import MAX_RETIRED, MAX_RETIRED_BYTES, Display
from sidecar.ledger import Inquiry, Ledger
from sidecar.options import parse_options
from sidecar.stopwatch import Stopwatch
from sidecar.traffic.record import Pattern, RequestRecord
from tests.sidecar.caching.test_lookup import ENTRY

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux alone has memfd")


@pytest.fixture
def display() -> Iterator[Display]:
    handle = table.created()
    shown = Display(handle)
    yield shown
    shown.close()
    os.close(handle)


def _again(entry_id: int, body: bytes) -> Again:
    inquiry = Inquiry(
        request_id=f"r{entry_id}",
        received_at=0.0,
        request=parse(b'{"model":"auto","messages":[{"role":"user","content":"q"}]}'),
        options=parse_options({}),
        caller=Caller(tenant="t"),
        deadline=Deadline.after_s(60.0),
        watch=Stopwatch(),
    )
    ledger = Ledger(inquiry=inquiry)
    ledger.hit = Hit("exact", replace(ENTRY, entry_id=entry_id, body=body))
    record = RequestRecord(request_id="r", at=0.0, tenant="t")
    return Again(
        ledger=ledger,
        pipeline=None,
        version="v",
        epoch=0,
        saved_usd=Decimal(0),
        pattern=Pattern(record),
    )


@pytest.mark.parametrize(
    ("length", "most"),
    [
        pytest.param(
            60_000,
            MAX_RETIRED_BYTES // entry_bytes(replace(ENTRY, body=b"x" * 60_000)),
            id="long-answers",
        ),
        pytest.param(10, MAX_RETIRED, id="short-answers"),
    ],
)
def test_of_what_has_gone_no_more_is_held_than_its_bounds(
    display: Display, length: int, most: int
) -> None:
    """Neither in number nor in bytes, for the cache has let go of those answers."""
    count = most + 20
    for entry_id in range(count):
        again = _again(entry_id, b"x" * length)
        display.show(entry_id.to_bytes(16, "big"), b"payload", again, 100)
        assert again.ledger.hit is not None
        display.gone(again.ledger.hit.entry)
    held = [number for number in range(1, count + 1) if display.find(number) is not None]
    assert held == list(range(21, count + 1))
    assert len(display) == 0
