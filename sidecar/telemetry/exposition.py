"""Counters, and readings to be taken, in; Prometheus' text out whenever somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class _Table(Collector):
    """A family of gauges that is read anew whenever somebody looks."""

    def __init__(
        self,
        name: str,
        told: str,
        labels: Sequence[str],
        read: Callable[[], Iterable[tuple[Sequence[str], float]]],
    ) -> None:
        self._head = name, told, labels
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's Collector."""
        name, told, labels = self._head
        family = GaugeMetricFamily(name, told, labels=labels)
        for values, number in self._read():
            family.add_metric(values, number)
        yield family


class Exposition:
    """What is shown of one process.

    Attributes:
        registry: Of its own; who counts registers here.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def gauge(self, name: str, told: str, read: Callable[[], float]) -> None:
        """Show what `read` returns, whenever somebody looks."""
        Gauge(name, told, registry=self.registry).set_function(read)

    def gauges(
        self, name: str, told: str, label: str, reads: Mapping[str, Callable[[], float]]
    ) -> None:
        """As `gauge`, one for each value of `label`."""
        family = Gauge(name, told, [label], registry=self.registry)
        for value, read in reads.items():
            family.labels(value).set_function(read)

    def table(
        self,
        name: str,
        told: str,
        labels: Sequence[str],
        read: Callable[[], Iterable[tuple[Sequence[str], float]]],
    ) -> None:
        """As `gauges`, with rows that may change: `read` gives each one's labels and value."""
        self.registry.register(_Table(name, told, labels, read))

    def info(self, name: str, told: str, facts: dict[str, str]) -> None:
        """Show facts that hold for the life of the process."""
        Gauge(name, told, list(facts), registry=self.registry).labels(**facts).set(1)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
