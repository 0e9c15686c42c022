"""The HTTP server of an ingress node: listens, bounds, and ends its connections.

It knows nothing of what a request is for: ``handle`` takes a Request and returns its Response.
"""

import asyncio
import socket
from typing import Self

from config.models.gateway import Limits
from ingress.connection import Connection
from ingress.heads import require_c_parser
from ingress.rendering import Renderer
from ingress.request_ids import RequestIds
from ingress.server_state import Handle, ServerListener, ServerState

_BACKLOG = 4096
_SWEEP = 1.0  # seconds between two looks for expired connections, at most


class Server:
    """Serves HTTP/1.1 (and 1.0) on one address, as an async context manager.

    Port 0 picks a free one: see ``port``. ``sock`` is a socket that listens already, for several
    processes on one port. Raises ingress.heads.MissingCParser.
    """

    def __init__(
        self,
        handle: Handle,
        limits: Limits,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        sock: socket.socket | None = None,
        listener: ServerListener | None = None,
        request_ids: RequestIds | None = None,
        renderer: Renderer | None = None,
    ) -> None:
        require_c_parser()
        self._address = (host, port)
        self._sock = sock
        self._state = ServerState(
            handle,
            limits,
            request_ids or RequestIds(),
            renderer or Renderer(),
            listener or ServerListener(),
            asyncio.get_running_loop(),
        )
        self._listening: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        """Listen. Raises OSError where the address can't be had."""
        loop, connect = self._state.loop, self._connect
        if self._sock is not None:
            listening = await loop.create_server(connect, sock=self._sock, backlog=_BACKLOG)
        else:
            listening = await loop.create_server(connect, *self._address, backlog=_BACKLOG)
        self._listening = listening
        self._port = listening.sockets[0].getsockname()[1]
        self._sweep()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the listener and every connection, now."""
        self.stop_listening()
        self.abort()
        await self.all_gone()
        if self._sweeper is not None:
            self._sweeper.cancel()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._state.connections)

    @property
    def requests(self) -> int:
        """How many are being handled."""
        return sum(connection.in_hand for connection in self._state.connections)

    def set_limits(self, limits: Limits) -> None:
        """Apply other limits to the requests that come from now on."""
        self._state.limits = limits

    # --- the end, step by step: see ingress.lifecycle -------------------------------------------

    def announce_end(self) -> None:
        """From now on every answer ends its connection."""
        self._state.draining = True

    def stop_listening(self) -> None:
        """Take no more connections, and end those that nobody uses."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for connection in list(self._state.connections):
            connection.close_if_idle()

    async def all_gone(self) -> None:
        """Return as soon as the last connection is closed."""
        state = self._state
        while state.connections:
            state.all_gone.clear()
            await state.all_gone.wait()

    def abort(self) -> None:
        """End every connection at once; requests in hand are cancelled."""
        for connection in list(self._state.connections):
            connection.abort()

    # --- connections ----------------------------------------------------------------------------

    def _connect(self) -> Connection:
        return Connection(self._state)

    def _sweep(self) -> None:
        """One timer for all connections: none is set and cancelled for each request."""
        state = self._state
        now = state.loop.time()
        for connection in list(state.connections):
            if connection.deadline <= now:
                connection.expire(now)
        limits = state.limits
        shortest = min(limits.header_timeout, limits.body_timeout, limits.keepalive_timeout)
        self._sweeper = state.loop.call_later(min(_SWEEP, shortest / 4), self._sweep)
