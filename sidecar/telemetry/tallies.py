"""Counts and times of each request in, Prometheus' families out when somebody looks.

The metrics library takes a lock and checks the labels at every step, microseconds each; a request
has twenty such steps. Here one thread writes, the event loop's, and a step is an entry of a dict.
Whoever looks from another thread takes a copy in one step of the interpreter's.
Measured: see docs/performance.md, "What mattered".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1, 2.5, 10, 30, 120)
"""Chosen: an exact hit lies under the first, a long answer of a large model under the last."""


class Tally(Collector):
    """A counter for each set of labels' values."""

    def __init__(
        self, name: str, told: str, labels: Sequence[str] = (), *, registry: CollectorRegistry
    ) -> None:
        self._head = name, told, labels
        self._counts: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}
        registry.register(self)

    def add(self, *values: str, amount: float = 1.0) -> None:
        """So much more, under these values of the labels."""
        counts = self._counts
        counts[values] = counts.get(values, 0.0) + amount

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's Collector."""
        name, told, labels = self._head
        family = CounterMetricFamily(name, told, labels=labels)
        for values, count in list(self._counts.items()):
            family.add_metric(values, count)
        yield family


class _Row:
    """How often a value fell into each bucket, and the sum of all."""

    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0


class Spread(Collector):
    """A histogram for each value of one label."""

    def __init__(
        self,
        name: str,
        told: str,
        label: str,
        buckets: Sequence[float],
        *,
        registry: CollectorRegistry,
    ) -> None:
        """`buckets` are upper bounds, rising; one without bound is added."""
        self._head = name, told, [label]
        self._bounds = [float(bound) for bound in buckets]
        self._rows: dict[str, _Row] = {}
        registry.register(self)

    def see(self, label: str, value: float) -> None:
        """One more, under this value of the label."""
        row = self._rows.get(label)
        if row is None:
            row = self._rows[label] = _Row(len(self._bounds) + 1)
        row.counts[bisect_left(self._bounds, value)] += 1
        row.total += value

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's Collector."""
        name, told, labels = self._head
        family = HistogramMetricFamily(name, told, labels=labels)
        bounds = [*(str(bound) for bound in self._bounds), "+Inf"]
        for label, row in list(self._rows.items()):
            so_far = accumulate(list(row.counts))
            family.add_metric([label], list(zip(bounds, so_far, strict=True)), row.total)
        yield family
