"""One GET on a connection of its own, of which nothing but the status is wanted.

A kept connection, as calls use them, would show less: whoever is asked must still take new ones.
And the end of an answer need not be waited for.
"""

import asyncio
from asyncio import Future
from typing import cast

from httptools import HttpParserError, HttpResponseParser

from broker.messages import Headers
from broker.problems import ProxyError
from dispatcher.connecting import cause, open_connection
from dispatcher.fields import MAX_HEAD_BYTES, check_protocol, check_size, check_status, request_head
from dispatcher.options import ClientTls
from dispatcher.resolver import Resolver
from dispatcher.upstream import (
    Address,
    ConnectionLost,
    ProtocolError,
    ResponseTooLarge,
    UpstreamError,
    UpstreamRequest,
)

_HEADERS: Headers = (
    (b"User-Agent", b"api-gateway-health-check"),
    (b"Accept", b"*/*"),
    (b"Connection", b"close"),
)


async def status_of(
    address: Address, target: str, resolver: Resolver, tls: ClientTls | None, connect_timeout: float
) -> int:
    """The status of the final response; its body is left unread. Redirects are not followed.

    ``tls`` is for https; ``connect_timeout`` is seconds. The answer has no deadline but the
    caller's: cancelling closes the connection. Raises UpstreamError.
    """
    request = UpstreamRequest("GET", target, _HEADERS, b"")
    reader = _StatusReader(request_head(address, address.authority, request))
    transport, _ = await open_connection(
        address, lambda: reader, resolver, tls, connect_timeout, reader
    )
    try:
        return await reader.status
    finally:
        transport.abort()


class _StatusReader(asyncio.Protocol):
    """Writes a request, and reads as far as to the end of the final response's header block."""

    late = ProxyError.CONNECTION_TIMEOUT

    def __init__(self, head: bytes) -> None:
        self.status: Future[int] = asyncio.get_running_loop().create_future()
        self._head = head
        self._parser = HttpResponseParser(self)
        self._came = b""
        self._interim = 0
        self._reason = b""
        self._fields: list[tuple[bytes, bytes]] = []

    # --- called by the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._head)

    def data_received(self, data: bytes) -> None:
        if self.status.done():
            return
        self._came += data
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            raised = error.__context__  # by a callback, if it was one
            if not isinstance(raised, UpstreamError):
                raised = ProtocolError(str(error), sent=True)
            self._fail(raised)
        if len(self._came) > MAX_HEAD_BYTES:
            self._fail(ResponseTooLarge("too much before the answer", sent=True))

    def connection_lost(self, exc: Exception | None) -> None:
        detail = "the connection ended before the answer"
        if exc is None:
            self._fail(ConnectionLost(detail, sent=True))
        else:  # TLS 1.3 refuses client certificates that late
            self._fail(ConnectionLost(f"{detail}: {exc}", sent=True, proxy_error=cause(exc)))

    # --- called by the parser ---

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        if self.status.done():
            return
        status = self._parser.get_status_code()
        check_status(status, self._parser.get_http_version(), self._reason)
        check_size(self._fields)
        self._fields = []
        self._reason = b""
        if status < 200:
            self._interim += 1
            return
        check_protocol(self._came, self._interim)
        self.status.set_result(status)

    def _fail(self, error: UpstreamError) -> None:
        if not self.status.done():
            self.status.set_exception(error)
            self.status.exception()  # nobody may be waiting for it any more
