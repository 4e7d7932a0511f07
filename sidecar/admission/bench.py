"""What admission adds to one request, in process: `python -m sidecar.admission.bench`.

The rows are taken in turns, round after round, so that whatever else the machine does falls on all
of them alike; the median and the quartiles of the rounds are told. The baseline is a counter of
those inside and the key's look-up: what a server does that limits nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

from sidecar.admission.admission import Admission
from sidecar.admission.places import Place
from sidecar.admission.tenants import TenantConfig
from sidecar.deadline import Deadline

KEY: Final = {"authorization": "Bearer sk-shop"}
NEVER: Final = Deadline(float("inf"))
MUCH: Final = 1e9
WORST_USD: Final = (Decimal("0.001"), Decimal("0.003"), Decimal("0.01"))


class _Deaf:
    def refused(self, tenant: str, reason: str) -> None:
        """See Meter."""

    def queued(self, priority: str, waited_s: float) -> None:
        """See Meter."""


def _admission(*tenants: TenantConfig) -> Admission:
    return Admission(
        tenants=tenants, max_in_flight=1024, max_queued=256, queue_timeout_s=5.0, meter=_Deaf()
    )


def _shop(**limits: Any) -> TenantConfig:
    return TenantConfig(name="shop", keys=("sk-shop",), **limits)


def _all_limits() -> TenantConfig:
    return _shop(
        max_in_flight=512,
        requests_per_minute=MUCH,
        tokens_per_minute=MUCH,
        user_requests_per_minute=MUCH,
        user_tokens_per_minute=MUCH,
        budget_usd=Decimal(MUCH),
        budget_usd_per_day=Decimal(MUCH),
        user_budget_usd_per_day=Decimal(MUCH),
    )


def _result(work: Coroutine[Any, Any, Place]) -> Place:
    """What a coroutine that has nothing to wait for returns, without a loop's time in it."""
    try:
        work.send(None)
    except StopIteration as done:
        place: Place = done.value
        return place
    raise AssertionError


def _baseline() -> Callable[[], None]:
    door, inside = _admission(_shop()), [0]

    def one() -> None:
        door.identify(KEY)
        inside[0] += 1
        with suppress(KeyError):
            inside[0] -= 1

    return one


def _hit(*tenants: TenantConfig) -> Callable[[], None]:
    door = _admission(*tenants)

    def one() -> None:
        caller = door.identify(KEY)
        with _result(door.place(caller, None, NEVER)):
            door.count_user(caller, "ann")
            door.rate_headers(caller, "ann")

    return one


def _paid(tenant: TenantConfig) -> Callable[[], None]:
    door = _admission(tenant)
    caller = door.identify(KEY)

    def one() -> None:
        hold = door.hold(caller, "ann", tokens_in=99, answer_tokens=None, worst_usd=WORST_USD)
        door.settle(hold, tokens=120, cost_usd=WORST_USD[0])

    return one


def measure(rounds: int, calls: int) -> dict[str, tuple[float, float, float]]:
    """Of each row the lower quartile, the median and the upper one, in microseconds a request."""
    rows = {
        "baseline: key and counter": _baseline(),
        "a hit, no [[tenants]]": _hit(),
        "a hit, a tenant without limits": _hit(_shop()),
        "a hit, every limit set": _hit(_all_limits()),
        "a miss adds, without limits": _paid(_shop()),
        "a miss adds, every limit set": _paid(_all_limits()),
    }
    taken_us: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, one in rows.items():
            begun_s = time.perf_counter()
            for _ in range(calls):
                one()
            taken_us[name].append((time.perf_counter() - begun_s) / calls * 1e6)
    return {name: _quartiles(each) for name, each in taken_us.items()}


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="what admission adds to one request, in process")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--calls", type=int, default=5000, help="of each row in a round")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    told = measure(max(2, asked.rounds), max(1, asked.calls))
    if asked.json:
        print(json.dumps(told))  # noqa: T201 - a command's answer
        return
    for name, (low, middle, high) in told.items():
        print(f"{name:34s} {middle:7.2f} us  [{low:.2f}, {high:.2f}]")  # noqa: T201 - as above


if __name__ == "__main__":
    main()
