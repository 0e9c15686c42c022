"""What Redis is left with: nothing that is over, and one slot for all of a caller."""

import time
import uuid
from collections.abc import Callable

import pytest

from broker.messages import Principal
from ingress.identity.redis_sessions import RedisSessions
from ingress.identity.session_store import (
    SessionOwner,
    SessionRef,
    SessionsUnavailable,
    TokenReused,
    owner_of,
    session_of,
)
from ingress.limits.keys import identity, key
from ingress.limits.redis_store import RedisStore, open_link
from ingress.redis_wire import pack
from tests.servers import RedisServer

DIGEST = bytes(32)


def owner() -> SessionOwner:
    """One of whom nobody has heard."""
    return SessionOwner(f"session:{{{uuid.uuid4().hex}}}|sub:a".encode(), 600)


async def test_what_is_over_makes_room(redis_url: str) -> None:
    """With a new session the old ones go that nobody has renewed; the keys expire by themselves."""
    whose = owner()
    keys = (whose.key, whose.key + b"|kept")
    async with open_link(redis_url) as link:
        sessions = RedisSessions(link)
        for name in (b"a", b"b"):
            await sessions.open(SessionRef(whose, name), DIGEST, ())
        long_ago = b"%d" % ((time.time() - 601) * 1_000_000)
        await link.call(pack(b"ZADD", whose.key, long_ago, b"a"))
        await sessions.open(SessionRef(whose, b"c"), DIGEST, ())
        left = await link.call(pack(b"ZRANGE", keys[0], b"0", b"-1"))
        kept = await link.call(pack(b"HKEYS", keys[1]))
        expiry = [await link.call(pack(b"PTTL", each)) for each in keys]
    assert sorted(left) == sorted(kept) == [b"b", b"c"]
    assert all(590_000 < each <= 600_000 for each in expiry)


async def test_much_that_is_over_goes_bit_by_bit(redis_url: str) -> None:
    """Redis is never kept for long: each new session takes a hundred of the old ones with it."""
    whose = owner()
    long_ago = (time.time() - 601) * 1_000_000
    async with open_link(redis_url) as link:
        sessions = RedisSessions(link)
        old = [b"%d" % n for n in range(250)]
        await link.call(pack(b"ZADD", whose.key, *[x for n in old for x in (b"%d" % long_ago, n)]))
        await link.call(pack(b"HSET", whose.key + b"|kept", *[x for n in old for x in (n, b"x")]))
        left = []
        for name in (b"a", b"b", b"c", b"d"):
            assert await sessions.open(SessionRef(whose, name), DIGEST, ()) == 0
            counts = [pack(b"ZCARD", whose.key), pack(b"HLEN", whose.key + b"|kept")]
            left.append({await link.call(count) for count in counts})
    assert left == [{151}, {52}, {3}, {4}]


async def test_what_is_ended_leaves_nothing(redis_url: str) -> None:
    """However it ended: by its client, by a token that was used twice, by newer ones."""
    whose = owner()
    async with open_link(redis_url) as link:
        sessions = RedisSessions(link, most=2)
        names = [SessionRef(whose, name) for name in (b"a", b"b", b"c")]
        for session in names:
            await sessions.open(session, DIGEST, ())
        await sessions.end(names[1])
        with pytest.raises(TokenReused):
            await sessions.renew(names[2], bytes(31) + b"x", DIGEST)
        assert await link.call(pack(b"EXISTS", whose.key, whose.key + b"|kept")) == 0


def test_one_slot() -> None:
    """Sessions have the hash tag of the caller's limits: a Redis Cluster can check all at once."""
    caller = Principal("alice", "PRO", customer="acme", session="gws_x")
    alone = Principal("alice", "PRO", session="gws_x")
    assert owner_of(caller, 1).key == b"session:{org:acme}|sub:alice"
    assert owner_of(alone, 1).key == b"session:{sub:alice}|sub:alice"
    assert key(identity("org", "acme"), identity("sub", "alice"), "tier").startswith(
        b"rl:{org:acme}|"
    )
    assert session_of(caller, 1) == SessionRef(owner_of(caller, 1), b"gws_x")
    assert session_of(Principal("alice", "PRO"), 1) is None
    assert session_of(None, 1) is None


async def test_without_redis(private_redis: Callable[[], RedisServer]) -> None:
    """Whatever is asked, the answer is that nothing can be said; a call under way included."""
    server = private_redis()
    session = SessionRef(owner(), b"a")
    async with open_link(server.url) as link:
        store = RedisStore(link)
        await store.sessions.open(session, DIGEST, ())
        server.kill()
        for _ in range(2):
            for ask in (
                store.check((), session=session),
                store.sessions.open(session, DIGEST, ()),
                store.sessions.scopes(session),
                store.sessions.renew(session, DIGEST, DIGEST),
                store.sessions.listed(session.owner, 1),
                store.sessions.end(session),
            ):
                with pytest.raises(SessionsUnavailable):
                    await ask
