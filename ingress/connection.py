"""One client connection: requests in, one at a time and in order; answers out, one write each.

Reading is judged elsewhere (ingress.heads, ingress.bodies). Here is what needs the socket: whose
turn it is, how much may wait and how long, and that a client that leaves takes its request with it.
"""

import asyncio
import logging
from math import inf
from typing import cast

from broker.problems import ProblemType
from ingress.body_reader import AHEAD, BodyReader, no_body
from ingress.heads import END, Head, check_partial_head, parse_head
from ingress.problems import Refused
from ingress.request import Request, Response
from ingress.responses import server_options
from ingress.server_state import ServerState

_LINGER = 2.0  # seconds for a client to read its last answer before the connection is reset
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_log = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """The server's side of one TCP connection.

    It is idle, or a request arrives, or one is in hand (a task runs), or it is closing. The server
    calls ``expire`` some time after ``deadline``; what that means depends on the state.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_closing",
        "_http10",
        "_is_head",
        "_keep_alive",
        "_peer",
        "_reading",
        "_state",
        "_task",
        "_transport",
        "_unsent",
        "_writable",
        "deadline",
    )

    _transport: asyncio.Transport

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._peer = ""
        self._buffer = b""  # a head that is not whole yet, or requests whose turn has not come
        # Of the request in hand. Its head is not kept: thousands of requests wait at a time.
        self._keep_alive = True
        self._is_head = False
        self._http10 = False
        self._body: BodyReader | None = None
        self._task: asyncio.Task[None] | None = None
        self._reading = True
        self._writable = True
        self._closing = False
        self._unsent = 0
        self.deadline = inf

    # --- what the transport calls ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or turn it away when there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername")
        self._peer = address[0] if isinstance(address, tuple) else ""  # a Unix socket has none
        state = self._state
        if len(state.connections) >= state.limits.max_connections:
            detail = "This node has all the connections that it may have."
            refused = Refused(ProblemType.TOO_MANY_CONNECTIONS, detail)
            self._transport.write(state.refusal(refused))
            self._close()
            return
        state.connections.add(self)
        self._rest_for(state.limits.keepalive_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what went on for this client."""
        state = self._state
        state.connections.discard(self)
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            state.listener.client_left()
        self._task = self._body = None
        if not state.connections:
            state.all_gone.set()

    def data_received(self, data: bytes) -> None:
        """Read on, as far as it is this data's turn."""
        if self._closing:
            return
        body = self._body
        if body is not None and not body.complete:
            data = body.feed(data)
            if not body.complete:
                return
        if self._task is not None or not self._writable:
            self._hold(data)
            return
        if body is not None:  # one that nobody wanted has been dropped
            self._body = None
            self._rest_for(self._state.limits.keepalive_timeout)
        try:
            self._read_head(self._buffer + data)
        except Refused as refused:
            self._refuse(refused)

    def pause_writing(self) -> None:
        """The client reads slower than it asks: its next request has to wait."""
        self._writable = False

    def resume_writing(self) -> None:
        """It caught up."""
        self._writable = True
        body = self._body
        if self._task is None and not self._closing and (body is None or body.complete):
            self._take_turn()

    # --- what the server calls ------------------------------------------------------------------

    @property
    def in_hand(self) -> bool:
        """Whether a request is being handled."""
        return self._task is not None

    def expire(self, now: float) -> None:
        """The deadline has passed: answer 408, or end a connection that nobody uses."""
        limits = self._state.limits
        unsent = self._transport.get_write_buffer_size()
        if self._task is not None and self._body is not None:
            self._rest_for(inf)
            self._body.expire(_too_slow("body", limits.body_timeout))
        elif self._buffer and self._writable:
            self._refuse(_too_slow("head", limits.header_timeout))
        elif unsent and unsent != self._unsent:  # slow, but it does read its answer
            self._unsent = unsent
            self._rest_for(limits.keepalive_timeout)
        elif unsent or self._closing:
            self._transport.abort()
        else:
            self._close()

    def close_if_idle(self) -> None:
        """End the connection unless a request is in hand or arriving."""
        if self._task is None and not self._buffer and not self._closing:
            self._close()

    def abort(self) -> None:
        """End the connection at once, and with it what goes on for it."""
        self._transport.abort()

    # --- a request arrives ----------------------------------------------------------------------

    def _hold(self, data: bytes) -> None:
        """Pipelined requests wait here, and when they are too many, in the client."""
        self._buffer += data
        if len(self._buffer) > AHEAD:
            self.pause_reading()

    def _read_head(self, data: bytes) -> None:
        if data.startswith(b"\r\n"):  # one empty line is forgiven (RFC 9112 section 2.2)
            data = data[2:]
        if not data:
            self._buffer = b""
            return
        limits = self._state.limits
        end = data.find(END)
        if end >= 0:
            end += len(END)
            self._buffer = b""
            self._begin(parse_head(data[:end], limits), data[end:])
            return
        check_partial_head(data, limits)
        if not self._buffer:
            self._rest_for(limits.header_timeout)
        self._buffer = data

    def _begin(self, head: Head, rest: bytes) -> None:
        """Have a request handled; ``rest`` is its body, as far as it is here, and what follows."""
        self._keep_alive = head.keep_alive
        self._is_head = head.method == "HEAD"
        self._http10 = head.http10
        self._body = body = BodyReader(head, self) if head.length else None
        if body is not None:
            rest = body.feed(rest)
        if not head.keep_alive:
            if body is None and rest not in (b"", b"\r\n"):
                detail = "The request has a body and says that it has none."
                raise Refused(ProblemType.BAD_REQUEST, detail)
            rest = b""
        self._rest_for(inf)
        read_body = no_body if body is None else body.read
        request = Request(
            head.method, head.target, head.headers, head.lookup, self._peer, read_body
        )
        self._task = self._state.loop.create_task(self._serve(request))
        if rest:
            self._hold(rest)

    # --- and is answered ------------------------------------------------------------------------

    async def _serve(self, request: Request) -> None:
        try:
            if request.target == "*":
                response = server_options(request_id=self._state.request_ids.of(request.headers))
            else:
                response = await self._state.handle(request)
        except Refused as refused:
            response = refused.response(
                request_id=self._state.request_ids.of(request.headers),
                instance=request.target.partition("?")[0],
            )
        except asyncio.CancelledError:
            self._transport.abort()  # whoever cancelled it: no answer will come
            raise
        except Exception:
            path = request.target.partition("?")[0]
            _log.exception("a request failed: %s %s", request.method, path)
            response = self._state.internal_error()
        self._answer(response)

    def _answer(self, response: Response) -> None:
        if self._transport.is_closing():
            return
        body = self._body
        stuck = body is not None and not body.droppable
        close = response.close or not self._keep_alive or self._state.draining or stuck
        try:
            data = self._render(response, close)
        except Exception:
            _log.exception("a response of status %s can't be sent", response.status)
            data = self._render(self._state.internal_error(), close)
        self._task = None
        self._transport.write(data)
        if close:
            unread = body is not None and not body.complete
            self._close(gently=unread or bool(self._buffer))
        elif body is None or body.complete:
            self._take_turn()
        else:
            self._rest_for(self._state.limits.body_timeout)

    def _render(self, response: Response, close: bool) -> bytes:
        return self._state.renderer.render(
            response, head=self._is_head, http10=self._http10, close=close
        )

    def _take_turn(self) -> None:
        """On to the next request: one that waits, or one that will come."""
        self._body = None
        self._rest_for(self._state.limits.keepalive_timeout)
        self.resume_reading()
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self.data_received(data)

    def _refuse(self, refused: Refused) -> None:
        """Answer what never became a request, and read no further."""
        self._transport.write(self._state.refusal(refused))
        self._close(gently=True)

    def _close(self, *, gently: bool = False) -> None:
        """Send what is still to be sent, then close.

        A socket that is closed while its client still sends is reset, which may destroy the answer
        before it was read. Gently is: end our side, drop what comes, until the client ends its own
        or _LINGER is over.
        """
        self._closing = True
        self._buffer = b""
        self._body = None
        self._rest_for(_LINGER)
        self.resume_reading()
        if gently:
            self._transport.write_eof()
        else:
            self._transport.close()

    # --- the socket -----------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """Let the client wait."""
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Let it send."""
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def ask_for_body(self) -> None:
        """Send 100 Continue."""
        self._transport.write(_CONTINUE)

    def await_body(self, waiting: bool) -> None:
        """The time for the body starts to run, or stops."""
        self._rest_for(self._state.limits.body_timeout if waiting else inf)

    def _rest_for(self, seconds: float) -> None:
        self.deadline = self._state.loop.time() + seconds


def _too_slow(what: str, seconds: float) -> Refused:
    detail = f"The {what} of the request did not arrive within {seconds:g} s."
    return Refused(ProblemType.REQUEST_TIMEOUT, detail, close=True)
