"""What the admission's tests hold instead of a clock and a meter."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from sidecar.admission.admission import Admission
from sidecar.admission.tenants import TenantConfig

DAY_S = 86_400.0


class FakeClock:
    """An instant that moves when told to, in seconds."""

    def __init__(self, now_s: float = 20_000 * DAY_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """The instant."""
        return self.now_s


class FakeMeter:
    """Remembers what it heard."""

    def __init__(self) -> None:
        self.refusals: Counter[tuple[str, str]] = Counter()
        self.waits: Counter[str] = Counter()
        self.lost = 0

    def refused(self, tenant: str, reason: str) -> None:
        """See admission.Meter."""
        self.refusals[tenant, reason] += 1

    def queued(self, priority: str, waited_s: float) -> None:
        """See admission.Meter."""
        assert waited_s >= 0.0
        self.waits[priority] += 1

    def lost_spendings(self, count: int) -> None:
        """See bookkeeper.Hook."""
        self.lost += count


def tenant(name: str = "shop", **limits: Any) -> TenantConfig:
    """With the key `sk-<name>`; amounts of money as text or numbers."""
    told: dict[str, Any] = {
        key: Decimal(str(value)) if "usd" in key else value for key, value in limits.items()
    }
    return TenantConfig(name=name, keys=(f"sk-{name}",), **told)


def admission(
    *tenants: TenantConfig,
    max_in_flight: int = 1,
    max_queued: int = 10,
    queue_timeout_s: float = 60.0,
    meter: FakeMeter | None = None,
    clock: FakeClock | None = None,
) -> Admission:
    """One door, with a clock that stands still."""
    clock = clock or FakeClock()
    return Admission(
        tenants=tenants,
        max_in_flight=max_in_flight,
        max_queued=max_queued,
        queue_timeout_s=queue_timeout_s,
        meter=meter or FakeMeter(),
        clock=clock,
        wall=clock,
    )
