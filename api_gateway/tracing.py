"""OpenTelemetry: a span around each request in ingress, and one around each call of an upstream.

Both roles are wrapped from outside and know nothing of it. Between them the trace travels as it
does between all services, in the header fields of W3C Trace Context.
"""

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable, Mapping
from typing import Self
from urllib.parse import urlsplit

import msgspec
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry

from broker.messages import Headers
from dispatcher.options import UpstreamOptions
from dispatcher.upstream import (
    Address,
    Caller,
    ConnectionCounts,
    UpstreamClient,
    UpstreamRequest,
    UpstreamResponse,
)
from ingress.metrics import IngressMetrics, RequestFinished
from ingress.request import Request, Response

Handle = Callable[[Request], Awaitable[Response]]

_FIELDS = (b"traceparent", b"tracestate")
_FLUSH_TIMEOUT = 5.0  # seconds for the spans that are left at the end
_w3c = TraceContextTextMapPropagator()


def otlp_processor(endpoint: str) -> SpanProcessor:
    """Sends spans in batches, by OTLP over HTTP; without a path, to ``/v1/traces``."""
    if urlsplit(endpoint).path in ("", "/"):
        endpoint = endpoint.rstrip("/") + "/v1/traces"
    return BatchSpanProcessor(OTLPSpanExporter(endpoint))


class Tracing:
    """Makes traced what handles requests and what calls upstreams; an async context manager.

    Leaving sends what was not sent yet.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "api-gateway"}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("api-gateway")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        flushed = asyncio.to_thread(self._provider.shutdown)
        await asyncio.wait([asyncio.ensure_future(flushed)], timeout=_FLUSH_TIMEOUT)

    def handle(self, handle: Handle) -> Handle:
        """The same, with a span for each request; it goes on from the client's, if there is one."""

        async def traced(request: Request) -> Response:
            given = {
                name: request.headers.get(name) or "" for name in ("traceparent", "tracestate")
            }
            with self._tracer.start_as_current_span(
                request.method, _w3c.extract(given), SpanKind.SERVER, _of_request(request)
            ) as span:
                request.raw_headers = _following(request.raw_headers, span)
                response = await handle(request)
                _end_status(span, response.status)
                return response

        return traced

    def client(self, client: UpstreamClient) -> UpstreamClient:
        """The same, with a span for each call."""
        return _TracedClient(client, self._tracer)

    def ingress_metrics(self, registry: CollectorRegistry) -> IngressMetrics:
        """Metrics that tell the spans, too."""
        return _TracedIngressMetrics(registry)


class _TracedIngressMetrics(IngressMetrics):
    """Tells the current span, too, which route its request took."""

    def request_finished(self, event: RequestFinished) -> None:
        """Count, and name the span."""
        super().request_finished(event)
        if event.route:
            span = get_current_span()
            span.update_name(f"{event.method} {event.route}")
            span.set_attribute("http.route", event.route)


class _TracedClient:
    """An UpstreamClient around another."""

    def __init__(self, client: UpstreamClient, tracer: Tracer) -> None:
        self._client = client
        self._tracer = tracer

    @property
    def counts(self) -> ConnectionCounts:
        return self._client.counts

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.__aexit__(*exc_info)

    def caller(self, options: UpstreamOptions) -> Caller:
        return _TracedCaller(self._client.caller(options), self._tracer)


class _TracedCaller:
    """A Caller around another."""

    def __init__(self, caller: Caller, tracer: Tracer) -> None:
        self._caller = caller
        self._tracer = tracer

    def call(
        self, address: Address, request: UpstreamRequest, timeout: float
    ) -> Future[UpstreamResponse]:
        span = self._tracer.start_span(
            request.method,
            _preceding(request.headers),
            SpanKind.CLIENT,
            {
                "http.request.method": request.method,
                "url.full": f"{address}{request.target.partition('?')[0]}",
                "server.address": address.host,
                "server.port": address.port,
            },
        )
        request = msgspec.structs.replace(request, headers=_following(request.headers, span))
        future = self._caller.call(address, request, timeout)
        future.add_done_callback(lambda done: _end_call(span, done))
        return future


def _of_request(request: Request) -> Mapping[str, str]:
    # Without the query: it may hold what is nobody else's business.
    return {
        "http.request.method": request.method,
        "url.path": request.target.partition("?")[0],
        "url.scheme": request.scheme,
        "client.address": request.peer,
    }


def _preceding(headers: Headers) -> Context:
    """The context of the span before this one."""
    carried = {name.lower(): value for name, value in headers if name.lower() in _FIELDS}
    return _w3c.extract({name.decode(): value.decode("latin-1") for name, value in carried.items()})


def _following(headers: Headers, span: Span) -> Headers:
    """The fields, with this span as the one before the next."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, set_span_in_context(span))
    kept = tuple(pair for pair in headers if pair[0].lower() not in _FIELDS)
    return (*kept, *((name.encode(), value.encode()) for name, value in carrier.items()))


def _end_call(span: Span, done: Future[UpstreamResponse]) -> None:
    if done.cancelled():
        span.set_status(StatusCode.ERROR, "cancelled")
    elif (error := done.exception()) is not None:
        span.set_status(StatusCode.ERROR, type(error).__name__)
    else:
        _end_status(span, done.result().status)
    span.end()


def _end_status(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)
