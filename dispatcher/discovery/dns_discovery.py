"""The instances of a service as DNS has them, looked up again whenever their time has run out.

What is known stays while nothing better is: a lookup that fails, or finds nothing, changes nothing.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol, Self

from config.models.services import Service
from dispatcher.discovery.changes import described
from dispatcher.discovery.dns_lookup import Endpoint, Found, LookupFailed
from dispatcher.discovery.listener import DiscoveryListener
from dispatcher.service_discovery import Instance, ServiceDiscovery
from dispatcher.upstream import Address

log = logging.getLogger(__name__)

Sleep = Callable[[float], Awaitable[None]]

MOST_INSTANCES = 1000
SHORTEST_TTL = 1.0  # seconds; a TTL of 0 must not become a flood of queries
LONGEST_TTL = 300.0  # a wrong one must not keep what is gone
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds after failed lookups


class Lookup(Protocol):
    """Finds what DNS has."""

    async def find(self, name: str, record: str | None) -> Found:
        """See DnsLookup."""


class DnsDiscovery:
    """Follows one name; an async context manager. ``endpoints`` are those that it had last.

    ``jitter`` gives numbers from 0 to 1, so that dispatchers do not all ask at the same time.
    """

    def __init__(
        self,
        service: Service,
        lookup: Lookup,
        listener: DiscoveryListener,
        *,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.instances: Sequence[Instance] = ()
        self.endpoints: Sequence[Endpoint] = ()
        self._service = service.name
        base = service.base_url
        self._base = Address.parse(str(base)) if base else Address("http", "", 80)
        self.name = service.discovery.name or self._base.host
        self._record = service.discovery.record
        self._lookup = lookup
        self._listener = listener
        self._sleep = sleep
        self._jitter = jitter
        self._failures = 0
        self._told = ""  # the reason that the log has
        self._tried = asyncio.Event()

    def take_over(self, before: ServiceDiscovery) -> None:
        """Until DNS answers, the addresses of the same name serve as they are to be called now.

        Another name, or none, may lead elsewhere: then instances stay as they were called before.
        """
        if isinstance(before, DnsDiscovery) and before.name == self.name:
            self.endpoints = before.endpoints
        self.instances = self._instances()[:MOST_INSTANCES] or before.instances

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def tried(self) -> None:
        """Wait until the first lookup has ended."""
        await self._tried.wait()

    @property
    def failing(self) -> bool:
        """Whether the last lookup failed, or none has ended yet."""
        return self._failures > 0 or not self._tried.is_set()

    async def _follow(self) -> None:
        while True:
            pause = await self._refresh()
            self._tried.set()
            await self._sleep(pause)

    async def _refresh(self) -> float:
        """Look it up; how many seconds to wait before the next time."""
        try:
            found = await self._lookup.find(self.name, self._record)
        except LookupFailed as error:
            self._failed(error.reason, str(error))
        except Exception as error:  # a fault of the library's must not end discovery
            self._failed("error", repr(error))
        else:
            self._use(found)
            ttl = min(max(found.ttl, SHORTEST_TTL), LONGEST_TTL)
            return ttl * (1 + self._jitter() / 10)
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10))
        return pause * (1 + self._jitter()) / 2

    def _failed(self, reason: str, detail: str) -> None:
        self._failures += 1
        self._listener.lookup_failed(self._service, reason)
        if self._told != reason:
            self._told = reason
            log.warning(
                "DNS has no instances of %s (%s), the %d known ones stay: %s",
                self._service,
                reason,
                len(self.instances),
                detail,
            )

    def _use(self, found: Found) -> None:
        if self._failures:
            log.warning("DNS has instances of %s again", self._service)
        self._failures, self._told = 0, ""
        self.endpoints = found.endpoints
        all_found = self._instances()
        instances = all_found[:MOST_INSTANCES]
        if instances == self.instances:
            return
        changes = described(self.instances, instances)
        self.instances = instances
        log.info("DNS has %d instances of %s; %s", len(all_found), self._service, changes)
        if len(all_found) > MOST_INSTANCES:
            log.warning("only %d instances of %s are used", MOST_INSTANCES, self._service)

    def _instances(self) -> tuple[Instance, ...]:
        """In one order, as answers come in turning order."""
        by_name = {each.name: each for each in map(self._instance, self.endpoints)}
        return tuple(by_name[name] for name in sorted(by_name))

    def _instance(self, endpoint: Endpoint) -> Instance:
        """At that IP address; Host and certificate are of ``base_url``, or of the SRV target."""
        port = endpoint.port or self._base.port
        at = replace(self._base, host=endpoint.ip, port=port)
        host = self._base.host or endpoint.target
        return Instance(str(at), replace(at, host=host, ip=endpoint.ip), endpoint.weight)
