"""The admin listener: health and metrics, on an address of its own."""

import socket
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

READY, NOT_READY = "ready", "not ready"
_LARGEST_BODY = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Health:
    """Whether requests can be served, and the state of each thing that this depends on."""

    ready: bool
    checks: Mapping[str, Any] = field(default_factory=dict)


class Subject(Protocol):
    """What is looked at."""

    @property
    def routes(self) -> Sequence[web.RouteDef]:
        """What is served besides that."""

    async def health(self) -> Health:
        """Now."""

    async def metrics(self) -> bytes:
        """The metrics page, in Prometheus' text format."""

    async def breakers(self) -> list[dict[str, Any]]:
        """The circuit breakers, one entry each."""


class AdminServer:
    """Serves ``/health/*``, ``/metrics``, ``/breakers`` and its own routes for one subject.

    It owns ``listening``, a socket that listens, from entering on.
    """

    def __init__(self, subject: Subject, listening: socket.socket) -> None:
        self._subject = subject
        self._listening = listening
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.enter_context(self._listening)
            runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.SockSite(runner, self._listening).start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=_LARGEST_BODY)
        application.add_routes(
            [
                web.get("/health/live", self._live),
                web.get("/health/ready", self._ready),
                web.get("/metrics", self._metrics),
                web.get("/breakers", self._breakers),
                *self._subject.routes,
            ]
        )
        return application

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _ready(self, _: web.Request) -> web.Response:
        health = await self._subject.health()
        answer = {"status": READY if health.ready else NOT_READY, "checks": dict(health.checks)}
        return web.json_response(answer, status=200 if health.ready else 503)

    async def _breakers(self, _: web.Request) -> web.Response:
        return web.json_response({"breakers": await self._subject.breakers()})

    async def _metrics(self, _: web.Request) -> web.Response:
        page = await self._subject.metrics()
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
