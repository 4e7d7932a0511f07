"""Every section's settings in, what several parts ask of them together out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cache.policy import CacheConfig, SemanticConfig
from router.budget import Goal
from router.policy import RouterConfig
from sidecar.admission.admission import AdmissionConfig
from sidecar.admission.tenants import TenantConfig
from sidecar.caching.lookup import LookupConfig
from sidecar.caching.persistence import DiskConfig
from sidecar.config.tiers import TierConfig
from sidecar.config.upstreams import UpstreamConfig
from sidecar.degraded import DegradedConfig
from sidecar.encoder.bundle import EncoderConfig
from sidecar.guardrails.rules import GuardrailsConfig
from sidecar.oversight.reviews import ReviewConfig
from sidecar.rollout.guard import CanaryConfig
from sidecar.telemetry.logs import TelemetryConfig
from sidecar.traffic.writer import TrafficConfig
from sidecar.web.listen import ServerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of one process.

    Attributes:
        digest: Short hash of the file's content; stands in every traffic record.
        others: One a section.
    """

    digest: str
    server: ServerConfig
    encoder: EncoderConfig
    cache: CacheConfig
    semantic: SemanticConfig
    lookup: LookupConfig
    disk: DiskConfig
    upstreams: tuple[UpstreamConfig, ...]
    tiers: tuple[TierConfig, ...]
    canary: CanaryConfig
    router: RouterConfig
    tenants: tuple[TenantConfig, ...]
    admission: AdmissionConfig
    degraded: DegradedConfig
    guardrails: GuardrailsConfig
    traffic: TrafficConfig
    review: ReviewConfig
    telemetry: TelemetryConfig

    @property
    def state_dir(self) -> Path | None:
        """Where the operator's switches outlive a restart; None: nowhere."""
        if self.server.state_dir:
            return Path(self.server.state_dir)
        if self.disk.path:
            return Path(self.disk.path).parent
        return Path(self.traffic.dir).parent if self.traffic.dir else None

    def goals(self) -> dict[str, Goal]:
        """What the router is to hold, by tenant; the common goal under the empty name.

        A tenant with a point of quality of its own is held to no goal, not even to the common one.
        """
        return {"": self.router.goal()} | {
            tenant.name: tenant.goal for tenant in self.tenants if tenant.goal.is_set
        }

    def cache_quotas(self) -> dict[str, int]:
        """Bytes of the cache that are a tenant's own, by tenant."""
        return {tenant.name: tenant.cache_bytes for tenant in self.tenants if tenant.cache_bytes}
