"""Where instances are kept makes no difference to who follows them: one suite, both registries."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from dispatcher.discovery.embedded_registry import EmbeddedRegistry
from dispatcher.discovery.redis_registry import RedisRegistry
from dispatcher.discovery.registration import Lease
from dispatcher.discovery.registry import Following, Registry, RegistryFull
from tests.conformance.carriers import Inbox

LONG = 60.0  # seconds
A, B = Lease("http://a.test:80", LONG), Lease("http://b.test:80", LONG, weight=3, zone="east")


@pytest_asyncio.fixture(params=["embedded", "redis"])
async def registries(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Registry, Registry]]:
    """Of two nodes; the embedded one has but one."""
    if request.param == "embedded":
        async with EmbeddedRegistry() as registry:
            yield registry, registry
    else:
        url = request.getfixturevalue("redis_url")
        async with RedisRegistry(url) as one, RedisRegistry(url) as other:
            yield one, other


@pytest.fixture
def registry(registries: tuple[Registry, Registry]) -> Registry:
    """Where instances register."""
    return registries[0]


class Follower(Inbox[Sequence[Lease]]):
    """Hears of the leases of one service."""

    def __init__(self, registry: Registry, service: str) -> None:
        super().__init__()
        self.following: Following = registry.follow(service, self)

    async def until(self, *leases: Lease) -> None:
        """Hear until exactly these are told."""
        while list(await self.next()) != list(leases):
            pass


@pytest_asyncio.fixture
async def follower(registries: tuple[Registry, Registry], service: str) -> Follower:
    """At the other node."""
    follower = Follower(registries[1], service)
    await follower.following.tried.wait()
    return follower


async def test_a_follower_hears_of_all(
    registry: Registry, follower: Follower, service: str
) -> None:
    """New ones, changes and removals are told, each time with all that there are."""
    assert await registry.register(service, B)
    await follower.until(B)
    assert await registry.register(service, A)
    await follower.until(A, B)
    lighter = Lease(B.url, LONG, weight=1)
    assert not await registry.register(service, lighter)
    await follower.until(A, lighter)
    assert await registry.remove(service, A.url)
    await follower.until(lighter)
    assert list(await registry.registered(service)) == [lighter]


async def test_who_comes_later_hears_what_there_is(
    registries: tuple[Registry, Registry], service: str
) -> None:
    """The first thing told is the whole."""
    await registries[0].register(service, A)
    assert list(await Follower(registries[1], service).next()) == [A]


async def test_a_heartbeat_is_no_news(registry: Registry, follower: Follower, service: str) -> None:
    """The same again is not told again."""
    await registry.register(service, A)
    for _ in range(5):
        assert not await registry.register(service, A)
    await registry.register(service, B)
    told = [list(leases) for leases in [await follower.next() for _ in range(2)]]
    if told[0] == []:
        told = [told[1], list(await follower.next())]
    assert told == [[A], [A, B]]


async def test_a_lease_ends(registry: Registry, follower: Follower, service: str) -> None:
    """Without a heartbeat an instance goes, and the others stay."""
    await registry.register(service, A)
    await registry.register(service, Lease("http://short.test:80", 0.3))
    await follower.until(A, Lease("http://short.test:80", 0.3))
    await follower.until(A)
    assert list(await registry.registered(service)) == [A]
    assert await registry.register(service, Lease("http://short.test:80", LONG))


async def test_heartbeats_keep_a_lease(
    registry: Registry, follower: Follower, service: str
) -> None:
    """What comes again in time stays, well past its first TTL."""
    short = Lease("http://short.test:80", 2.0)
    await registry.register(service, short)
    await follower.until(short)
    for _ in range(10):
        await asyncio.sleep(0.25)
        assert not await registry.register(service, short)
    assert follower.waiting == 0


async def test_services_are_apart(registry: Registry, follower: Follower, service: str) -> None:
    """One service's instances are not another's."""
    await registry.register(service + "x", A)
    await registry.register(service, B)
    await follower.until(B)
    assert not await registry.remove(service, A.url)
    assert list(await registry.registered(service + "x")) == [A]


async def test_who_has_left_hears_nothing(
    registries: tuple[Registry, Registry], registry: Registry, service: str
) -> None:
    """Its place is free, and others still hear."""
    gone, stays = (Follower(registries[1], service) for _ in range(2))
    for follower in (gone, stays):
        await follower.following.tried.wait()
    gone.following.leave()
    heard = gone.waiting
    await registry.register(service, A)
    await stays.until(A)
    assert gone.waiting == heard


async def test_the_number_is_bounded(registry: Registry, service: str) -> None:
    """One more than the most is refused; a heartbeat never is; a free place can be taken."""
    leases = [Lease(f"http://10.0.{n // 250}.{n % 250}", LONG) for n in range(1000)]
    for lease in leases:
        await registry.register(service, lease)
    with pytest.raises(RegistryFull):
        await registry.register(service, A)
    assert not await registry.register(service, leases[500])
    await registry.remove(service, leases[500].url)
    assert await registry.register(service, A)
