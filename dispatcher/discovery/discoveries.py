"""The discovery of each service, from one configuration to the next."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Protocol, Self

from config.models.services import Service
from dispatcher.discovery.listener import DiscoveryListener
from dispatcher.discovery.registry import Registry
from dispatcher.discovery.registry_discovery import RegistryDiscovery
from dispatcher.service_discovery import Instance, ServiceDiscovery, StaticDiscovery

_PATIENCE = 2.0  # seconds that new services wait for what is found of them

_Settings = tuple[object, ...]


class Discovery(ServiceDiscovery, Protocol):
    """One that lives: an async context manager."""

    @property
    def failing(self) -> bool | None:
        """Whether it can't find anything out at the moment; None where that is not its own."""

    def take_over(self, before: ServiceDiscovery) -> None:
        """Serve what was known under other settings until the first is known; before it begins."""

    async def __aenter__(self) -> Self:
        """Begin to follow what happens."""

    async def __aexit__(self, *exc_info: object) -> None:
        """End that; the instances stay as they are."""

    async def tried(self) -> None:
        """Return when the instances are known for the first time, or could not be found out."""


class Discoveries:
    """Keeps one for each service; those whose settings do not change live on.

    An async context manager; the registry is entered before it and left after it.
    ``nameservers`` (addresses and ports) are asked instead of those of this machine, if there are
    any.
    """

    def __init__(
        self,
        registry: Registry,
        nameservers: Sequence[tuple[str, int]] = (),
        listener: DiscoveryListener | None = None,
    ) -> None:
        self._registry = registry
        self._nameservers = nameservers
        self._listener = listener or DiscoveryListener()
        self._kept: dict[str, tuple[_Settings, Discovery]] = {}

    def __getitem__(self, service: str) -> ServiceDiscovery:
        """That of a service of the configuration in use."""
        return self._kept[service][1]

    def instances(self, service: str) -> Sequence[Instance]:
        """Those known of a service, if it is one of this configuration."""
        return self[service].instances if service in self._kept else ()

    @property
    def failing(self) -> Mapping[str, bool]:
        """Of each service that has to be looked up, whether that fails at the moment."""
        states = ((name, discovery.failing) for name, (_, discovery) in self._kept.items())
        return {name: failing for name, failing in states if failing is not None}

    async def use(self, services: Mapping[str, Service]) -> None:
        """Go over to these services; what is not kept is closed when the new ones have begun.

        Waits a moment for what they find.
        """
        settings = {name: _settings(service) for name, service in services.items()}
        new = {
            name: self._make(services[name])
            for name in services
            if name not in self._kept or self._kept[name][0] != settings[name]
        }
        for name in new.keys() & self._kept.keys():
            new[name].take_over(self[name])
        async with AsyncExitStack() as stack:
            for each in new.values():
                await stack.enter_async_context(each)
            await _first_answers(new.values())
            stack.pop_all()
        for name in [name for name in self._kept if name in new or name not in services]:
            await self._close(name)
        for name, discovery in new.items():
            self._kept[name] = (settings[name], discovery)
            self._listener.discovering(name, partial(_count, discovery))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close them all."""
        for name in list(self._kept):
            await self._close(name)

    async def _close(self, name: str) -> None:
        _, discovery = self._kept.pop(name)
        self._listener.forgotten(name)
        await discovery.__aexit__(None, None, None)

    def _make(self, service: Service) -> Discovery:
        match service.discovery.type:
            case "registry":
                return RegistryDiscovery(service, self._registry)
            case "dns":
                return self._by_dns(service)
            case "static":
                return StaticDiscovery(service)

    def _by_dns(self, service: Service) -> Discovery:
        # Imported only here, as it costs time at the start and memory.
        from dispatcher.discovery.dns_discovery import DnsDiscovery
        from dispatcher.discovery.dns_lookup import DnsLookup

        return DnsDiscovery(service, DnsLookup(self._nameservers), self._listener)


async def _first_answers(discoveries: Collection[Discovery]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            await asyncio.gather(*(each.tried() for each in discoveries))


def _count(discovery: Discovery) -> int:
    return len(discovery.instances)


def _settings(service: Service) -> _Settings:
    """What a discovery depends on."""
    return (service.discovery, service.base_url, service.instances)
