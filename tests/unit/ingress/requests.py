"""Requests as the server hands them over."""

from multidict import CIMultiDict

from broker.messages import Headers
from ingress.request import Request


def make_request(
    method: str = "GET",
    target: str = "/",
    headers: Headers = ((b"Host", b"gateway.example"),),
    *,
    peer: str = "192.0.2.1",
    scheme: str = "http",
    body: bytes = b"",
) -> Request:
    """One with those raw headers; its body is there at once."""

    async def read_body(limit: int) -> bytes:
        return body

    lookup = CIMultiDict((name.decode(), value.decode("latin-1")) for name, value in headers)
    return Request(method, target, headers, lookup, peer, read_body, scheme)
