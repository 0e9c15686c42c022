"""One HTTP/1.1 connection to an upstream: a request is written, its response read (RFC 9112).

llhttp, through httptools, parses. It leaves three things to its caller: the answer to a HEAD has no
body whatever its header says, a response without framing ends with the connection, and bytes that
nobody asked for must never become the answer to a later request. Its other protocols are refused.
"""

import asyncio
import ssl
from typing import Protocol, cast

from httptools import HttpParserError, HttpResponseParser

from broker.messages import Headers
from broker.problems import ProxyError
from dispatcher.connecting import cause
from dispatcher.exchange import Exchange
from dispatcher.fields import (
    MAX_HEAD_BYTES,
    MAX_HEAD_FIELDS,
    MAX_OVERHEAD,
    body_too_large,
    check_protocol,
    check_size,
    check_status,
    end_to_end,
)
from dispatcher.options import PoolLimits
from dispatcher.silence import Silence
from dispatcher.upstream import (
    ConnectionLost,
    ProtocolError,
    ResponseTooLarge,
    UpstreamError,
    UpstreamResponse,
    UpstreamTimeout,
)

_WITHOUT_BODY = frozenset({204, 304})
_FRAMING = 5  # bytes that a chunk has beside its data, at the least
_NO_ANSWER_YET = ProxyError.HTTP_RESPONSE_TIMEOUT


class _Surplus(Exception):
    """There is more than the response that was asked for; stops the parser, never seen outside."""


class Owner(Protocol):
    """Who keeps the connection between exchanges."""

    def released(self, connection: "Connection") -> None:
        """The exchange is over, the connection can take the next one."""

    def unsolicited(self) -> None:
        """Bytes came while there was no exchange: the connection will be closed."""

    def closed(self, connection: "Connection", unanswered: Exchange | None) -> None:
        """The connection is gone. ``unanswered`` may be sent once more, on a fresh connection."""


