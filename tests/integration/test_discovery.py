"""Instances that come and go under real dispatchers, found by DNS and by a registry in Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import dns.rcode
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from tests.dns_server import DnsServer
from tests.integration.commands import WITHIN, Running, configuration, launched, run, started
from tests.processes import free_port
from tests.servers import RedisServer

TOKEN = "a-token-for-operators"
AS_OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
REGISTRY = {"type": "registry"}


class Place:
    """An upstream that says its name, and holds calls of ``/open/held`` until it is told."""

    def __init__(self, name: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        self.held = 0
        self.release = asyncio.Event()
        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", self._answer)
        self._server = TestServer(application, host=host, port=port)

    async def _answer(self, request: web.Request) -> web.Response:
        if request.path.endswith("/held"):
            self.held += 1
            await self.release.wait()
        return web.Response(text=f"{self.name} {request.headers['Host']}")

    async def __aenter__(self) -> "Place":
        await self._server.start_server()
        self.url = str(self._server.make_url("")).rstrip("/")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._server.close()


def config(folder: Path, **service: Any) -> str:
    """A directory whose one service is found like this."""
    directory = configuration(folder, "http://unused.test")
    services = [{"name": "users", **service}]
    (Path(directory) / "services.yaml").write_text(yaml.safe_dump(services))
    return directory


async def call(public: str, path: str = "/open/x") -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(public + path) as response:
        return response.status, await response.text()


async def instances(role: Running) -> list[str]:
    """Those that a process knows."""
    url = f"{role.admin}/services/users/instances"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        return [each["url"] for each in (await response.json())["instances"]]


async def operate(role: Running, method: str, url: str, **more: Any) -> int:
    """Register or remove an instance; the status."""
    at = f"{role.admin}/services/users/instances"
    async with aiohttp.ClientSession(headers=AS_OPERATOR) as session:
        if method == "POST":
            request = session.post(at, json={"url": url, **more})
        else:
            request = session.delete(URL(at).with_query(id=url))
        async with request as response:
            return response.status


async def until_known(roles: Sequence[Running], *expected: str) -> None:
    """Ask until each of them knows exactly these."""
    async with asyncio.timeout(WITHIN):
        for role in roles:
            while sorted(await instances(role)) != sorted(expected):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@asynccontextmanager
async def fleet(
    folder: Path, amqp_url: str, redis_url: str, *dispatcher: str
) -> AsyncIterator[tuple[Running, list[Running]]]:
    """An ingress and two dispatchers that share broker and Redis, ready."""
    urls = {"amqp_url": amqp_url, "redis_url": redis_url, "admin_token": TOKEN}
    arguments = ("--config", config(folder, discovery=REGISTRY))
    async with (
        launched(folder, "ingress", *arguments, **urls) as ingress,
        launched(folder, "dispatcher", *arguments, *dispatcher, **urls) as one,
        launched(folder, "dispatcher", *arguments, **urls) as other,
    ):
        await asyncio.gather(*(role.ready() for role in (ingress, one, other)))
        yield ingress, [one, other]


async def test_who_registers_at_one_node_is_known_to_all(
    tmp_path: Path, amqp_url: str, private_redis: Callable[[], RedisServer]
) -> None:
    """Any role takes it; calls go there at once, and end with the removal or the TTL."""
    redis = private_redis()
    async with (
        fleet(tmp_path, amqp_url, redis.url) as (ingress, dispatchers),
        Place("a") as a,
        Place("b") as b,
    ):
        assert (await call(ingress.public))[0] == 503
        assert await operate(ingress, "POST", a.url) == 201
        await until_known(dispatchers, a.url)
        assert await call(ingress.public) == (200, f"a {URL(a.url).authority}")
        # One at a dispatcher, which does not report again.
        assert await operate(dispatchers[0], "POST", b.url, ttl=3) == 201
        await until_known([ingress, *dispatchers], a.url, b.url)
        await until_known([ingress, *dispatchers], a.url)
        assert await operate(dispatchers[1], "DELETE", a.url) == 204
        await until_known([ingress, *dispatchers])
        assert (await call(ingress.public))[0] == 503


async def test_calls_in_flight_at_a_removal_are_answered(
    tmp_path: Path, private_redis: Callable[[], RedisServer]
) -> None:
    """The instance gets no new ones, and answers those it has."""
    redis = private_redis()
    arguments = ("--config", config(tmp_path, discovery=REGISTRY))
    settings = {"redis_url": redis.url, "admin_token": TOKEN}
    async with started(tmp_path, "up", *arguments, **settings) as up, Place("a") as a:
        await operate(up, "POST", a.url)
        calls = [asyncio.create_task(call(up.public, "/open/held")) for _ in range(20)]
        async with asyncio.timeout(WITHIN):
            while a.held < len(calls):  # noqa: ASYNC110 - each comes by way of the gateway
                await asyncio.sleep(0.02)
        async with Place("b") as b:
            await operate(up, "POST", b.url)
            await operate(up, "DELETE", a.url)
            new = [await call(up.public) for _ in range(20)]
            a.release.set()
            held = await asyncio.gather(*calls)
        assert {text.split(" ")[0] for _, text in new} == {"b"}
        assert {(status, text.split(" ")[0]) for status, text in held} == {(200, "a")}


async def test_redis_dies_and_comes_back_empty(
    tmp_path: Path, amqp_url: str, private_redis: Callable[[], RedisServer]
) -> None:
    """Calls go on, registrations are refused; who reports again stays, who does not goes."""
    redis = private_redis()
    async with (
        fleet(tmp_path, amqp_url, redis.url) as (ingress, dispatchers),
        Place("a") as a,
        Place("b") as b,
    ):
        await operate(ingress, "POST", a.url, ttl=3)
        await operate(ingress, "POST", b.url, ttl=3)
        await until_known(dispatchers, a.url, b.url)
        redis.kill()
        for role in dispatchers:
            away = await role.healthy(lambda _, page: page["checks"]["registry"] == "disconnected")
            assert away["status"] == "ready"
        await asyncio.sleep(3.5)  # longer than the TTL: by their clock both would be gone
        assert await operate(ingress, "POST", a.url, ttl=3) == 503
        assert {(await call(ingress.public))[0] for _ in range(20)} == {200}
        redis.start()
        for role in dispatchers:
            await role.healthy(lambda _, page: page["checks"]["registry"] == "connected")
            assert sorted(await instances(role)) == sorted([a.url, b.url])
        assert await operate(ingress, "POST", a.url, ttl=600) == 200  # it is there again
        await until_known(dispatchers, a.url)
        assert {(await call(ingress.public))[0] for _ in range(20)} == {200}
        for role in dispatchers:
            assert role.stderr.count("the registry is away") == 1
            assert role.stderr.count("the registry is back") == 1


async def test_a_dispatcher_starts_after_redis_has_lost_its_data(
    tmp_path: Path, amqp_url: str, private_redis: Callable[[], RedisServer]
) -> None:
    """It knows what the others have put back, although nobody has reported again."""
    redis = private_redis()
    async with (
        fleet(tmp_path, amqp_url, redis.url) as (ingress, dispatchers),
        Place("a") as a,
    ):
        await operate(ingress, "POST", a.url, ttl=600)
        await until_known(dispatchers, a.url)
        redis.kill()
        redis.start()
        await until_known([ingress], a.url)
        arguments = ("--config", str(tmp_path / "config"))
        settings = {"amqp_url": amqp_url, "redis_url": redis.url}
        async with launched(tmp_path, "dispatcher", *arguments, **settings) as newcomer:
            await newcomer.ready()
            assert await instances(newcomer) == [a.url]
        for role in dispatchers:
            assert role.stderr.count("the registry has lost its data") == 1


async def test_several_processes_of_a_dispatcher(
    tmp_path: Path, amqp_url: str, private_redis: Callable[[], RedisServer]
) -> None:
    """The parent's admin listener takes registrations for all of them."""
    redis = private_redis()
    async with (
        fleet(tmp_path, amqp_url, redis.url, "--processes", "2") as (ingress, dispatchers),
        Place("a") as a,
    ):
        assert await operate(dispatchers[0], "POST", a.url) == 201
        await until_known(dispatchers, a.url)
        async with asyncio.timeout(WITHIN):
            while set(await known_by_each(dispatchers[0])) != {1.0}:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert {(await call(ingress.public))[0] for _ in range(20)} == {200}


