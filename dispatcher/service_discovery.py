"""Where the instances of a service are. Static for now: as the configuration says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from config.models import Service
from dispatcher.upstream import Address


@dataclass(frozen=True, slots=True)
class Instance:
    """One place where a service answers; ``name`` is its address as text, for replies and logs."""

    name: str
    address: Address
    weight: int = 1
    zone: str | None = None


class ServiceDiscovery(Protocol):
    """Knows the instances of one service."""

    @property
    def instances(self) -> Sequence[Instance]:
        """Those known now, maybe none. The sequence is never changed: news come as another one."""


class StaticDiscovery:
    """The instances that the configuration names; none for a service that is yet to register."""

    def __init__(self, service: Service) -> None:
        self.instances: Sequence[Instance] = tuple(
            Instance(
                name=configured.name,
                address=Address.parse(str(configured.url)),
                weight=configured.weight,
                zone=configured.zone,
            )
            for configured in service.addresses
        )
