"""What only the registry in Redis has to stand: a Redis that is away, or has lost its data."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from dispatcher.discovery.redis_registry import RedisRegistry
from dispatcher.discovery.registration import Lease
from dispatcher.discovery.registry_scripts import CLOCK, NEWS, RESTORE, leases_key
from tests.conformance.carriers import WITHIN
from tests.conformance.test_registries import LONG, A, B, Follower
from tests.processes import free_port
from tests.servers import RedisServer

SHORT = Lease("http://short.test:80", 2.0)


@pytest.fixture
def server(private_redis: Callable[[], RedisServer]) -> RedisServer:
    """One that the test may treat badly."""
    return private_redis()


@pytest_asyncio.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    """A client beside the registry's."""
    async with Redis.from_url(server.url) as redis:
        yield redis


@pytest_asyncio.fixture
async def registry(server: RedisServer) -> AsyncIterator[RedisRegistry]:
    """The one under test."""
    async with RedisRegistry(server.url) as registry:
        yield registry


async def until_state(registry: RedisRegistry, state: str) -> None:
    async with asyncio.timeout(WITHIN):
        while registry.state != state:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0.01)


async def until_position(registry: RedisRegistry, redis: Redis, position: str) -> None:
    """Wait until it has dealt with the news up to there, and waits for others."""
    async with asyncio.timeout(WITHIN):
        while registry._position != position or not await somebody_waits(redis):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def somebody_waits(redis: Redis) -> bool:
    return any("b" in client["flags"] for client in await redis.client_list())


async def test_leases_do_not_run_while_redis_is_away(
    registry: RedisRegistry, redis: Redis, service: str
) -> None:
    """A pause longer than the TTL ends no lease; after it, each runs on and ends."""
    follower = Follower(registry, service)
    await registry.register(service, SHORT)
    await follower.until(SHORT)
    await redis.client_pause(5000)
    await until_state(registry, "disconnected")
    await until_state(registry, "connected")
    assert list(await registry.registered(service)) == [SHORT]
    assert follower.waiting == 0
    await follower.until()


async def test_who_follows_while_redis_is_away_hears_what_others_know(
    registry: RedisRegistry, redis: Redis, service: str
) -> None:
    """At once, although nothing can be read."""
    follower = Follower(registry, service)
    await registry.register(service, A)
    await follower.until(A)
    await redis.client_pause(5000)
    await until_state(registry, "disconnected")
    later = Follower(registry, service)
    assert later.waiting == 1
    await later.until(A)


async def test_after_a_loss_of_data_those_known_have_one_ttl(
    registry: RedisRegistry, server: RedisServer, redis: Redis, service: str
) -> None:
    """They stay beside who reports first, and go unless they report too."""
    follower = Follower(registry, service)
    async with RedisRegistry(server.url) as elsewhere:
        await elsewhere.register(service, SHORT)
        await follower.until(SHORT)
        await redis.flushall()
        await elsewhere.register(service, A)
        await follower.until(A, SHORT)
        await follower.until(A)


