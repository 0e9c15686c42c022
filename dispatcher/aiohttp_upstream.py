"""The upstream client on aiohttp's: the same behaviour, to compare the lean one with.

It differs where aiohttp can't be told otherwise:

- Requests: a field that is repeated has the spelling of its first; what of a value is not UTF-8 is
  left out; an empty query loses its ``?``; DELETE without a body says ``Content-Length: 0``.
- Responses: bare LF, folded lines, a space before a colon or behind a chunk size are taken; garbage
  in the read that ends a response fails it; a body until close is taken for whole after a reset;
  interim responses and chunk extensions have no limit.
- Connections: a response that nobody asked for is given to the next request on its connection; the
  longest idle connection is used first; an idempotent request is repeated when a fresh connection
  was lost, too; an upstream that only half closes is noticed when the request has left.
"""

import asyncio
import io
import ssl
from asyncio import Future, Task
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Self

import aiohttp
from aiohttp.http_exceptions import ContentLengthError, LineTooLong, TransferEncodingError
from multidict import CIMultiDict
from yarl import URL

from dispatcher.fields import (
    MAX_HEAD_BYTES,
    MAX_HEAD_FIELDS,
    check_size,
    check_status,
    end_to_end,
    needs_length,
    request_head,
)
from dispatcher.pool import PoolLimits
from dispatcher.upstream import (
    Address,
    ConnectFailed,
    ConnectionCounts,
    ConnectionLost,
    ProtocolError,
    ResponseTooLarge,
    UpstreamError,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeout,
)

_NO_AUTOMATIC_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


@dataclass(slots=True)
class _Progress:
    """What is known of one call from outside of aiohttp."""

    sent: bool = False


class AiohttpUpstreamClient:
    """The UpstreamClient on aiohttp.ClientSession; a task for each call."""

    def __init__(
        self, *, limits: PoolLimits | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.counts = ConnectionCounts()
        self._limits = limits or PoolLimits()
        self._tls = tls or ssl.create_default_context()
        self._session: aiohttp.ClientSession
        self._under_way: Counter[Address] = Counter()
        self._tasks: set[Task[UpstreamResponse]] = set()
        self._closing = False

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                limit_per_host=self._limits.max_connections,
                keepalive_timeout=self._limits.idle_timeout,
                ssl=self._tls,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None),
            skip_auto_headers=_NO_AUTOMATIC_HEADERS,
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
            max_headers=10 * MAX_HEAD_FIELDS,  # check_size has the right error
            trace_configs=[self._tracing()],
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Abort what is under way and close every connection."""
        self._closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    def call(
        self, address: Address, request: UpstreamRequest, timeout: float
    ) -> Future[UpstreamResponse]:
        """See UpstreamClient."""
        task = asyncio.get_running_loop().create_task(self._call(address, request, timeout))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _call(
        self, address: Address, request: UpstreamRequest, timeout: float
    ) -> UpstreamResponse:
        if self._closing:
            raise ConnectFailed("the client is not open", sent=False)
        request_head(address, address.authority, request)  # refuses what can't be sent
        if self._under_way[address] >= self._limits.max_connections + self._limits.max_waiting:
            raise ConnectFailed(f"too many calls wait for {address}", sent=False)
        progress = _Progress()
        self._under_way[address] += 1
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(address, request, progress)
        except asyncio.CancelledError:
            if not self._closing:
                raise
            raise ConnectionLost("the client is closing", sent=progress.sent) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _as_upstream_error(error, progress.sent) from error
        finally:
            self._under_way[address] -= 1
            if not self._under_way[address]:
                del self._under_way[address]

    async def _exchange(
        self, address: Address, request: UpstreamRequest, progress: _Progress
    ) -> UpstreamResponse:
        async with self._session.request(
            request.method,
            URL(
                f"{replace(address, host=address.ip or address.host)}{request.target}", encoded=True
            ),
            headers=_headers(address, request),
            data=io.BytesIO(request.body) if request.body else None,
            allow_redirects=False,
            server_hostname=address.host if address.ip else None,
            trace_request_ctx=progress,
        ) as response:
            version = response.version or aiohttp.HttpVersion10
            check_status(response.status, f"{version.major}.{version.minor}")
            check_size(response.raw_headers)
            keep_length = request.method == "HEAD"
            headers, _ = end_to_end(response.raw_headers, keep_length=keep_length)
            body = b"" if keep_length else await self._body(response)
            reason = (response.reason or "").encode("utf-8", "surrogateescape")
            return UpstreamResponse(response.status, reason, headers, body)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        too_large = ResponseTooLarge("the body is over the limit", sent=True)
        if (response.content_length or 0) > self._limits.max_response:
            raise too_large
        body = bytearray()
        while piece := await response.content.readany():
            body += piece
            if len(body) > self._limits.max_response:
                raise too_large
        return bytes(body)

    def _tracing(self) -> aiohttp.TraceConfig:
        async def opened(_: object, context: Any, __: object) -> None:
            self.counts.opened += 1
            context.trace_request_ctx.sent = True

        async def reused(_: object, context: Any, __: object) -> None:
            self.counts.reused += 1
            context.trace_request_ctx.sent = True

        tracing = aiohttp.TraceConfig()
        tracing.on_connection_create_end.append(opened)
        tracing.on_connection_reuseconn.append(reused)
        return tracing


def _headers(address: Address, request: UpstreamRequest) -> CIMultiDict[str]:
    spelling: dict[bytes, str] = {}  # the session takes another spelling for a replacement
    headers = CIMultiDict(
        (
            spelling.setdefault(name.lower(), name.decode("ascii")),
            value.decode("utf-8", "surrogateescape"),
        )
        for name, value in request.headers
    )
    if needs_length(request):
        headers["Content-Length"] = str(len(request.body))
    if address.ip:
        headers["Host"] = address.authority
    return headers


def _as_upstream_error(error: Exception, sent: bool) -> UpstreamError:
    """The error that the lean client has in that place."""
    detail = str(error) or type(error).__name__
    match error:
        case TimeoutError():
            return UpstreamTimeout("no response in time", sent=sent)
        case aiohttp.ClientConnectorError():
            return ConnectFailed(detail, sent=sent)
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return _as_broken_response(_root(error), detail)
        case _:
            return ConnectionLost(detail, sent=sent)


def _as_broken_response(cause: BaseException, detail: str) -> UpstreamError:
    match cause:
        case LineTooLong():
            return ResponseTooLarge(detail, sent=True)
        case ContentLengthError() | TransferEncodingError() | OSError():
            return ConnectionLost(detail, sent=True)
        case _:
            return ProtocolError(detail, sent=True)


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
