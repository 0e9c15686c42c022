"""The upstream client of the hot path: kept connections, no task and no coroutine for a call."""

import asyncio
from asyncio import AbstractEventLoop, Future, TimerHandle
from functools import cached_property
from typing import Self
from weakref import WeakValueDictionary

from broker.deadlines import Deadlines
from dispatcher.exchange import Exchange
from dispatcher.fields import request_head
from dispatcher.options import ClientTls, UpstreamOptions
from dispatcher.pool import Pool
from dispatcher.resolver import Resolver, SystemResolver
from dispatcher.tls import system_context
from dispatcher.upstream import (
    Address,
    ConnectFailed,
    ConnectionCounts,
    UpstreamError,
    UpstreamRequest,
    UpstreamResponse,
)

_SWEEP_INTERVAL = 0.5  # seconds; a connection may be idle for that much longer than it should


class _Running:
    """What a client's callers share from its start to its end."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.deadlines = Deadlines[Exchange](loop)
        self.connected: set[LeanCaller] = set()  # who has connections, even if nobody holds it


class LeanUpstreamClient:
    """The UpstreamClient on httptools' parser."""

    def __init__(self, *, resolver: Resolver | None = None) -> None:
        self.counts = ConnectionCounts()
        self.resolver = resolver or SystemResolver()
        self.running: _Running | None = None
        self._callers: WeakValueDictionary[UpstreamOptions, LeanCaller] = WeakValueDictionary()
        self._sweep_timer: TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Start closing what stays idle."""
        self.running = _Running(asyncio.get_running_loop())
        self._sweep(self.running)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Abort what is under way and close every connection."""
        running, self.running = self.running, None
        if running is None or self._sweep_timer is None:
            return
        self._sweep_timer.cancel()
        for caller in list(running.connected):
            await caller.close()
        running.deadlines.close()

    @cached_property
    def system_tls(self) -> ClientTls:
        """For https without settings: one for all, as it takes time and memory to make."""
        return ClientTls(system_context())

    def caller(self, options: UpstreamOptions) -> "LeanCaller":
        """See UpstreamClient. When nobody holds it any more, its connections expire."""
        caller = self._callers.get(options)
        if caller is None:
            caller = self._callers[options] = LeanCaller(self, options)
        return caller

    def _sweep(self, running: _Running) -> None:
        now = running.loop.time()
        for caller in list(running.connected):
            if caller.close_idle(now):
                running.connected.discard(caller)
        self._sweep_timer = running.loop.call_later(_SWEEP_INTERVAL, self._sweep, running)


class LeanCaller:
    """The Caller of one set of options: a pool for each address."""

    def __init__(self, client: LeanUpstreamClient, options: UpstreamOptions) -> None:
        self._client = client
        self._limits = options.limits
        self._tls = options.tls
        self._pools: dict[Address, Pool] = {}

    def call(
        self, address: Address, request: UpstreamRequest, timeout: float
    ) -> Future[UpstreamResponse]:
        """See Caller."""
        running = self._client.running
        if running is None:
            return _failed(ConnectFailed("the client is not open", sent=False))
        pool = self._pools.get(address) or self._add_pool(address, running)
        try:
            head = request_head(address, pool.authority, request)
        except UpstreamError as error:
            return _failed(error)
        data = head + request.body
        exchange = Exchange(
            running.loop, running.deadlines, request.method, data, timeout, request.again
        )
        pool.submit(exchange)
        return exchange

    def close_idle(self, now: float) -> bool:
        """Close what has been idle for too long by loop time; whether nothing is left."""
        for address, pool in list(self._pools.items()):
            pool.close_idle(now)
            if pool.empty:
                del self._pools[address]
        return not self._pools

    async def close(self) -> None:
        """Abort everything."""
        for pool in self._pools.values():
            await pool.close()
        self._pools.clear()

    def _add_pool(self, address: Address, running: _Running) -> Pool:
        client = self._client
        tls = (self._tls or client.system_tls) if address.scheme == "https" else None
        pool = self._pools[address] = Pool(
            address, self._limits, tls, client.resolver, client.counts
        )
        running.connected.add(self)
        return pool


def _failed(error: UpstreamError) -> Future[UpstreamResponse]:
    future: Future[UpstreamResponse] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future
