"""How workers reach the instances that they probe: exactly as dispatchers do.

Workers and dispatchers know nothing of each other; this is built here, under the roof of both.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

from broker.problems import ProxyError
from config.models.services import Service
from dispatcher.discovery.discoveries import Discoveries
from dispatcher.discovery.registry import Registry
from dispatcher.options import ClientTls
from dispatcher.resolver import SystemResolver
from dispatcher.service_discovery import Instance
from dispatcher.status_probe import status_of
from dispatcher.tls import TlsContexts, system_context
from dispatcher.upstream import ConnectTimedOut, UpstreamError
from workers.probe import Outcome, Result, Targets

AT_ONCE = 256
_OF_TLS = (
    ProxyError.TLS_ALERT_RECEIVED,
    ProxyError.TLS_CERTIFICATE_ERROR,
    ProxyError.TLS_PROTOCOL_ERROR,
)

Instances = Callable[[], Sequence[Instance]]  # those known now


class Finding(Protocol):
    """Knows where the instances of services are."""

    @property
    def failing(self) -> Mapping[str, bool]:
        """Of each service whose name it looks up itself, whether that fails at the moment."""

    def follow(self, service: Service) -> AbstractAsyncContextManager[Instances]:
        """Know those of a service for as long as it is entered."""


class FoundByDispatcher:
    """See Finding: what this process' dispatcher has found is not looked up twice.

    ``known`` gives the instances that it knows of a service.
    """

    failing: Mapping[str, bool] = {}

    def __init__(self, known: Callable[[str], Sequence[Instance]]) -> None:
        self._known = known

    @asynccontextmanager
    async def follow(self, service: Service) -> AsyncIterator[Instances]:
        """Nothing has to be begun for it."""
        yield partial(self._known, service.name)


class FoundAlone:
    """See Finding: for a process without a dispatcher.

    A service is followed while it is probed, and no longer: who stands by asks neither DNS nor the
    registry anything.
    """

    def __init__(self, registry: Registry, nameservers: Sequence[tuple[str, int]]) -> None:
        self._registry = registry
        self._nameservers = nameservers
        self._followed: set[Discoveries] = set()

    @property
    def failing(self) -> Mapping[str, bool]:
        """Those of all that are followed."""
        return {name: is_so for each in self._followed for name, is_so in each.failing.items()}

    @asynccontextmanager
    async def follow(self, service: Service) -> AsyncIterator[Instances]:
        """Begin when the first instances are known, or after a moment."""
        async with Discoveries(self._registry, self._nameservers) as discoveries:
            await discoveries.use({service.name: service})
            self._followed.add(discoveries)
            try:
                yield partial(discoveries.instances, service.name)
            finally:
                self._followed.discard(discoveries)


class Probing:
    """GET, passed by any 2xx, by the address, the name and the TLS that calls have.

    At most ``at_once`` probes are under way; whoever waits for that has its whole timeout still
    before it.
    """

    def __init__(self, finding: Finding, tls: TlsContexts, at_once: int = AT_ONCE) -> None:
        self._finding = finding
        self._contexts = tls
        self._tls: Mapping[str, ClientTls | None] = {}
        self._resolver = SystemResolver()
        self._free = asyncio.Semaphore(at_once)

    def use(self, services: Mapping[str, Service]) -> None:
        """Go over to the TLS that these services have, renewed where files have changed.

        Raises ConfigError where files are not as they were checked; then nothing has changed.
        """
        self._tls = self._contexts.of(services)

    @asynccontextmanager
    async def follow(self, service: Service) -> AsyncIterator[Targets]:
        """The instances of a service, to be asked."""
        async with self._finding.follow(service) as instances:
            yield lambda: [_Target(self, service, instance) for instance in instances()]

    async def probe(
        self, service: Service, instance: Instance, path: str, timeout: float
    ) -> Result:
        """Ask once; see Target."""
        address = instance.address
        tls = self._tls_of(service) if address.scheme == "https" else None
        patience = service.connections.connect_timeout
        async with self._free:
            try:
                async with asyncio.timeout(timeout):
                    status = await status_of(address, path, self._resolver, tls, patience)
            except TimeoutError:
                return Result(Outcome.TIMEOUT, f"no answer within {timeout:g} s")
            except UpstreamError as error:
                return Result(_outcome(error), str(error))
        return Result(Outcome.PASSED if 200 <= status < 300 else Outcome.STATUS, str(status))

    def _tls_of(self, service: Service) -> ClientTls:
        return self._tls.get(service.name) or self._system_tls

    @cached_property
    def _system_tls(self) -> ClientTls:
        """Made only if it is needed, as it takes time and memory."""
        return ClientTls(system_context())


def _outcome(error: UpstreamError) -> Outcome:
    if isinstance(error, ConnectTimedOut):
        return Outcome.TIMEOUT
    return Outcome.TLS if error.proxy_error in _OF_TLS else Outcome.UNREACHABLE


@dataclass(frozen=True, slots=True)
class _Target:
    """See workers.probe.Target."""

    probing: Probing
    service: Service
    instance: Instance

    @property
    def name(self) -> str:
        return self.instance.name

    async def probe(self, path: str, timeout: float) -> Result:
        return await self.probing.probe(self.service, self.instance, path, timeout)
