"""What the metrics of all roles are made of."""

from collections.abc import Callable, Hashable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

Key = TypeVar("Key", bound=Hashable)
Child = TypeVar("Child")


class Instruments:
    """Makes the instruments of one registry; what follows the help text are names of labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """What only grows."""
        return Counter(name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """What rises and falls."""
        return Gauge(name, text, labels, registry=self._registry)

    def seconds(self, name: str, text: str, *labels: str) -> Histogram:
        """Durations of requests and of their parts, from a millisecond to half a minute."""
        return Histogram(name, text, labels, buckets=_SECONDS, registry=self._registry)


class Kept(dict[Key, Child]):
    """Children by their labels, made once each: ``labels()`` costs more than counting."""

    def __init__(self, make: Callable[[Key], Child]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: Key) -> Child:
        child = self[key] = self._make(key)
        return child
