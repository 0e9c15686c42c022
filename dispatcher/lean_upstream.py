"""The upstream client of the hot path: kept connections, no task and no coroutine for a call."""

import asyncio
import ssl
from asyncio import Future, TimerHandle
from typing import Self

from broker.deadlines import Deadlines
from dispatcher.exchange import Exchange
from dispatcher.fields import request_head
from dispatcher.pool import Pool, PoolLimits
from dispatcher.upstream import (
    Address,
    ConnectFailed,
    ConnectionCounts,
    UpstreamError,
    UpstreamRequest,
    UpstreamResponse,
)

_SWEEPS_PER_IDLE_TIMEOUT = 8


class LeanUpstreamClient:
    """The UpstreamClient on httptools' parser.

    ``tls`` serves https addresses; by default it trusts the system's authorities.
    """

    def __init__(
        self, *, limits: PoolLimits | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.counts = ConnectionCounts()
        self._limits = limits or PoolLimits()
        self._tls = tls or ssl.create_default_context()
        self._pools: dict[Address, Pool] = {}
        self._loop: asyncio.AbstractEventLoop
        self._sweep_timer: TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Start closing what stays idle."""
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines[Exchange](self._loop)
        self._sweep()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Abort what is under way and close every connection."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._sweep_timer = None
        for pool in self._pools.values():
            await pool.close()
        self._pools.clear()
        self._deadlines.close()

    def call(
        self, address: Address, request: UpstreamRequest, timeout: float
    ) -> Future[UpstreamResponse]:
        """See UpstreamClient."""
        if self._sweep_timer is None:
            return self._failed(ConnectFailed("the client is not open", sent=False))
        pool = self._pools.get(address) or self._add_pool(address)
        try:
            head = request_head(address, pool.authority, request)
        except UpstreamError as error:
            return self._failed(error)
        data = head + request.body
        exchange = Exchange(self._loop, self._deadlines, request.method, data, timeout)
        pool.submit(exchange)
        return exchange

    def _add_pool(self, address: Address) -> Pool:
        tls = self._tls if address.scheme == "https" else None
        pool = self._pools[address] = Pool(address, self._limits, tls, self.counts)
        return pool

    def _failed(self, error: UpstreamError) -> Future[UpstreamResponse]:
        future: Future[UpstreamResponse] = asyncio.get_running_loop().create_future()
        future.set_exception(error)
        return future

    def _sweep(self) -> None:
        now = self._loop.time()
        for address, pool in list(self._pools.items()):
            pool.close_idle(now)
            if pool.empty:
                del self._pools[address]
        interval = self._limits.idle_timeout / _SWEEPS_PER_IDLE_TIMEOUT
        self._sweep_timer = self._loop.call_later(interval, self._sweep)
