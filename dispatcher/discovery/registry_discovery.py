"""The instances of a service that have registered; while there are none, the configured ones."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from config.models.services import Service
from dispatcher.discovery.changes import described
from dispatcher.discovery.registration import Lease, may_be_called
from dispatcher.discovery.registry import Registry
from dispatcher.service_discovery import Instance, ServiceDiscovery, configured, instance_at

log = logging.getLogger(__name__)


class RegistryDiscovery:
    """Follows one service of a registry; an async context manager."""

    failing = None  # the registry itself tells

    def __init__(self, service: Service, registry: Registry) -> None:
        self._configured = configured(service)
        self.instances: Sequence[Instance] = self._configured
        self._service = service.name
        self._allow = service.discovery.allow
        self._registry = registry

    def take_over(self, before: ServiceDiscovery) -> None:
        """Where none are configured, those of before serve until the registry has been read."""
        if not self._configured:
            self.instances = before.instances

    async def __aenter__(self) -> Self:
        self._following = self._registry.follow(self._service, self._on_leases)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._following.leave()

    async def tried(self) -> None:
        """Wait until the registry was read, or could not be."""
        await self._following.tried.wait()

    def _on_leases(self, leases: Sequence[Lease]) -> None:
        registered = tuple(filter(None, map(self._instance, leases)))
        instances = registered or self._configured
        changes = described(self.instances, instances) or "nothing changes"
        log.info("%d instances of %s are registered; %s", len(registered), self._service, changes)
        self.instances = instances

    def _instance(self, lease: Lease) -> Instance | None:
        """None for what this configuration does not allow, whoever has let it in."""
        with suppress(ValueError):
            if may_be_called(lease.url, self._allow):
                return instance_at(lease.url, lease.weight, lease.zone)
        log.warning("the registered %s of %s is not allowed", lease.url, self._service)
        return None
