"""Where levels are kept makes no difference to a caller: one suite, all stores."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ingress.limits.allowance import Allowance, Charge, Store
from ingress.limits.embedded import EmbeddedStore
from ingress.limits.redis_store import RedisStore, open_link

REQUEST = 60_000_000


@pytest_asyncio.fixture(params=["embedded", "redis", "redis_cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Each in turn."""
    if request.param == "embedded":
        yield EmbeddedStore()
    else:
        async with open_link(request.getfixturevalue(f"{request.param}_url")) as link:
            yield RedisStore(link)


def charge(per_minute: int, burst: int = 0) -> Charge:
    """Under a key that nobody has used."""
    return Charge(uuid.uuid4().bytes, Allowance(b'"a"', per_minute, burst))


async def admitted(store: Store, charges: list[Charge], attempts: int) -> int:
    outcomes = await asyncio.gather(*(store.check(charges) for _ in range(attempts)))
    return sum(outcome.allowed for outcome in outcomes)


async def test_exactly_the_allowance_passes(store: Store) -> None:
    """Of many requests at once the rate and the burst pass, and no other."""
    assert await admitted(store, [charge(1, burst=24)], 250) == 25


async def test_callers_do_not_share(store: Store) -> None:
    """What one key has used, another still has."""
    assert await admitted(store, [charge(1, burst=2)], 9) == 3
    assert await admitted(store, [charge(1, burst=2)], 9) == 3


async def test_all_or_nothing(store: Store) -> None:
    """A request that one limit refuses uses up nothing of the others."""
    wide, narrow = charge(1, burst=9), charge(1, burst=1)
    assert await admitted(store, [wide, narrow], 20) == 2
    outcome = await store.check([wide])
    assert outcome.allowed
    assert wide.allowance.remaining(outcome.levels[0]) == 7


async def test_cost_of_more_than_there_is(store: Store) -> None:
    """Where a request costs more than a whole allowance, it takes all of it."""
    wide, narrow = charge(1, burst=9), charge(1, burst=1)
    outcome = await store.check([wide, narrow], 4)
    assert outcome.allowed
    left = [c.allowance.remaining(level) for c, level in zip(*outcome[1:], strict=True)]
    assert left == [6, 0]
    assert not (await store.check([narrow], 4)).allowed


async def test_what_remains(store: Store) -> None:
    """The outcome tells how many may follow, when it will be one more, and when all of them."""
    one = charge(2, burst=3)
    for left in (4, 3, 2):
        outcome = await store.check([one])
        assert (outcome.allowed, one.allowance.remaining(outcome.levels[0])) == (True, left)
    assert 29 < one.allowance.until_more(outcome.levels[0]) <= 30
    assert 89 < one.allowance.until_whole(outcome.levels[0]) <= 90


async def test_retry_after_is_true(store: Store) -> None:
    """Who waits as long as it was told is admitted, once."""
    one = charge(1200)  # one each 50 ms
    await store.check([one], 1200)
    refused = await store.check([one])
    assert not refused.allowed
    assert 0 < refused.retry_after() <= 0.05
    await asyncio.sleep(refused.retry_after() + 0.002)  # the loop's timers round milliseconds
    assert (await store.check([one])).allowed


async def test_retry_after_is_that_of_the_tightest(store: Store) -> None:
    """Of several limits that refuse, the longest wait is told."""
    fast, slow = charge(60), charge(2)
    await store.check([fast], 60)
    await store.check([slow], 2)
    assert 29 < (await store.check([fast, slow])).retry_after() <= 30


async def test_cost(store: Store) -> None:
    """A costly request counts for several, and is refused where fewer are left."""
    one = charge(1, burst=9)
    assert (await store.check([one], 7)).allowed
    refused = await store.check([one], 4)
    assert not refused.allowed
    assert 59 < refused.retry_after(4) <= 60
    assert (await store.check([one], 3)).allowed


async def test_levels_outlive_a_change_of_the_limit(store: Store) -> None:
    """What was used under one allowance is used under the one that follows it."""
    old = charge(1, burst=9)
    await store.check([old], 8)
    new = Charge(old.key, Allowance(b'"a"', 1, 11))
    assert await admitted(store, [new], 20) == 4


async def test_large_allowances_are_exact(store: Store) -> None:
    """Whole numbers all the way: nothing is rounded off at a level near 2^53."""
    one = charge(1, burst=149_999_998)
    outcome = await store.check([one], 149_999_998)
    assert outcome.levels[0] == 149_999_998 * REQUEST
    assert await admitted(store, [one], 5) == 1
