"""What calling an upstream means, whichever client does it."""

import re
from asyncio import Future
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self
from urllib.parse import urlsplit

import msgspec

from broker.messages import Headers
from broker.problems import ProxyError
from dispatcher.options import UpstreamOptions

_VISIBLE = re.compile(r"[!-\[\]-~]*")  # ASCII, without a backslash, which some read as a slash
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
        if not _VISIBLE.fullmatch(url):  # of which urlsplit leaves some out without a word
            raise ValueError(f"an address is of visible ASCII characters, no backslash: {url!r}")
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
    ``headers`` are complete but for Host and Content-Length, which the client sets. ``again`` is
    asked when a kept connection turns out to be dead: may the request be sent once more? Without
    it, it may not.
    """

    method: str
    target: str
    headers: Headers
    body: bytes
    again: Callable[[], bool] | None = None


class UpstreamResponse(msgspec.Struct, frozen=True, gc=False):
    """One final response: hop-by-hop and framing fields are taken off, all else is as it came.

    The answer to a HEAD keeps its Content-Length.
    """

    status: int
    reason: bytes
    headers: Headers
    body: bytes


class UpstreamError(Exception):
    """A call got no response.

    ``sent``: whether the upstream may have seen any of the request. ``proxy_error``: the cause, in
    the words of RFC 9209.
    """

    proxy_error = ProxyError.PROXY_INTERNAL_ERROR

    def __init__(self, detail: str, *, sent: bool, proxy_error: ProxyError | None = None) -> None:
        super().__init__(detail)
        self.sent = sent
        if proxy_error is not None:
            self.proxy_error = proxy_error


class InvalidRequest(UpstreamError):
    """The request can't be written as HTTP/1.1 without changing its meaning; never sent."""

    proxy_error = ProxyError.HTTP_REQUEST_ERROR


class ConnectFailed(UpstreamError):
    """No connection: refused, unknown host, failed TLS handshake.

    Sent only where a kept connection had been lost before.
    """


class ConnectTimedOut(ConnectFailed):
    """Finding the address and connecting took longer than ``connect_timeout``."""

    proxy_error = ProxyError.CONNECTION_TIMEOUT


class TooManyCalls(ConnectFailed):
    """Every connection is in use, and as many calls wait for one as may."""

    proxy_error = ProxyError.CONNECTION_LIMIT_REACHED


class ConnectionLost(UpstreamError):
    """The connection ended before the response was complete."""

    proxy_error = ProxyError.CONNECTION_TERMINATED


class ProtocolError(UpstreamError):
    """What came back is no HTTP/1.1 response."""

    proxy_error = ProxyError.HTTP_PROTOCOL_ERROR


class ResponseTooLarge(UpstreamError):
    """More header fields, or trailers, or interim responses came than any good answer has."""

    proxy_error = ProxyError.HTTP_RESPONSE_HEADER_SECTION_SIZE


class BodyTooLarge(ResponseTooLarge):
    """The body is over the limit that the operator has set for this service."""

    proxy_error = ProxyError.HTTP_RESPONSE_BODY_SIZE


class UpstreamTimeout(UpstreamError):
    """The time of the call ran out: waiting for a connection, connecting, writing or reading.

    Or the upstream was silent for longer than ``read_timeout``.
    """

    proxy_error = ProxyError.HTTP_RESPONSE_TIMEOUT


@dataclass(slots=True)
class ConnectionCounts:
    """What a client did since it was made.

    Connections opened; requests sent on kept ones; requests sent once more because a kept
    connection was dead; kept connections closed because of bytes that nobody had asked for.
    """

    opened: int = 0
    reused: int = 0
    repeated: int = 0
    unsolicited: int = 0


class Caller(Protocol):
    """Calls the instances of one service, in the way that its options say."""

    def call(
        self, address: Address, request: UpstreamRequest, timeout: float
    ) -> Future[UpstreamResponse]:
        """Send a request; the future ends in its response or in an UpstreamError.

        ``timeout`` is seconds for all: waiting for a connection, connecting, writing, reading.
        Cancelling the future aborts the exchange and closes its connection. A request that may be
        is sent once more, on a fresh connection, when a kept one ends without a byte of an answer.
        """


class UpstreamClient(Protocol):
    """Makes callers; an async context manager that owns their connections."""

    @property
    def counts(self) -> ConnectionCounts:
        """For metrics."""

    async def __aenter__(self) -> Self:
        """Start; the client belongs to the running loop."""

    async def __aexit__(self, *exc_info: object) -> None:
        """Abort what is under way (ConnectionLost) and close every connection."""

    def caller(self, options: UpstreamOptions) -> Caller:
        """The one for these options; it shares no connection with those of other options."""