async def known_by_each(parent: Running) -> list[float]:
    page = await parent.metrics()
    return [value for name, value in page.items() if name.startswith("dispatcher_instances{")]


async def test_a_role_alone_needs_a_registry_that_is_shared(tmp_path: Path) -> None:
    """It does not start with one of its own."""
    arguments = ("--config", config(tmp_path, discovery=REGISTRY))
    for role in ("ingress", "dispatcher"):
        ended = await run(role, *arguments, amqp_url="amqp://127.0.0.1:1", jwt_secret="s" * 32)
        assert ended.status == 2
        assert "set GATEWAY_REDIS_URL" in ended.stderr


async def test_a_dispatcher_waits_for_the_registry(tmp_path: Path) -> None:
    """While it has never been read, the process is not ready."""
    redis_url = f"redis://127.0.0.1:{free_port()}"
    admin_port = free_port()
    directory = config(tmp_path, discovery=REGISTRY)
    arguments = ("--config", directory, "--admin-port", str(admin_port))
    async with launched(tmp_path, "up", *arguments, redis_url=redis_url) as up:
        up.addresses["admin"] = f"http://127.0.0.1:{admin_port}"
        async with asyncio.timeout(WITHIN):
            while True:
                try:
                    status, page = await up.health()
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)
                    continue
                if page["checks"]["broker"] == "connected" and "registry" in page["checks"]:
                    break
        assert (status, page["checks"]["registry"]) == (503, "disconnected")