async def test_who_starts_after_a_loss_of_data_knows_what_the_others_do(
    registry: RedisRegistry,
    server: RedisServer,
    redis: Redis,
    service: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What one has known is kept again, with its weight and zone, and the log says why."""
    follower = Follower(registry, service)
    await registry.register(service, B)
    await follower.until(B)
    await redis.flushall()
    async with RedisRegistry(server.url) as newcomer:
        await Follower(newcomer, service).until(B)
        assert list(await newcomer.registered(service)) == [B]
    assert follower.waiting == 0
    assert [text for text in caplog.messages if "has lost its data" in text] == [
        "the registry has lost its data: the instances known here are put back"
    ]


async def test_what_redis_has_lost_since_a_snapshot_is_put_back(
    registry: RedisRegistry, server: RedisServer, redis: Redis, service: str
) -> None:
    """As after a restart from disk, or a replica that takes over: older data, of the same name."""
    follower = Follower(registry, service)
    again = Lease("http://again.test:80", LONG)
    async with RedisRegistry(server.url) as elsewhere:
        await elsewhere.register(service, A)
        await elsewhere.remove(service, again.url)
        await follower.until(A)
        keys = [CLOCK, NEWS, leases_key(service)]
        snapshot = [await bytes_of(server, key) for key in keys]
        await elsewhere.register(service, again)
        await elsewhere.register(service, B)
        await follower.until(A, again, B)
        for key, value in zip(keys, snapshot, strict=True):
            await redis.restore(key, 0, value, replace=True)
        newer = Lease("http://newer.test:80", LONG)
        await elsewhere.register(service, newer)
        await Follower(elsewhere, service).until(A, again, B, newer)


async def bytes_of(server: RedisServer, key: str) -> bytes:
    """A key as a snapshot has it."""
    async with Redis.from_url(server.url, decode_responses=False) as redis:
        dumped = await redis.dump(key)
    assert dumped is not None
    return dumped


async def test_who_hears_of_a_loss_of_data_late_brings_back_nobody_who_went(
    registry: RedisRegistry, redis: Redis, service: str
) -> None:
    """What was removed since, or has had its TTL, stays away; what came again stays as it is."""
    missing, removed, over = (
        Lease(f"http://{name}.test:80", ttl)
        for name, ttl in (("missing", LONG), ("removed", LONG), ("over", 0.001))
    )
    await registry.register(service, A)
    await registry.remove(service, removed.url)
    before = Lease(A.url, LONG, weight=5)
    await put_back(redis, service, missing, removed, over, before)
    assert list(await registry.registered(service)) == [A, missing]


async def put_back(redis: Redis, service: str, *leases: Lease) -> None:
    """As a dispatcher does that has just found out."""
    known: list[str | float] = []
    for lease in leases:
        known += [lease.url, lease.ttl * 1000, msgspec.json.encode(lease).decode()]
    script = redis.register_script(RESTORE)
    await script([CLOCK, NEWS, leases_key(service)], ["epoch", service, *known])


async def test_who_is_removed_after_a_loss_of_data_goes_at_once(
    registry: RedisRegistry, server: RedisServer, redis: Redis, service: str
) -> None:
    """Who knows it still does not put it back, although nothing was there to be removed."""
    follower = Follower(registry, service)
    lost = Lease("http://lost.test:80", LONG)
    async with RedisRegistry(server.url) as elsewhere:
        await elsewhere.register(service, lost)
        await follower.until(lost)
        await redis.flushall()
        await elsewhere.remove(service, lost.url)
        await follower.until()


async def test_a_new_redis_whose_clock_is_behind(
    registry: RedisRegistry, server: RedisServer, redis: Redis, service: str
) -> None:
    """News are heard although they seem older than those of the one before it."""
    follower = Follower(registry, service)
    async with RedisRegistry(server.url) as elsewhere:
        await elsewhere.register(service, A)
        await follower.until(A)
        await redis.xadd(NEWS, {"service": service}, id="99999999999999-1")
        await until_position(registry, redis, "99999999999999-1")
        await redis.flushall()
        await elsewhere.register(service, B)
        await follower.until(A, B)


async def test_what_happened_while_nobody_listened_is_read(
    registry: RedisRegistry, server: RedisServer, redis: Redis, service: str
) -> None:
    """Whoever was cut off reads all again."""
    follower = Follower(registry, service)
    await follower.following.tried.wait()
    names = {each["id"] for each in await redis.client_list()}
    own = await redis.client_id()
    async with RedisRegistry(server.url) as elsewhere:
        for client in names - {str(own)}:
            await redis.client_kill_filter(_id=client)
        await elsewhere.register(service, A)
        await follower.until(A)


async def test_entries_that_can_not_be_read_are_left_out(
    registry: RedisRegistry, redis: Redis, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A stranger's hand in the store costs what it wrote, not the rest."""
    await registry.register(service, A)
    entries: dict[FieldT, EncodableT] = {"http://x": "9999999999999 {}", "http://y": "nonsense"}
    await redis.hset(f"sd:{{sd}}:leases:{service}", mapping=entries)
    assert list(await registry.registered(service)) == [A]
    assert "can't be read" in caplog.text


async def test_a_redis_that_never_was(service: str) -> None:
    """A follower is not kept waiting, and the registry says how it is."""
    async with RedisRegistry(f"redis://127.0.0.1:{free_port()}") as registry:
        assert registry.ready
        assert registry.state is None
        follower = Follower(registry, service)
        await asyncio.wait_for(follower.following.tried.wait(), WITHIN)
        assert registry.state == "disconnected"
        assert not registry.ready
