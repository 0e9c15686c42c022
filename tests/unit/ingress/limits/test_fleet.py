"""How many nodes there are, through starts, ends, flushes and outages."""

import asyncio
from collections.abc import Callable

import redis.asyncio

from ingress.limits.fleet import Fleet
from ingress.limits.redis_store import open_link
from tests.servers import RedisServer

BELIEVED = 30  # beats, half a second apart


async def counts(fleet: Fleet, size: int) -> None:
    """Wait until it has counted so many."""
    async with asyncio.timeout(30):
        while fleet.size != size:  # noqa: ASYNC110 - it has no event for this
            await asyncio.sleep(0.01)


def test_more_at_once_fewer_later() -> None:
    """The first that hears of more grows; only fewer for as long as a silent node counts shrink."""
    fleet = Fleet(open_link("redis://127.0.0.1"))
    for heard in [3, *[1] * (BELIEVED - 1), 3, *[1] * (BELIEVED - 1)]:
        fleet._hear(heard)
        assert fleet.size == 3
    fleet._hear(2)
    assert fleet.size == 2
    fleet._hear(4)
    assert fleet.size == 4


async def test_an_empty_redis(private_redis: Callable[[], RedisServer]) -> None:
    """After a flush, and after a restart, a node knows of others that have not beaten yet."""
    server = private_redis()
    async with open_link(server.url) as link, Fleet(link, 0.01) as fleet:
        async with Fleet(link, 0.01):
            await counts(fleet, 2)
        heard: list[int] = []
        hear = fleet._hear

        def listen(count: int) -> None:
            hear(count)
            heard.append(count)

        fleet._hear = listen  # type: ignore[method-assign]  # to see each beat
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await client.flushall()
        for restart in (False, True):
            if restart:
                server.kill()
                server.start()
            before = len(heard)
            async with asyncio.timeout(30):
                while 1 not in heard[before:]:  # noqa: ASYNC110 - it has no event for this
                    await asyncio.sleep(0.01)
            assert fleet.size == 2
