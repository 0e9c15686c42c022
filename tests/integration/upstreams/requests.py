"""Requests that the tests send."""

from broker.messages import Headers
from dispatcher.upstream import UpstreamRequest

GET = UpstreamRequest("GET", "/things?q=1", ((b"Accept", b"*/*"),), b"")
HEAD = UpstreamRequest("HEAD", "/things", (), b"")
POST = UpstreamRequest("POST", "/things", ((b"Content-Type", b"text/plain"),), b"payload")


def request(
    method: str = "GET", target: str = "/", headers: Headers = (), body: bytes = b""
) -> UpstreamRequest:
    """A request of which only what matters is given."""
    return UpstreamRequest(method, target, headers, body)
