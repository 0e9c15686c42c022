"""Where the instances of a service are: what every kind of discovery is, and the simplest kind.

The others are in ``dispatcher/discovery``: by DNS, and by a registry where instances report.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from config.models.services import Service
from dispatcher.upstream import Address


@dataclass(frozen=True, slots=True)
class Instance:
    """One place where a service answers; ``name`` is its address as text, and its identity."""

    name: str
    address: Address
    weight: int = 1
    zone: str | None = None


class ServiceDiscovery(Protocol):
    """Knows the instances of one service."""

    @property
    def instances(self) -> Sequence[Instance]:
        """Those known now, maybe none. The sequence is never changed: news come as another one."""


def configured(service: Service) -> tuple[Instance, ...]:
    """The instances that the configuration names."""
    return tuple(
        instance_at(str(entry.url), entry.weight, entry.zone) for entry in service.addresses
    )


def instance_at(url: str, weight: int = 1, zone: str | None = None) -> Instance:
    """The instance at a URL, which is its name. Raises ValueError for a bad one."""
    return Instance(url.rstrip("/"), Address.parse(url), weight, zone)


class StaticDiscovery:
    """The instances that the configuration names."""

    failing = None

    def __init__(self, service: Service) -> None:
        self.instances: Sequence[Instance] = configured(service)

    def take_over(self, before: ServiceDiscovery) -> None:
        """All is known already."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def tried(self) -> None:
        """Nothing has to be waited for."""
