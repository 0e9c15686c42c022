"""How one service wants to be connected to."""

import ssl
from dataclasses import dataclass
from typing import Self

from config.models.services import Service


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of the connections to one address, and of one response on them.

    ``max_waiting`` counts calls that wait for a connection. Times are seconds. ``idle_timeout``:
    the default stays below the shortest keep-alive that servers commonly have (5 s), so that
    requests seldom meet a connection that is being closed. ``connect_timeout`` is for the name, the
    connection and its TLS together; ``read_timeout`` the longest silence of an upstream that has
    the whole request, None for as long as the call has. ``max_response`` is bytes of body.
    """

    max_connections: int = 256
    max_waiting: int = 1024
    idle_timeout: float = 4.0
    connect_timeout: float = 5.0
    read_timeout: float | None = None
    max_response: int = 10 * 1024**2


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How https instances are met: by which context, and under which name if not the address's.

    Two are the same when their contexts are the same object.
    """

    context: ssl.SSLContext
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """All of it; without ``tls`` the system's authorities are trusted."""

    limits: PoolLimits = PoolLimits()
    tls: ClientTls | None = None

    @classmethod
    def of(cls, service: Service, tls: ClientTls | None) -> Self:
        """What the configuration of a service says, and the context made for it."""
        given = service.connections
        limits = PoolLimits(
            max_connections=given.limit,
            max_waiting=given.max_waiting,
            idle_timeout=given.idle_timeout,
            connect_timeout=given.connect_timeout,
            read_timeout=given.read_timeout,
            max_response=service.max_response,
        )
        return cls(limits, tls)
