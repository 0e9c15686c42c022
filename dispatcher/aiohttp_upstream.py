"""The upstream client on aiohttp's: the same behaviour, to compare the lean one with.

It differs where aiohttp can't be told otherwise:

- Requests: a field that is repeated has the spelling of its first; what of a value is not UTF-8 is
  left out; an empty query loses its ``?``; DELETE without a body says ``Content-Length: 0``.
- Responses: those of RTSP, bare CR and LF, control characters in fields, folded lines, a space
  behind a chunk size and any trailers are taken; what follows a response in its last read fails
  it; a body until close is taken for whole after a reset; interim responses, chunk extensions and
  the number of chunks have no limit; a response that broke off in its head counts as none.
- Connections: a response that nobody asked for is given to the next request on its connection; the
  longest idle connection is used first; the method alone says whether a request is repeated, which
  it is when a fresh connection was lost, too, and nobody is asked or counts it; an upstream that
  only half closes is noticed when the request has left. ``connect_timeout`` is for the name, and
  again for the connection to each address; an address whose TLS fails is followed by the next. A
  caller lives as long as its client.
"""

import asyncio
import io
import socket
from asyncio import Future, Task
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import ContentLengthError, LineTooLong, TransferEncodingError
from multidict import CIMultiDict
from yarl import URL

from broker.problems import ProxyError
from dispatcher.connecting import ATTEMPT_DELAY, connect_failed
from dispatcher.fields import (
    MAX_HEAD_BYTES,
    MAX_HEAD_FIELDS,
    body_too_large,
    check_size,
    check_status,
    end_to_end,
    needs_length,
    request_head,
)
from dispatcher.options import ClientTls, UpstreamOptions
from dispatcher.resolver import Resolver, SystemResolver
from dispatcher.tls import system_context
from dispatcher.upstream import (
    Address,
    ConnectFailed,
    ConnectionCounts,
    ConnectionLost,
    ConnectTimedOut,
    ProtocolError,
    ResponseTooLarge,
    TooManyCalls,
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
    late: ProxyError = ProxyError.CONNECTION_LIMIT_REACHED


class _Resolver(AbstractResolver):
    """A resolver of ours as one of aiohttp's; ``timeout`` is seconds."""

    def __init__(self, resolver: Resolver, timeout: float) -> None:
        self._resolver = resolver
        self._timeout = timeout

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        async with asyncio.timeout(self._timeout):
            found = await self._resolver.resolve(host, port)
        return [
            ResolveResult(hostname=host, host=at[0], port=at[1], family=kind, proto=proto, flags=0)
            for kind, _, proto, _, at in found
        ]

    async def close(self) -> None:
        pass


class AiohttpUpstreamClient:
    """The UpstreamClient on aiohttp.ClientSession; a session for each caller."""

    def __init__(self, *, resolver: Resolver | None = None) -> None:
        self.counts = ConnectionCounts()
        self.resolver = resolver or SystemResolver()
        self.running = False
        self._callers: dict[UpstreamOptions, AiohttpCaller] = {}

    async def __aenter__(self) -> Self:
        """Let calls be made."""
        self.running = True
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Abort what is under way and close every connection."""
        self.running = False
        for caller in self._callers.values():
            await caller.close()

    @cached_property
    def system_tls(self) -> ClientTls:
        """For https without settings."""
        return ClientTls(system_context())

    def caller(self, options: UpstreamOptions) -> "AiohttpCaller":
        """See UpstreamClient."""
        if options not in self._callers:
            self._callers[options] = AiohttpCaller(self, options)
        return self._callers[options]


class AiohttpCaller:
    """The Caller of one set of options; a task for each call."""

    def __init__(self, client: AiohttpUpstreamClient, options: UpstreamOptions) -> None:
        self._client = client
        self._limits = options.limits
        self._tls = options.tls
        self._under_way: Counter[Address] = Counter()
        self._tasks: set[Task[UpstreamResponse]] = set()

    async def close(self) -> None:
        """Abort everything."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if "_session" in self.__dict__:
            await self._session.close()

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        limits = self._limits
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                limit_per_host=limits.max_connections,
                keepalive_timeout=limits.idle_timeout,
                resolver=_Resolver(self._client.resolver, limits.connect_timeout),
                use_dns_cache=False,
                happy_eyeballs_delay=ATTEMPT_DELAY,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=limits.connect_timeout, sock_read=limits.read_timeout
            ),
            skip_auto_headers=_NO_AUTOMATIC_HEADERS,
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
            max_headers=10 * MAX_HEAD_FIELDS,  # check_size has the right error
            trace_configs=[self._tracing()],
        )

    def call(
        self, address: Address, request: UpstreamRequest, timeout: float
    ) -> Future[UpstreamResponse]:
        """See Caller."""
        task = asyncio.get_running_loop().create_task(self._call(address, request, timeout))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _call(
        self, address: Address, request: UpstreamRequest, timeout: float
    ) -> UpstreamResponse:
        if not self._client.running:
            raise ConnectFailed("the client is not open", sent=False)
        request_head(address, address.authority, request)  # refuses what can't be sent
        if self._under_way[address] >= self._limits.max_connections + self._limits.max_waiting:
            raise TooManyCalls(f"too many calls wait for {address}", sent=False)
        progress = _Progress()
        self._under_way[address] += 1
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(address, request, progress)
        except asyncio.CancelledError:
            if self._client.running:
                raise
            raise ConnectionLost("the client is closing", sent=progress.sent) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _as_upstream_error(error, address, progress) from error
        finally:
            self._under_way[address] -= 1
            if not self._under_way[address]:
                del self._under_way[address]

    async def _exchange(
        self, address: Address, request: UpstreamRequest, progress: _Progress
    ) -> UpstreamResponse:
        tls = (self._tls or self._client.system_tls) if address.scheme == "https" else None
        async with self._session.request(
            request.method,
            URL(
                f"{replace(address, host=address.ip or address.host)}{request.target}", encoded=True
            ),
            headers=_headers(address, request),
            data=io.BytesIO(request.body) if request.body else None,
            allow_redirects=False,
            ssl=tls.context if tls else True,
            server_hostname=(tls.server_name or address.host) if tls else None,
            trace_request_ctx=progress,
        ) as response:
            version = response.version or aiohttp.HttpVersion10
            reason = (response.reason or "").encode("utf-8", "surrogateescape")
            check_status(response.status, f"{version.major}.{version.minor}", reason)
            check_size(response.raw_headers)
            keep_length = request.method == "HEAD"
            headers, _ = end_to_end(response.raw_headers, keep_length=keep_length)
            body = b"" if keep_length else await self._body(response)
            return UpstreamResponse(response.status, reason, headers, body)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        if (response.content_length or 0) > self._limits.max_response:
            raise body_too_large()
        body = bytearray()
        while piece := await response.content.readany():
            body += piece
            if len(body) > self._limits.max_response:
                raise body_too_large()
        return bytes(body)

    def _tracing(self) -> aiohttp.TraceConfig:
        counts = self._client.counts

        def told(late: ProxyError) -> Callable[[object, Any, object], Awaitable[None]]:
            async def tell(_: object, context: Any, __: object) -> None:
                context.trace_request_ctx.late = late

            return tell

        async def opened(_: object, context: Any, __: object) -> None:
            counts.opened += 1
            sent(context.trace_request_ctx)

        async def reused(_: object, context: Any, __: object) -> None:
            counts.reused += 1
            sent(context.trace_request_ctx)

        def sent(progress: _Progress) -> None:
            progress.sent = True
            progress.late = ProxyError.HTTP_RESPONSE_TIMEOUT

        tracing = aiohttp.TraceConfig()
        tracing.on_connection_create_start.append(told(ProxyError.CONNECTION_TIMEOUT))
        tracing.on_dns_resolvehost_start.append(told(ProxyError.DNS_TIMEOUT))
        tracing.on_dns_resolvehost_end.append(told(ProxyError.CONNECTION_TIMEOUT))
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


