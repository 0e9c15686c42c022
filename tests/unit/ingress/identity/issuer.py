"""An issuer's key endpoint: a real HTTP server that rotates its keys, fails, hangs and dies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from tests.unit.ingress.identity.signing import key_set


class Issuer:
    """Serves a JWK Set, and counts how often it was asked for it."""

    def __init__(self, *jwks: dict[str, Any]) -> None:
        self.jwks = list(jwks)
        self.asked = 0
        self.answer: web.Response | None = None  # instead of the keys
        self.held: asyncio.Event | None = None  # answer no sooner
        self.came = asyncio.Event()
        self._port = unused_port()
        self._server: TestServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/keys"

    async def start(self) -> None:
        """Serve, on the same port each time."""
        application = web.Application()
        application.router.add_get("/keys", self._keys)
        self._server = TestServer(application, port=self._port)
        await self._server.start_server()

    async def stop(self) -> None:
        """Be away."""
        if self._server is not None:
            await self._server.close()
            self._server = None

    async def _keys(self, _: web.Request) -> web.Response:
        self.asked += 1
        self.came.set()
        if self.held is not None:
            await self.held.wait()
        return self.answer or web.Response(body=key_set(*self.jwks))


@asynccontextmanager
async def issuing(*jwks: dict[str, Any]) -> AsyncIterator[Issuer]:
    """One that runs."""
    issuer = Issuer(*jwks)
    await issuer.start()
    try:
        yield issuer
    finally:
        if issuer.held is not None:
            issuer.held.set()
        await issuer.stop()
