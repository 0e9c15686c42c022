"""Rate limits of real processes: two ingresses over one Redis, with a client that wants more."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import aiohttp
import redis.asyncio
from aiohttp import web

from tests.integration.commands import (
    SECRET,
    configuration,
    launched,
    run,
    started,
    two_ingresses,
    upstream,
)
from tests.servers import RedisClusterNode, RedisServer

ALLOWANCE = 100
ATTEMPTS = 1_000
# One each minute besides the burst: none is added while a test runs.
LIMITED = {
    "path": "/limited/*",
    "service": "users",
    "name": "limited",
    "auth_required": False,
    "rate_limit": {"requests_per_minute": 1, "burst": ALLOWANCE - 1},
}
RULES = [
    {
        "name": "by-app",
        "key": "header:X-App",
        "match": {"path": "/open/app/*"},
        "requests_per_minute": 1,
        "burst": 4,
    },
    {
        "name": "must-hold",
        "key": "ip",
        "match": {"path": "/open/closed"},
        "requests_per_minute": 9,
        "on_store_failure": "closed",
    },
]


async def hello(request: web.BaseRequest) -> web.Response:
    return web.json_response({"path": request.path})


async def ask(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str]]:
    async with session.get(url, headers=headers) as response:
        await response.read()
        return response.status, dict(response.headers)


async def statuses(urls: list[str], headers: dict[str, str] | None = None) -> Counter[int]:
    """Ask for all of them at once, on a hundred connections."""
    async with aiohttp.ClientSession() as session:
        answers = await asyncio.gather(*(ask(session, url, headers) for url in urls))
    return Counter(status for status, _ in answers)


async def test_two_ingresses_admit_exactly_the_limit(
    tmp_path: Path, amqp_url: str, private_redis: Callable[[], RedisServer]
) -> None:
    """At ten times the allowance, over both at once, the allowance passes, to the request."""
    redis = private_redis()
    async with upstream(hello) as url, AsyncExitStack() as stack:
        directory = configuration(tmp_path, url, [LIMITED], rate_limits=RULES)
        running = two_ingresses(tmp_path, directory, amqp_url, redis.url)
        pair = await stack.enter_async_context(running)
        by_route = [f"{pair[n % 2].public}/limited/{n}" for n in range(ATTEMPTS)]
        assert await statuses(by_route) == {200: ALLOWANCE, 429: ATTEMPTS - ALLOWANCE}
        by_header = [f"{pair[n % 2].public}/open/app/{n}" for n in range(50)]
        assert await statuses(by_header, {"X-App": "a"}) == {200: 5, 429: 45}
        assert await statuses(by_header, {"X-App": "b"}) == {200: 5, 429: 45}
        unlimited = [f"{pair[n % 2].public}/open/{n}" for n in range(50)]
        assert await statuses(unlimited) == {200: 50}
        not_shared = [(await each.metrics())["ingress_limits_not_shared_total"] for each in pair]
    assert not_shared == [0, 0]


async def test_what_a_client_is_told(tmp_path: Path, redis_url: str) -> None:
    """Each limited answer tells what is left, and a 429 when to come back."""
    few = {**LIMITED, "name": f"few {tmp_path}", "rate_limit": 2}
    async with upstream(hello) as url:
        config = configuration(tmp_path, url, [few])
        async with (
            started(tmp_path, "up", "--config", config, redis_url=redis_url) as up,
            aiohttp.ClientSession() as session,
        ):
            answers = [await ask(session, f"{up.public}/limited/x") for _ in range(3)]
            _, unlimited = await ask(session, f"{up.public}/open/x")
    name = f'"few {tmp_path}"'
    assert [status for status, _ in answers] == [200, 200, 429]
    assert {fields["RateLimit-Policy"] for _, fields in answers} == {f"{name};q=2;w=60"}
    assert [fields["RateLimit"].split(";t=")[0] for _, fields in answers] == [
        f"{name};r=1",
        f"{name};r=0",
        f"{name};r=0",
    ]
    refused = answers[2][1]
    assert refused["Retry-After"] == refused["RateLimit"].split(";t=")[1]
    assert 1 <= int(refused["Retry-After"]) <= 30
    assert "RateLimit" not in unlimited


async def test_redis_dies_and_comes_back(
    tmp_path: Path, private_redis: Callable[[], RedisServer]
) -> None:
    """Without it a node limits by itself; what must hold is refused; then all is as before.

    As something must hold, it is not ready meanwhile.
    """
    redis = private_redis()
    async with upstream(hello) as url:
        config = configuration(tmp_path, url, [LIMITED], rate_limits=RULES)
        async with started(tmp_path, "up", "--config", config, redis_url=redis.url) as up:
            limited = [f"{up.public}/limited/{n}" for n in range(150)]
            assert (await up.health())[1]["checks"]["redis"] == "connected"
            assert await statuses([f"{up.public}/open/closed"]) == {200: 1}
            redis.kill()
            await up.healthy(lambda status, page: page["checks"]["redis"] == "disconnected")
            assert (await up.health())[0] == 503
            assert await statuses(limited) == {200: ALLOWANCE, 429: 150 - ALLOWANCE}
            assert await statuses([f"{up.public}/open/closed"]) == {503: 1}
            assert (await up.metrics())["ingress_limits_not_shared_total"] == 151
            redis.start()
            page = await up.healthy(lambda status, page: status == 200)
            assert page["checks"]["redis"] == "connected"
            assert await statuses([f"{up.public}/open/closed"]) == {200: 1}
            assert await statuses(limited) == {200: ALLOWANCE, 429: 150 - ALLOWANCE}
            assert up.stderr.count("Redis is away") == up.stderr.count("Redis is back") == 1


async def test_ready_without_redis_where_nothing_needs_it(
    tmp_path: Path, private_redis: Callable[[], RedisServer]
) -> None:
    """Limits that each process can hold by itself wait for no Redis."""
    redis = private_redis()
    redis.kill()
    async with upstream(hello) as url:
        config = configuration(tmp_path, url, [LIMITED])
        async with started(tmp_path, "up", "--config", config, redis_url=redis.url) as up:
            status, page = await up.health()
            assert (status, page["checks"]["redis"]) == (200, "disconnected")


async def test_a_redis_that_is_far_away(
    tmp_path: Path, private_redis: Callable[[], RedisServer]
) -> None:
    """Where the operator says that it may take longer, limits that must hold are asked of it."""
    server = private_redis()
    async with upstream(hello) as url, redis.asyncio.Redis.from_url(server.url) as client:
        config = ("--config", configuration(tmp_path, url, rate_limits=RULES))
        far = {"redis_url": server.url, "redis_timeout": "1"}
        async with started(tmp_path, "up", *config, **far) as up:
            await client.execute_command("CLIENT", "PAUSE", "200", "ALL")  # type: ignore[no-untyped-call]  # by redis-py
            assert await statuses([f"{up.public}/open/closed"]) == {200: 1}
            assert "Redis is away" not in up.stderr


async def test_not_ready_before_redis_that_is_needed(
    tmp_path: Path, private_redis: Callable[[], RedisServer]
) -> None:
    """A start with a Redis that is away replaces nobody; it ends when it is told to."""
    redis = private_redis()
    redis.kill()
    async with upstream(hello) as url:
        config = ("up", "--config", configuration(tmp_path, url, rate_limits=RULES))
        async with launched(tmp_path, *config, redis_url=redis.url) as up:
            while "Redis is away" not in up.stderr:  # noqa: ASYNC110 - it has no event for this
                await asyncio.sleep(0.02)
            up.signal()
            assert await up.ended() == 0
        async with launched(tmp_path, *config, redis_url=redis.url) as up:
            line = asyncio.create_task(up.ready())
            while "Redis is away" not in up.stderr:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            assert not line.done()
            redis.start()
            await line
            assert (await up.health())[0] == 200


async def test_a_redis_cluster_of_one_shard(tmp_path: Path, redis_cluster_url: str) -> None:
    """Rules by address and header hold there beside each other, to the request."""
    by_app = {"name": f"app-{uuid4().hex}", "key": "header:X-App", "burst": 9}
    for_all = {"name": f"all-{uuid4().hex}", "key": "ip", "burst": 14}
    rules = [{**rule, "requests_per_minute": 1} for rule in (by_app, for_all)]
    async with upstream(hello) as url:
        config = configuration(tmp_path, url, rate_limits=rules)
        async with started(tmp_path, "up", "--config", config, redis_url=redis_cluster_url) as up:

            async def admitted(app: str) -> int:
                """At once, and then one after the other: what was only held up for a moment."""
                asked = [f"{up.public}/open/{n}" for n in range(30)]
                found = await statuses(asked, {"X-App": app})
                for one in asked:
                    found += await statuses([one], {"X-App": app})
                assert found.keys() == {200, 429}
                return found[200]

            assert [await admitted(uuid4().hex) for _ in range(2)] == [10, 5]
            assert (await up.metrics())["ingress_limits_not_shared_total"] == 0


async def test_a_redis_cluster_of_two_shards(
    tmp_path: Path, private_cluster: Callable[[int], list[RedisClusterNode]]
) -> None:
    """It ends with 2, and says what to do."""
    nodes = private_cluster(2)
    config = configuration(tmp_path, "http://127.0.0.1:1")
    ports = ("--port", "0", "--admin-port", "0")
    settings = {"redis_url": nodes[0].url, "jwt_secret": SECRET}
    ended = await run("up", "--config", config, *ports, **settings)
    assert ended.status == 2
    assert "a Redis Cluster of 2 shards" in ended.stderr
