"""Traces, as a collector receives them."""

from pathlib import Path

import aiohttp
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.integration.commands import configuration, started, upstream

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN_ID = "b7ad6b7169203331"


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    async def receive(self, request: web.BaseRequest) -> web.Response:
        assert request.path == "/v1/traces"
        message = ExportTraceServiceRequest.FromString(await request.read())
        for resource in message.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return web.Response(content_type="application/x-protobuf")

    def of_kind(self, kind: "Span.SpanKind.ValueType") -> Span:
        (span,) = [span for span in self.spans if span.kind == kind]
        return span


def attributes(span: Span) -> dict[str, str]:
    return {
        attribute.key: attribute.value.string_value or str(attribute.value.int_value)
        for attribute in span.attributes
    }


class Upstream:
    """Remembers the trace that it was asked in."""

    def __init__(self, status: int = 200) -> None:
        self.parents: list[str] = []
        self._status = status

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.parents.append(request.headers["traceparent"])
        return web.Response(status=self._status)


async def test_a_trace_goes_through_the_gateway(tmp_path: Path) -> None:
    """The client's trace goes on in ingress, in the call and in the upstream."""
    collector, service = Collector(), Upstream()
    async with (
        upstream(collector.receive) as endpoint,
        upstream(service.answer) as url,
        aiohttp.ClientSession() as session,
    ):
        config = configuration(tmp_path, url)
        async with started(tmp_path, "up", "--config", config, otlp_endpoint=endpoint) as gateway:
            headers = {"traceparent": f"00-{TRACE_ID}-{CLIENT_SPAN_ID}-01"}
            address = gateway.public + "/open/a?key=hidden"
            async with session.get(address, headers=headers) as response:
                assert response.status == 200
            gateway.signal()
            assert await gateway.ended() == 0

    server = collector.of_kind(Span.SPAN_KIND_SERVER)
    call = collector.of_kind(Span.SPAN_KIND_CLIENT)
    assert {server.trace_id.hex(), call.trace_id.hex()} == {TRACE_ID}
    assert server.parent_span_id.hex() == CLIENT_SPAN_ID
    assert call.parent_span_id == server.span_id
    assert service.parents == [f"00-{TRACE_ID}-{call.span_id.hex()}-01"]
    assert server.name == "GET ANY /open/*"
    assert attributes(server)["http.response.status_code"] == "200"
    assert attributes(call)["server.port"] == url.rpartition(":")[2]
    assert "hidden" not in str(collector.spans)


async def test_failures_are_marked(tmp_path: Path) -> None:
    """A 5xx of the upstream makes both spans errors."""
    collector, service = Collector(), Upstream(status=500)
    async with (
        upstream(collector.receive) as endpoint,
        upstream(service.answer) as url,
        aiohttp.ClientSession() as session,
    ):
        config = configuration(tmp_path, url)
        async with started(tmp_path, "up", "--config", config, otlp_endpoint=endpoint) as gateway:
            async with session.get(gateway.public + "/open/a") as response:
                assert response.status == 500
            gateway.signal()
            assert await gateway.ended() == 0

    assert [span.status.code for span in collector.spans] == [Status.STATUS_CODE_ERROR] * 2


async def test_a_collector_that_is_away_does_no_harm(tmp_path: Path) -> None:
    """Requests are answered, and the process ends with 0 in good time."""
    service = Upstream()
    async with upstream(service.answer) as url, aiohttp.ClientSession() as session:
        config = configuration(tmp_path, url)
        away = "http://127.0.0.1:1"
        async with started(tmp_path, "up", "--config", config, otlp_endpoint=away) as gateway:
            async with session.get(gateway.public + "/open/a") as response:
                assert response.status == 200
            gateway.signal()
            assert await gateway.ended() == 0
