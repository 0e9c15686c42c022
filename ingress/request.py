"""A request and its response as the pipeline sees them: no socket, no server library."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from broker.messages import Headers, Principal

ReadBody = Callable[[int], Awaitable[bytes]]


class HeaderLookup(Protocol):
    """First value of a header by its name in any case, or None."""

    def get(self, name: str, /) -> str | None:
        """Look one up."""


@dataclass(slots=True, eq=False)
class Request:
    """What a client asks, as it arrived.

    ``target`` is the raw origin-form request target (path and query, not decoded). ``raw_headers``
    keep order, duplicates and spelling; ``headers`` looks them up. ``peer`` is the address of the
    other end of the connection, empty where it has none; who the client is, ingress.origin tells.
    ``read_body(limit)`` reads the whole body, once; it raises ingress.problems.Refused (413, 408,
    400). ``principal`` is set beforehand only by a caller in the same process that vouches for it.
    """

    method: str
    target: str
    raw_headers: Headers
    headers: HeaderLookup
    peer: str
    read_body: ReadBody
    scheme: str = "http"
    principal: Principal | None = None


@dataclass(slots=True, eq=False)
class Response:
    """What the client gets; ``headers`` lack only framing (Content-Length, Connection).

    ``problem`` is for metrics and logs: what it tells of, if that is an error with a name.
    """

    status: int
    headers: Headers
    body: bytes = b""
    reason: bytes = b""
    close: bool = False
    problem: str = ""
