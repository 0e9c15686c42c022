"""In a Redis Cluster: limits and a session whose keys are in several slots."""

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis.asyncio

from ingress.identity.session_store import (
    SessionOver,
    SessionOwner,
    SessionRef,
    SessionsUnavailable,
)
from ingress.limits.allowance import Allowance, Charge, StoreUnavailable
from ingress.limits.keys import key
from ingress.limits.redis_store import RedisStore, open_link


@pytest_asyncio.fixture
async def store(redis_cluster_url: str) -> AsyncIterator[RedisStore]:
    """In a cluster of one shard."""
    async with open_link(redis_cluster_url) as link:
        yield RedisStore(link)


def charge(home: str, what: str, burst: int) -> Charge:
    return Charge(key(home, home, what), Allowance(b'"a"', 1, burst))


async def left(store: RedisStore, one: Charge) -> int:
    """How many requests may follow."""
    return one.allowance.remaining((await store.check([one], 0)).levels[0])


async def test_a_session_and_limits_across_slots(store: RedisStore) -> None:
    """Each charge has its own level in the answer, and the session is looked up beside them."""
    caller, address = uuid.uuid4().hex, uuid.uuid4().hex
    session = SessionRef(SessionOwner(f"session:{{{caller}}}|a".encode(), 60), b"s")
    await store.sessions.open(session, bytes(32), ())
    charges = [charge(caller, "tier", 9), charge(address, "rule", 3), charge(caller, "route", 5)]
    outcome = await store.check(charges, session=session)
    assert outcome.allowed
    found = zip(charges, outcome.levels, strict=True)
    assert [one.allowance.remaining(level) for one, level in found] == [9, 3, 5]
    assert (await store.check(charges[1:2], session=session)).allowed


async def test_what_is_refused_in_one_slot_is_given_back_in_the_others(store: RedisStore) -> None:
    """A refused request uses up nothing, and is told the levels as they are."""
    caller, address = uuid.uuid4().hex, uuid.uuid4().hex
    wide, narrow, last = charge(caller, "tier", 9), charge(address, "rule", 0), charge("x", "y", 9)
    assert (await store.check([narrow])).allowed
    for _ in range(5):
        outcome = await store.check([wide, narrow, last])
        assert not outcome.allowed
        levels = [one.allowance.remaining(level) for one, level in zip(*outcome[1:], strict=True)]
        assert levels == [10, 0, 10]
    assert [await left(store, one) for one in (wide, narrow, last)] == [10, 0, 10]


async def test_a_session_that_is_over_counts_nothing_anywhere(store: RedisStore) -> None:
    """Whether its slot is that of a limit or not."""
    caller, address = uuid.uuid4().hex, uuid.uuid4().hex
    session = SessionRef(SessionOwner(f"session:{{{caller}}}|a".encode(), 60), b"s")
    charges = [charge(caller, "tier", 9), charge(address, "rule", 9)]
    for some in (charges, charges[1:]):
        with pytest.raises(SessionOver):
            await store.check(some, session=session)
    assert [await left(store, one) for one in charges] == [10, 10]


async def test_a_key_that_is_broken(store: RedisStore, redis_cluster_url: str) -> None:
    """Where one slot can't tell, nothing is counted in the others."""
    caller, address = uuid.uuid4().hex, uuid.uuid4().hex
    session = SessionRef(SessionOwner(f"session:{{{caller}}}|a".encode(), 60), b"s")
    good, broken = charge(caller, "tier", 9), charge(address, "rule", 9)
    await store.sessions.open(session, bytes(32), ())
    async with redis.asyncio.Redis.from_url(redis_cluster_url) as client:
        await client.rpush(broken.key, "x")
        with pytest.raises(StoreUnavailable):
            await store.check([good, broken])
        with pytest.raises(SessionsUnavailable):
            await store.check([good, broken], session=session)
    assert await left(store, good) == 10
