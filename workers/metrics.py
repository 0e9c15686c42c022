"""What workers tell of themselves: the events, and Prometheus as one who listens."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from broker.instruments import Instruments

# By service and instance; see workers.health.HealthProber.healthy.
Known = Callable[[], Mapping[str, Mapping[str, bool]]]


class WorkersListener:
    """Hears what happens; metrics override what they count."""

    def probed(self, service: str, outcome: str) -> None:
        """An instance was probed."""


class WorkersMetrics(WorkersListener):
    """Counts for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        make = Instruments(registry)
        self._probes = make.counter(
            "workers_probes",
            "Health checks of instances by outcome (passed, status, timeout, tls, unreachable).",
            "service",
            "outcome",
        )

    def probed(self, service: str, outcome: str) -> None:
        """Count it."""
        self._probes.labels(service, outcome).inc()


class InstancesHealthy(Collector):
    """Who leads, and what it knows of the instances; read when somebody looks."""

    def __init__(self, leading: Callable[[], bool], known: Known) -> None:
        self._leading = leading
        self._known = known

    def collect(self) -> Iterable[Metric]:
        """One gauge for the process, one for each instance that it probes."""
        help_text = "1 in the one process that probes for all."
        yield GaugeMetricFamily("workers_leading", help_text, float(self._leading()))
        family = GaugeMetricFamily(
            "workers_instance_healthy",
            "1 for an instance that passes its health checks, 0 for another.",
            labels=["service", "instance"],
        )
        for service, instances in self._known().items():
            for instance, healthy in instances.items():
                family.add_metric([service, instance], float(healthy))
        yield family