class Connection(asyncio.Protocol):
    """A connection that serves one exchange at a time.

    ``idle_since`` is loop time, set by the owner; ``ended`` why the connection is gone, once it is
    and no exchange has been told.
    """

    _transport: asyncio.Transport

    # The response under way, reset for each request:
    _silent: bool  # not a byte of it has come
    _unparsed: int  # bytes since the last visible progress
    _head: bytes  # all that came before the header block of the final response was whole
    _interim: int  # responses in it that were not the final one
    _received: list[tuple[bytes, bytes]]
    _status: int  # 0 until the header block of the final response is whole
    _reason: bytes
    _headers: Headers
    _body: bytes | bytearray
    _chunks: int
    _until_close: bool
    _complete: bool
    _keep_alive: bool

    def __init__(self, owner: Owner, limits: PoolLimits) -> None:
        self.idle_since = 0.0
        self.ended: Exception | None = None
        self._owner = owner
        self._max_response = limits.max_response
        self._read_timeout = limits.read_timeout
        self._silence: Silence | None = None
        self._parser = HttpResponseParser(self)
        self._open = False
        self._kept = False  # an earlier exchange has used this connection
        self._exchange: Exchange | None = None
        self._start_response()

    @property
    def usable(self) -> bool:
        """Whether the next request can be written."""
        return self._open and not self._transport.is_closing()

    def send(self, exchange: Exchange) -> None:
        """Write a request; its response, or an error, ends the exchange."""
        self._exchange = exchange
        exchange.abandon = self.abort
        exchange.sent = True
        exchange.late = _NO_ANSWER_YET
        self._start_response()
        self._transport.write(exchange.data)
        if self._silence is not None:
            self._silence.begin()

    def abort(self) -> None:
        """Close now; an exchange under way is forgotten, for it has ended already."""
        self._exchange = None
        self._open = False
        self._body = b""
        self._transport.abort()

    def fail(self, error: UpstreamError) -> None:
        """Close now; an exchange under way ends in the error."""
        exchange = self._exchange
        self.abort()
        if exchange is not None:
            exchange.fail(error)

    # --- called by the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands (and TLS, where there is any)."""
        self._transport = cast(asyncio.Transport, transport)
        self._open = True
        if self._read_timeout is not None:
            self._silence = Silence(
                asyncio.get_running_loop(),
                self._read_timeout,
                self._transport,
                due=lambda: self._exchange is not None,
                on_silence=self._too_silent,
            )

    def data_received(self, data: bytes) -> None:
        """Bytes came: of the response, or of something nobody asked for."""
        exchange = self._exchange
        if exchange is None:
            if self._open:  # else it is being closed already
                self._owner.unsolicited()
            self.abort()
            return
        if self._silence is not None:
            self._silence.heard()
        self._silent = False
        self._unparsed += len(data)
        if not self._status:
            self._head += data
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            if not self._complete:
                self.fail(_as_upstream_error(error))
                return
            self._keep_alive = False
        if self._complete:
            if exchange.is_head:
                self._leave_bodiless(data)
            self._finish(exchange)
        elif self._unparsed > MAX_HEAD_BYTES:
            self.fail(ResponseTooLarge("too much that is no body", sent=True))

    def eof_received(self) -> None:
        """The upstream closed its side; that completes a response without framing."""
        self._open = False
        if self._exchange is not None and self._until_close:
            self._finish(self._exchange)
        else:
            self._transport.abort()  # else it would first wait for the rest of the request to leave

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._open = False
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            self.ended = exc or ConnectionResetError("closed at once")
            self._owner.closed(self, None)
        elif self._kept and self._silent and exchange.repeatable:
            exchange.abandon = None
            self._owner.closed(self, exchange)
        else:
            exchange.fail(self._lost(exc))
            self._owner.closed(self, None)

    # --- called by the parser ---

    def on_message_begin(self) -> None:
        """A status line begins."""
        if self._complete:
            raise _Surplus

    def on_status(self, reason: bytes) -> None:
        """The reason phrase, or a piece of it."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the header block, or of the trailers, which are only counted."""
        self._received.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """The header block is whole: interim responses are skipped, a final one is taken."""
        status = self._parser.get_status_code()
        check_status(status, self._parser.get_http_version(), self._reason)
        if self._unparsed > MAX_HEAD_BYTES or len(self._received) > MAX_HEAD_FIELDS:
            check_size(self._received)
        if status < 200:
            self._received.clear()
            self._reason = b""
            self._interim += 1
            return
        check_protocol(self._head, self._interim)
        self._head = b""
        exchange = cast(Exchange, self._exchange)
        self._headers, hop = end_to_end(self._received, keep_length=exchange.is_head)
        self._status = status
        self._received = []
        self._unparsed = 0
        if exchange.is_head:
            self.on_message_complete()
        elif status not in _WITHOUT_BODY and b"transfer-encoding" not in hop:
            self._expect_length(hop.get(b"content-length"))

    def on_chunk_header(self) -> None:
        """A chunk begins.

        Framing may outweigh the data only so far: a flood of tiny chunks would hold the loop.
        """
        if self._complete:
            raise _Surplus
        self._chunks += 1
        if self._chunks * _FRAMING > MAX_OVERHEAD + len(self._body):
            raise ProtocolError("the chunks of the response are too small", sent=True)

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self._complete:
            raise _Surplus
        if not self._status:
            raise ProtocolError("an interim response with a body", sent=True)
        self._unparsed = 0
        if not self._body:
            self._body = data
        elif isinstance(self._body, bytearray):
            self._body += data
        else:
            self._body = bytearray(self._body) + data
        if len(self._body) > self._max_response:
            raise body_too_large()

    def on_message_complete(self) -> None:
        """The message is whole, trailers included."""
        if self._status:
            if self._received:
                check_size(self._received)
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()

    # --- one response ---

    def _lost(self, reason: Exception | None) -> ConnectionLost:
        detail = "the connection ended " + ("before" if self._silent else "within")
        if isinstance(reason, ssl.SSLError):  # a client certificate is often refused that late
            error, detail = cause(reason), f"{reason}: {detail}"
        elif self._silent:
            error = ProxyError.CONNECTION_TERMINATED
        else:
            error = ProxyError.HTTP_RESPONSE_INCOMPLETE
        return ConnectionLost(f"{detail} the response", sent=True, proxy_error=error)

    def _too_silent(self) -> None:
        error = ProxyError.CONNECTION_READ_TIMEOUT
        detail = f"silent for {self._read_timeout:g} s"
        self.fail(UpstreamTimeout(detail, sent=True, proxy_error=error))

    def _start_response(self) -> None:
        self._silent = True
        self._unparsed = 0
        self._head = b""
        self._interim = 0
        self._received = []
        self._status = 0
        self._reason = b""
        self._headers = ()
        self._body = b""
        self._chunks = 0
        self._until_close = False
        self._complete = False
        self._keep_alive = False

    def _expect_length(self, length: bytes | None) -> None:
        if length is None:
            self._until_close = True
        elif int(length) > self._max_response:
            raise body_too_large()

    def _leave_bodiless(self, data: bytes) -> None:
        """After the answer to a HEAD the parser waits for a body: go on with a new one.

        A byte behind the header block either made it call back (_Surplus), or stands at the end.
        """
        self._parser = HttpResponseParser(self)
        if not data.endswith(b"\n"):
            self._keep_alive = False

    def _finish(self, exchange: Exchange) -> None:
        response = UpstreamResponse(self._status, self._reason, self._headers, bytes(self._body))
        self._body = b""  # an idle connection must not keep its last answer in memory
        if exchange.is_head:
            self._keep_alive = False  # a body that is sent all the same would answer the next one
        # A response that came before its request was written whole leaves the rest unsendable.
        if self._keep_alive and not self._transport.get_write_buffer_size():
            self._exchange = None
            self._kept = True
            self._owner.released(self)
        else:
            self.abort()
        exchange.succeed(response)


def _as_upstream_error(error: HttpParserError) -> UpstreamError:
    """What a callback raised, else the parser's own finding."""
    cause = error.__context__
    return cause if isinstance(cause, UpstreamError) else ProtocolError(str(error), sent=True)