def _as_upstream_error(error: Exception, address: Address, progress: _Progress) -> UpstreamError:
    """The error that the lean client has in that place."""
    detail, sent = str(error) or type(error).__name__, progress.sent
    match error:
        case aiohttp.ConnectionTimeoutError():
            return ConnectTimedOut(detail, sent=sent, proxy_error=progress.late)
        case aiohttp.SocketTimeoutError():
            late = ProxyError.CONNECTION_READ_TIMEOUT
            return UpstreamTimeout(detail, sent=sent, proxy_error=late)
        case TimeoutError():
            return UpstreamTimeout("no response in time", sent=sent, proxy_error=progress.late)
        case aiohttp.ClientConnectorError():
            failed = connect_failed(address, error.os_error)
            failed.sent = sent
            return failed
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return _as_broken_response(_root(error), detail)
        case _:
            cause_ = ProxyError.TLS_ALERT_RECEIVED if "ALERT" in detail else None
            return ConnectionLost(detail, sent=sent, proxy_error=cause_)


def _as_broken_response(cause: BaseException, detail: str) -> UpstreamError:
    match cause:
        case LineTooLong():
            return ResponseTooLarge(detail, sent=True)
        case ContentLengthError() | TransferEncodingError() | OSError():
            incomplete = ProxyError.HTTP_RESPONSE_INCOMPLETE
            return ConnectionLost(detail, sent=True, proxy_error=incomplete)
        case _:
            return ProtocolError(detail, sent=True)


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
