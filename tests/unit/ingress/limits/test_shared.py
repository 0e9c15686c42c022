"""While Redis can't be asked, each limit does what it says."""

import asyncio
import uuid
from collections.abc import Callable

import pytest
import redis.asyncio

from config.models.rates import OnStoreFailure
from ingress.identity.session_store import (
    SessionOver,
    SessionOwner,
    SessionRef,
    SessionsUnavailable,
)
from ingress.limits.allowance import Allowance, Charge, Outcome, StoreUnavailable
from ingress.limits.shared import LimitListener, NodeStore
from tests.servers import RedisServer


class Count(LimitListener):
    """Counts."""

    def __init__(self) -> None:
        self.not_shared = 0

    def limits_not_shared(self) -> None:
        self.not_shared += 1


def charge(word: OnStoreFailure, burst: int = 1) -> Charge:
    """Under a key that nobody has used."""
    return Charge(uuid.uuid4().bytes, Allowance(b'"a"', 1, burst, word))


async def until(store: NodeStore, state: str) -> None:
    async with asyncio.timeout(30):
        while store.state != state:  # noqa: ASYNC110 - it has no event for this
            await asyncio.sleep(0.01)


async def test_two_nodes_share(redis_url: str) -> None:
    """What one node has admitted, the other has not left; and neither counts it as a failure."""
    count = Count()
    async with NodeStore(redis_url, count) as one, NodeStore(redis_url, count) as other:
        charges = [charge("local", 2)]
        found = [await node.check(charges) for node in (one, other, one, other)]
    assert [outcome.allowed for outcome in found] == [True, True, True, False]
    assert count.not_shared == 0


async def test_shares(private_redis: Callable[[], RedisServer]) -> None:
    """Without Redis, nodes that had it together admit together what the limit says."""
    server = private_redis()
    async with NodeStore(server.url) as one, NodeStore(server.url) as other:
        async with asyncio.timeout(30):
            while (one._fleet.size, other._fleet.size) != (2, 2):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        server.kill()
        await asyncio.gather(*(until(node, "disconnected") for node in (one, other)))
        charges = [charge("local", 9)]
        found = [await node.check(charges) for node in (one, other) for _ in range(9)]
    assert sum(outcome.allowed for outcome in found) == 10


async def test_without_redis(private_redis: Callable[[], RedisServer]) -> None:
    """Local limits hold in this process, open ones don't, closed ones admit nobody."""
    server = private_redis()
    count = Count()
    async with NodeStore(server.url, count) as store:
        server.kill()
        await until(store, "disconnected")
        local, open_, closed = charge("local"), charge("open"), charge("closed")
        found = [await store.check([local, open_]) for _ in range(3)]
        assert [outcome.allowed for outcome in found] == [True, True, False]
        assert [outcome.charges for outcome in found] == [[local]] * 3
        assert [(await store.check([open_])).allowed for _ in range(3)] == [True] * 3
        with pytest.raises(StoreUnavailable):
            await store.check([local, closed])
        assert count.not_shared == 7
        server.start()
        await until(store, "connected")
        assert (await store.check([local, closed])).allowed
        assert count.not_shared == 7


async def test_a_redis_that_is_far_away(private_redis: Callable[[], RedisServer]) -> None:
    """With more time to answer it is asked, though what is held up is held up for longer."""
    server, count = private_redis(), Count()
    async with (
        NodeStore(server.url, count, timeout=1.0) as store,
        redis.asyncio.Redis.from_url(server.url) as client,
    ):
        for _ in range(2):
            await client.execute_command("CLIENT", "PAUSE", "100", "ALL")  # type: ignore[no-untyped-call]  # by redis-py
            assert (await store.check([charge("closed")])).allowed
    assert count.not_shared == 0


async def test_sessions_without_redis(private_redis: Callable[[], RedisServer]) -> None:
    """No session is good then, not even one that this node has made; after that it is again."""
    server = private_redis()
    session = SessionRef(SessionOwner(b"session:{a}|a", 60), b"s")
    count = Count()
    async with NodeStore(server.url, count) as store:
        await store.sessions.open(session, bytes(32), ())
        assert (await store.check((), session=session)).allowed
        server.kill()
        checks = [store.check([charge("open")], session=session) for _ in range(3)]
        found = await asyncio.gather(*checks, return_exceptions=True)
        await until(store, "disconnected")
        found += await asyncio.gather(
            store.check([charge("open")], session=session), return_exceptions=True
        )
        assert [type(each) for each in found] == [SessionsUnavailable] * 4
        assert count.not_shared == 4
        assert (await store.check([charge("local")])).allowed
        server.start()
        await until(store, "connected")
        with pytest.raises(SessionOver):
            await store.check((), session=session)


async def test_a_check_that_redis_does_not_answer(
    private_redis: Callable[[], RedisServer],
) -> None:
    """A check under way when Redis dies is made in this process; its caller hears of nothing."""
    server = private_redis()
    count = Count()
    async with NodeStore(server.url, count) as store:
        server.kill()
        charges = [charge("local", 9)]
        checks = [store.check(charges) for _ in range(30)]
        assert sum(outcome.allowed for outcome in await asyncio.gather(*checks)) == 10
    assert count.not_shared == 30


async def test_one_key_that_is_broken(private_redis: Callable[[], RedisServer]) -> None:
    """Of that caller the session is refused and the limit is local; the others share as ever."""
    broken = SessionRef(SessionOwner(uuid.uuid4().bytes, 60), b"s")
    lasting = SessionRef(SessionOwner(uuid.uuid4().bytes, 60), b"s")
    own, others = charge("local"), charge("local", 99)
    url = private_redis().url
    async with NodeStore(url) as store, redis.asyncio.Redis.from_url(url) as client:
        await store.sessions.open(lasting, bytes(32), ())
        await client.set(broken.owner.key, "x")
        await client.rpush(own.key, "x")
        for _ in range(20):
            calls = (
                store.check([others], session=broken),
                store.sessions.open(broken, bytes(32), ()),
                store.check([others], session=lasting),
            )
            refused, unopened, passed = await asyncio.gather(*calls, return_exceptions=True)
            assert type(refused) is type(unopened) is SessionsUnavailable
            assert isinstance(passed, Outcome)
            assert passed.allowed
        assert [(await store.check([own])).allowed for _ in range(3)] == [True, True, False]
        assert store.state == "connected"


async def test_without_a_url() -> None:
    """A process that has no Redis has no state of it either, and its limits are no failures."""
    count = Count()
    async with NodeStore(None, count) as store:
        charges = [charge("closed")]
        assert [(await store.check(charges)).allowed for _ in range(3)] == [True, True, False]
        assert store.state is None
    assert count.not_shared == 0
