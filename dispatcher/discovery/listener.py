"""What discovery tells of itself: the events, and Prometheus as one who listens."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from broker.instruments import Instruments


class DiscoveryListener:
    """Hears how instances are found; metrics override what they count."""

    def discovering(self, service: str, known: Callable[[], int]) -> None:
        """A service's instances are followed from now on; ``known`` counts them."""

    def forgotten(self, service: str) -> None:
        """They are not followed any more."""

    def lookup_failed(self, service: str, reason: str) -> None:
        """DNS gave no instances; those known before stay."""

    def pushed(self, service: str) -> None:
        """The registry told of a change."""


class DiscoveryMetrics(DiscoveryListener):
    """Counts for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        make = Instruments(registry)
        self._instances = make.gauge(
            "dispatcher_instances", "Instances that are known of a service.", "service"
        )
        self._lookups_failed = make.counter(
            "dispatcher_lookups_failed",
            "DNS lookups that gave no instances; those known before stayed.",
            "service",
            "reason",
        )
        self._pushes = make.counter(
            "dispatcher_registry_pushes", "Changes that the registry told of.", "service"
        )

    def discovering(self, service: str, known: Callable[[], int]) -> None:
        """Read when somebody looks."""
        self._instances.labels(service).set_function(known)

    def forgotten(self, service: str) -> None:
        """A service that is gone has no figure, not the last one."""
        self._instances.remove(service)

    def lookup_failed(self, service: str, reason: str) -> None:
        """Count it by its reason."""
        self._lookups_failed.labels(service, reason).inc()

    def pushed(self, service: str) -> None:
        """Count it."""
        self._pushes.labels(service).inc()
