"""A document is fetched whole and small and in time, or not at all."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from ingress.identity.fetching import FetchFailed, fetch


class Endpoint:
    """Answers in every wrong way."""

    def __init__(self) -> None:
        self.followed = False
        self.gone = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/good":
                return web.Response(body=b"content")
            case "/redirect":
                raise web.HTTPFound("/target")
            case "/target":
                self.followed = True
                return web.Response(body=b"content")
            case "/large":
                return web.Response(body=b"x" * (256 * 1024 + 1))
            case "/error":
                return web.Response(status=503)
        return await self._drip(request)

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        """Send until the other end has had enough."""
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.001)
        except (ConnectionError, asyncio.CancelledError):
            self.gone.set()
            raise


@pytest.fixture
async def endpoint() -> AsyncIterator[tuple[Endpoint, str]]:
    """One, and its URL."""
    made = Endpoint()
    application = web.Application()
    application.router.add_get("/{path}", made.answer)
    async with TestServer(application) as server:
        yield made, str(server.make_url("/"))


async def test_a_document(endpoint: tuple[Endpoint, str]) -> None:
    """The content of a 200 is given as it is."""
    assert await fetch(endpoint[1] + "good") == b"content"


@pytest.mark.parametrize(
    ("path", "reason"),
    [("redirect", "status 302"), ("error", "status 503"), ("large", "more than 262144 bytes")],
)
async def test_useless_answers(endpoint: tuple[Endpoint, str], path: str, reason: str) -> None:
    """The reason is told, and a redirect is not followed."""
    with pytest.raises(FetchFailed, match=reason):
        await fetch(endpoint[1] + path)
    assert not endpoint[0].followed


async def test_slow_answers(
    endpoint: tuple[Endpoint, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that comes byte by byte is broken off at the deadline, and its connection closed."""
    monkeypatch.setattr("ingress.identity.fetching._DEADLINE", 0.05)
    with pytest.raises(FetchFailed, match="no answer within"):
        await fetch(endpoint[1] + "drip")
    await asyncio.wait_for(endpoint[0].gone.wait(), 10)


async def test_nobody_there() -> None:
    """The reason names the failure, and not the URL."""
    with pytest.raises(FetchFailed) as failed:
        await fetch(f"http://127.0.0.1:{unused_port()}/?code=hidden")
    assert str(failed.value) == "ClientConnectorError"
