"""The demo upstream: answers every request with what it received, for a first try."""

import json
import shlex
from collections.abc import Collection, Iterable
from contextlib import AsyncExitStack
from typing import Self

from aiohttp import web

from api_gateway.listening import listen
from broker.messages import Principal
from config.models.routes import AnyOrAll, Route
from config.models.services import Service
from config.snapshot import Snapshot

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


def local_addresses(services: Iterable[Service]) -> list[tuple[str, int]]:
    """Hosts and ports of the plain-HTTP instances that are on this machine's loopback."""
    urls = [instance.url for service in services for instance in service.addresses]
    found = {
        (url.host.strip("[]"), url.port or 80)
        for url in urls
        if url.scheme == "http" and url.host in _LOOPBACK
    }
    return sorted(found)


class DemoUpstream:
    """Plays every service that is configured on this machine's loopback.

    Entering raises CantListenError where a port is taken.
    """

    def __init__(self, addresses: Iterable[tuple[str, int]]) -> None:
        self._addresses = tuple(addresses)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            runner = web.ServerRunner(web.Server(_echo))
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            for host, port in self._addresses:
                listening = stack.enter_context(listen(host, port))
                await web.SockSite(runner, listening).start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()


async def _echo(request: web.BaseRequest) -> web.Response:
    body = await request.read()
    seen = {
        "method": request.method,
        "path": request.rel_url.raw_path,
        "query": request.rel_url.raw_query_string,
        "headers": {name: ", ".join(request.headers.getall(name)) for name in request.headers},
        "body": body.decode(errors="replace"),
    }
    return web.Response(text=json.dumps(seen, indent=2) + "\n", content_type="application/json")


def route_to_try(snapshot: Snapshot) -> Route | None:
    """The first route that answers a plain GET."""
    return next((r for r in snapshot.routes if r.methods is None or "GET" in r.methods), None)


def bearer_for(route: Route, tiers: Collection[str]) -> Principal:
    """Somebody who may use the route, of the last tier."""
    return Principal("demo", list(tiers)[-1], _demanded(route.roles), _demanded(route.scopes))


def _demanded(names: AnyOrAll | None) -> tuple[str, ...]:
    return () if names is None else (names.all or names.any or ())


def curl(url: str, route: Route, token: str | None) -> str:
    """A command line that asks for the route at the gateway's public ``url``."""
    path = "/".join(_example(segment) for segment in route.path.split("/"))
    words = ["curl", "-i", url + path]
    if token is not None:
        words[2:2] = ["-H", f"Authorization: Bearer {token}"]
    return shlex.join(words)


def _example(segment: str) -> str:
    if segment == "*":
        return "file.txt"
    return "1" if segment.startswith("{") else segment
