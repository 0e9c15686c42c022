"""The connections to one address: kept for reuse, opened on demand, limited in number."""

import asyncio
from asyncio import Task, Transport
from collections import deque
from functools import partial

from dispatcher.connecting import connect_failed, open_connection
from dispatcher.exchange import Exchange
from dispatcher.http1 import Connection
from dispatcher.options import ClientTls, PoolLimits
from dispatcher.resolver import Resolver
from dispatcher.upstream import (
    Address,
    ConnectFailed,
    ConnectionCounts,
    ConnectionLost,
    TooManyCalls,
)


class Pool:
    """Hands each exchange to a connection: the one idle for the shortest time, else a new one.

    At ``max_connections`` exchanges wait in the order they came.
    """

    def __init__(
        self,
        address: Address,
        limits: PoolLimits,
        tls: ClientTls | None,
        resolver: Resolver,
        counts: ConnectionCounts,
    ) -> None:
        self.authority = address.authority
        self._address = address
        self._limits = limits
        self._tls = tls
        self._resolver = resolver
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._opening: dict[Task[tuple[Transport, Connection]], Exchange] = {}
        self._ending: dict[Connection, Exchange] = {}  # ended before anything could be sent
        self._waiting: deque[Exchange] = deque()

    @property
    def empty(self) -> bool:
        """Whether nothing is open or wanted."""
        return not (self._connections or self._opening or self._ending or self._waiting)

    def submit(self, exchange: Exchange) -> None:
        """See to it that the exchange gets a connection, or fails with ConnectFailed."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                self._counts.reused += 1
                connection.send(exchange)
                return
        if self._has_room():
            self._open_for(exchange)
        elif len(self._waiting) < self._limits.max_waiting:
            exchange.abandon = partial(self._waiting.remove, exchange)
            self._waiting.append(exchange)
        else:
            exchange.fail(TooManyCalls(f"too many calls wait for {self._address}", sent=False))

    def released(self, connection: Connection) -> None:
        """A connection has no exchange: it serves the next that waits, or is kept."""
        if self._waiting:
            self._counts.reused += 1
            connection.send(self._waiting.popleft())
        else:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)

    def closed(self, connection: Connection, unanswered: Exchange | None) -> None:
        """A connection is gone; its place goes to the exchange it left unanswered, or the next.

        What is left so had met a kept connection (RFC 9112 section 9.3.1). Whether it may be sent
        once more is asked here, and not before: that costs its service a call, which it may not be
        able to bear.
        """
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        unsent = self._ending.pop(connection, None)
        if unsent is not None and connection.ended is not None:
            self._not_connected(unsent, connection.ended)
        if unanswered is not None and unanswered.again is not None:
            if unanswered.again():
                self._counts.repeated += 1
                self._open_for(unanswered)
            else:
                unanswered.fail(ConnectionLost("the kept connection was dead", sent=True))
        self._serve_waiting()

    def unsolicited(self) -> None:
        """An upstream sent what nobody had asked for."""
        self._counts.unsolicited += 1

    def close_idle(self, now: float) -> None:
        """Close the connections that have been idle for too long; ``now`` is loop time."""
        while self._idle and now - self._idle[0].idle_since >= self._limits.idle_timeout:
            self._idle.pop(0).abort()

    async def close(self) -> None:
        """Abort everything; exchanges under way end in ConnectionLost."""
        self._close_connections()
        opening = list(self._opening)
        for exchange in (*self._waiting, *self._opening.values(), *self._ending.values()):
            if not exchange.done():
                exchange.fail(ConnectionLost("the client is closing", sent=exchange.sent))
        self._waiting.clear()
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        self._close_connections()  # one may have opened just before

    def _close_connections(self) -> None:
        for connection in list(self._connections):
            connection.fail(ConnectionLost("the client is closing", sent=True))

    def _has_room(self) -> bool:
        return len(self._connections) + len(self._opening) < self._limits.max_connections

    def _serve_waiting(self) -> None:
        while self._waiting and self._has_room():
            self._open_for(self._waiting.popleft())

    def _open_for(self, exchange: Exchange) -> None:
        make = partial(Connection, self, self._limits)
        timeout = self._limits.connect_timeout
        task = self._loop.create_task(
            open_connection(self._address, make, self._resolver, self._tls, timeout, exchange)
        )
        self._opening[task] = exchange
        exchange.abandon = task.cancel
        task.add_done_callback(self._opened)

    def _opened(self, task: Task[tuple[Transport, Connection]]) -> None:
        exchange = self._opening.pop(task)
        error = ConnectionAbortedError("given up") if task.cancelled() else task.exception()
        if error is None:
            connection = task.result()[1]
            if connection.usable:
                self._take_in(connection, exchange)
                return
            if connection.ended is None:  # TLS 1.3 refuses certificates so late: let it say why
                exchange.abandon = connection.abort
                self._ending[connection] = exchange
                return
            error = connection.ended
        self._not_connected(exchange, error)
        self._serve_waiting()

    def _not_connected(self, exchange: Exchange, error: BaseException) -> None:
        if not exchange.done():
            if not isinstance(error, ConnectFailed):
                error = connect_failed(self._address, error)
            error.sent = exchange.sent
            exchange.fail(error)

    def _take_in(self, connection: Connection, exchange: Exchange) -> None:
        self._counts.opened += 1
        self._connections.add(connection)
        if exchange.done():
            self.released(connection)
        else:
            connection.send(exchange)
