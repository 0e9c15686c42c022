"""Requests that the tests send."""

from collections.abc import Callable

from broker.messages import Headers
from dispatcher.upstream import UpstreamRequest


def may_be_repeated() -> bool:
    """What may be sent once more."""
    return True


GET = UpstreamRequest("GET", "/things?q=1", ((b"Accept", b"*/*"),), b"", may_be_repeated)
HEAD = UpstreamRequest("HEAD", "/things", (), b"", may_be_repeated)
POST = UpstreamRequest("POST", "/things", ((b"Content-Type", b"text/plain"),), b"payload")


def request(
    method: str = "GET",
    target: str = "/",
    headers: Headers = (),
    body: bytes = b"",
    again: Callable[[], bool] | None = None,
) -> UpstreamRequest:
    """A request of which only what matters is given."""
    return UpstreamRequest(
        method, target, headers, body, again or (None if method == "POST" else may_be_repeated)
    )
