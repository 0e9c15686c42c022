"""Instances that report to this process, and are known to it alone."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Self

from dispatcher.discovery.registration import Lease
from dispatcher.discovery.registry import MOST_INSTANCES, Following, OnLeases, RegistryFull


class EmbeddedRegistry:
    """See Registry. A lease ends by a timer of its own."""

    state = None
    ready = True

    def __init__(self) -> None:
        self._kept: defaultdict[str, dict[str, tuple[Lease, asyncio.TimerHandle]]]
        self._kept = defaultdict(dict)
        self._followers: defaultdict[str, list[OnLeases]] = defaultdict(list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for followers in self._followers.values():
            followers.clear()
        for leases in self._kept.values():
            for _, timer in leases.values():
                timer.cancel()
        self._kept.clear()

    async def available(self) -> None:
        """It always is."""

    async def register(self, service: str, lease: Lease) -> bool:
        """Keep an instance."""
        leases = self._kept[service]
        before = leases.get(lease.url)
        if before is not None:
            before[1].cancel()
        elif len(leases) >= MOST_INSTANCES:
            raise RegistryFull
        end = partial(self._let_go, service, lease.url)
        timer = asyncio.get_running_loop().call_later(lease.ttl, end)
        leases[lease.url] = (lease, timer)
        if before is None or before[0] != lease:
            self._tell(service)
        return before is None

    async def remove(self, service: str, url: str) -> bool:
        """Let an instance go."""
        return self._let_go(service, url)

    async def registered(self, service: str) -> Sequence[Lease]:
        """Those that are kept."""
        return self._leases_of(service)

    def follow(self, service: str, on_leases: OnLeases) -> Following:
        """Tell all leases, now and after each change."""
        followers = self._followers[service]
        followers.append(on_leases)
        on_leases(self._leases_of(service))
        tried = asyncio.Event()
        tried.set()
        return Following(tried, partial(followers.remove, on_leases))

    def _let_go(self, service: str, url: str) -> bool:
        kept = self._kept[service].pop(url, None)
        if kept is None:
            return False
        kept[1].cancel()
        self._tell(service)
        return True

    def _tell(self, service: str) -> None:
        for on_leases in self._followers[service]:
            on_leases(self._leases_of(service))

    def _leases_of(self, service: str) -> tuple[Lease, ...]:
        leases = self._kept[service]
        return tuple(leases[url][0] for url in sorted(leases))
