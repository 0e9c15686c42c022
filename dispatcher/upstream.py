"""What calling an upstream means, whichever client does it."""

from asyncio import Future
from dataclasses import dataclass
from typing import Protocol, Self
from urllib.parse import urlsplit

import msgspec

from broker.messages import Headers

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where an instance listens; ``base_path`` (``/a/b``, or empty) goes before every target.

    ``ip`` is where to connect, if ``host`` has been looked up already; Host field, SNI and the name
    in the certificate remain those of ``host``.
    """

    scheme: str
    host: str
    port: int
    base_path: str = ""
    ip: str = ""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read ``http[s]://host[:port][/base]``. Raises ValueError for anything else."""
        parts = urlsplit(url)
        default_port = _DEFAULT_PORTS.get(parts.scheme)
        if default_port is None or not parts.hostname:
            raise ValueError(f"not an http or https URL with a host: {url!r}")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"an address has no query, fragment or credentials: {url!r}")
        return cls(parts.scheme, parts.hostname, parts.port or default_port, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """The value of the Host field: IPv6 in brackets, the scheme's default port left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.base_path}"


class UpstreamRequest(msgspec.Struct, frozen=True, gc=False):
    """One request, ready to send.

    ``target`` is path and query, begins with ``/`` and is relative to the address's base path.
    ``headers`` are complete but for Host and Content-Length, which the client sets.
    """

    method: str
    target: str
    headers: Headers
    body: bytes


class UpstreamResponse(msgspec.Struct, frozen=True, gc=False):
    """One final response: hop-by-hop and framing fields are taken off, all else is as it came.

    The answer to a HEAD keeps its Content-Length.
    """

    status: int
    reason: bytes
    headers: Headers
    body: bytes


class UpstreamError(Exception):
    """A call got no response; ``sent``: whether the upstream may have seen any of the request."""

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.sent = sent


class InvalidRequest(UpstreamError):
    """The request can't be written as HTTP/1.1 without changing its meaning; never sent."""


class ConnectFailed(UpstreamError):
    """No connection: refused, unknown host, failed TLS handshake, too many calls waiting.

    Sent only where a kept connection had been lost before.
    """


class ConnectionLost(UpstreamError):
    """The connection ended before the response was complete."""


class ProtocolError(UpstreamError):
    """What came back is no HTTP/1.1 response."""


class ResponseTooLarge(UpstreamError):
    """The header block or the body is over its limit."""


class UpstreamTimeout(UpstreamError):
    """The time of the call ran out: waiting for a connection, connecting, writing or reading."""


@dataclass(slots=True)
class ConnectionCounts:
    """What a client did since it was made: connections opened, and requests sent on kept ones."""

    opened: int = 0
    reused: int = 0


class UpstreamClient(Protocol):
    """Calls upstreams; an async context manager that owns the connections."""

    @property
    def counts(self) -> ConnectionCounts:
        """For metrics."""

    async def __aenter__(self) -> Self:
        """Start; the client belongs to the running loop."""

    async def __aexit__(self, *exc_info: object) -> None:
        """Abort what is under way (ConnectionLost) and close every connection."""

    def call(
        self, address: Address, request: UpstreamRequest, timeout: float
    ) -> Future[UpstreamResponse]:
        """Send a request; the future ends in its response or in an UpstreamError.

        ``timeout`` is seconds for all: waiting for a connection, connecting, writing, reading.
        Cancelling the future aborts the exchange and closes its connection. A method that is
        idempotent (RFC 9110 section 9.2.2) is sent once more, on a fresh connection, when a kept
        connection turns out to be dead.
        """