async def test_names_are_followed(tmp_path: Path) -> None:
    """A headless service: pods come, go, and DNS fails; calls go to those it has last told of."""
    port = free_port()
    base_url = f"http://users.test:{port}"
    arguments = ("--config", config(tmp_path, base_url=base_url, discovery={"type": "dns"}))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(DnsServer(ttl=1))
        for n in (2, 3):
            await stack.enter_async_context(Place(f"pod-{n}", f"127.0.0.{n}", port))
        server.zone["users.test.", "A"] = ["127.0.0.2"]
        nameservers = f"127.0.0.1:{server.port}"
        up = await stack.enter_async_context(
            started(tmp_path, "up", *arguments, dns_nameservers=nameservers)
        )
        assert await call(up.public) == (200, f"pod-2 users.test:{port}")
        assert (await up.health())[1]["checks"]["dns"] == "answering"

        server.zone["users.test.", "A"] = ["127.0.0.3"]
        await until_known([up], f"http://127.0.0.3:{port}")
        assert await call(up.public) == (200, f"pod-3 users.test:{port}")

        server.rcode = dns.rcode.SERVFAIL
        page = await up.healthy(lambda _, page: page["checks"]["dns"] == "failing: users")
        assert page["status"] == "ready"
        assert await call(up.public) == (200, f"pod-3 users.test:{port}")
        failed = 'dispatcher_lookups_failed_total{reason="server_failure",service="users"}'
        assert (await up.metrics())[failed] >= 1

        server.rcode = None
        await up.healthy(lambda _, page: page["checks"]["dns"] == "answering")
        assert up.stderr.count("the 1 known ones stay") == 1


async def test_each_name_that_is_not_found_is_told(tmp_path: Path) -> None:
    """However many they are: readiness is where an operator looks which services they are."""
    found_by = {"base_url": "http://gone.test", "discovery": {"type": "dns"}}
    directory = config(tmp_path, **found_by)
    others = [f"service-{number}" for number in range(5)]
    services = [{"name": name, **found_by} for name in ("users", *others)]
    (Path(directory) / "services.yaml").write_text(yaml.safe_dump(services))
    async with DnsServer() as server:
        nameservers = f"127.0.0.1:{server.port}"
        async with started(
            tmp_path, "up", "--config", directory, dns_nameservers=nameservers
        ) as up:
            check = (await up.health())[1]["checks"]["dns"]
    names = check.removeprefix("failing: ").split(", ")
    assert sorted(names) == sorted(["users", *others])
