"""Where sessions are kept makes no difference to a client: one suite, all stores."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest
import pytest_asyncio

from ingress.identity.embedded_sessions import EmbeddedSessions
from ingress.identity.redis_sessions import RedisSessions
from ingress.identity.session_store import (
    SessionOver,
    SessionOwner,
    SessionRef,
    TokenReused,
    TooManySessions,
)
from ingress.limits.allowance import Allowance, Charge, Store
from ingress.limits.embedded import EmbeddedStore
from ingress.limits.redis_store import RedisStore, open_link

MOST = 4
SCOPES = ("orders:read", "orders:write")


@pytest_asyncio.fixture(params=["embedded", "redis", "redis_cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Each in turn, with room for a few sessions of an owner."""
    if request.param == "embedded":
        yield EmbeddedStore(sessions=EmbeddedSessions(most=MOST))
    else:
        async with open_link(request.getfixturevalue(f"{request.param}_url")) as link:
            made = RedisStore(link)
            made.sessions = RedisSessions(link, most=MOST)
            yield made


def owner(ttl: int = 600) -> SessionOwner:
    """One of whom nobody has heard."""
    return SessionOwner(f"session:{{{uuid.uuid4().hex}}}|sub:a".encode(), ttl)


def digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


async def opened(store: Store, whose: SessionOwner, name: str = "s") -> SessionRef:
    """A session whose refresh token has the digest of its name."""
    session = SessionRef(whose, name.encode())
    await store.sessions.open(session, digest(name), SCOPES)
    return session


async def lasts(store: Store, session: SessionRef) -> bool:
    """As a request finds it."""
    try:
        outcome = await store.check((), session=session)
    except SessionOver:
        return False
    assert outcome.allowed
    assert not outcome.levels
    return True


async def names(store: Store, whose: SessionOwner) -> list[str]:
    """Of all, the one that was renewed last first."""
    return [session.id for session in await store.sessions.listed(whose, MOST + 1)]


async def test_a_session_lasts_until_it_is_ended(store: Store) -> None:
    """It does not before it is opened, nor from the moment on when it is ended."""
    session = SessionRef(owner(), b"s")
    assert not await lasts(store, session)
    await opened(store, session.owner)
    assert await lasts(store, session)
    assert await store.sessions.end(session)
    assert not await lasts(store, session)
    assert not await store.sessions.end(session)


async def test_sessions_are_apart(store: Store) -> None:
    """An id means nothing under another owner, who can neither see nor renew nor end it."""
    session, other = await opened(store, owner()), owner()
    foreign = SessionRef(other, session.id)
    assert not await lasts(store, foreign)
    assert await names(store, other) == []
    assert not await store.sessions.end(foreign)
    with pytest.raises(SessionOver):
        await store.sessions.renew(foreign, digest("s"), digest("t"))
    assert await lasts(store, session)


async def test_what_is_known_of_a_session(store: Store) -> None:
    """Its scopes and times are listed; a renewal changes one of the times."""
    session = await opened(store, owner())
    [before] = await store.sessions.listed(session.owner, 2)
    await store.sessions.renew(session, digest("s"), digest("t"))
    [after] = await store.sessions.listed(session.owner, 2)
    assert (before.id, before.scopes) == (after.id, after.scopes) == ("s", SCOPES)
    assert before.opened == after.opened == before.renewed <= after.renewed
    assert await store.sessions.scopes(session) == SCOPES
    with pytest.raises(SessionOver):
        await store.sessions.scopes(SessionRef(session.owner, b"other"))


async def test_a_session_without_scopes(store: Store) -> None:
    """No scope is none, not an empty one."""
    session = SessionRef(owner(), b"s")
    await store.sessions.open(session, digest("s"), ())
    assert await store.sessions.scopes(session) == ()


async def test_it_is_over_when_it_was_not_renewed_in_time(store: Store) -> None:
    """How long it lasts is what the configuration says now, not when it was opened."""
    session = await opened(store, owner())
    late = SessionRef(session.owner._replace(ttl=0), session.id)
    assert not await lasts(store, late)
    assert await names(store, late.owner) == []
    with pytest.raises(SessionOver):
        await store.sessions.renew(late, digest("s"), digest("t"))
    assert await lasts(store, session)


async def test_a_renewal_spends_the_token(store: Store) -> None:
    """The new digest takes the place of the old one, again and again."""
    session = await opened(store, owner())
    assert await store.sessions.renew(session, digest("s"), digest("t")) == SCOPES
    assert await store.sessions.renew(session, digest("t"), digest("u")) == SCOPES
    assert await lasts(store, session)


async def test_a_reused_token_ends_the_session(store: Store) -> None:
    """For its thief and for its owner; and for no other session."""
    session = await opened(store, owner())
    other = await opened(store, session.owner, "other")
    await store.sessions.renew(session, digest("s"), digest("t"))
    with pytest.raises(TokenReused):
        await store.sessions.renew(session, digest("s"), digest("x"))
    with pytest.raises(SessionOver) as over:
        await store.sessions.renew(session, digest("t"), digest("u"))
    assert not isinstance(over.value, TokenReused)
    assert not await lasts(store, session)
    assert await lasts(store, other)


async def test_of_fifty_parallel_uses_one_succeeds(store: Store) -> None:
    """And then the session is over."""
    session = await opened(store, owner())
    uses = [store.sessions.renew(session, digest("s"), digest(str(n))) for n in range(50)]
    found = await asyncio.gather(*uses, return_exceptions=True)
    assert sum(one == SCOPES for one in found) == 1
    assert sum(isinstance(one, SessionOver) for one in found) == 49
    assert not await lasts(store, session)


async def test_sessions_of_an_owner_are_bounded(store: Store) -> None:
    """A new one ends the one that was not renewed for longest."""
    whose = owner()
    first, second, *_ = [await opened(store, whose, str(n)) for n in range(MOST)]
    await store.sessions.renew(first, digest("0"), digest("x"))
    await opened(store, whose, "new")
    assert not await lasts(store, second)
    assert set(await names(store, whose)) == {"0", "2", "3", "new"}


async def test_sessions_in_use_make_no_room(store: Store) -> None:
    """As long as all were renewed lately there is no room; the oldest tells when there is."""
    whose = owner()
    assert [await begun(store, whose, str(n)) for n in range(MOST)] == [0] * MOST
    with pytest.raises(TooManySessions) as refused:
        await begun(store, whose, "new")
    assert 50 < refused.value.wait <= 60
    assert await names(store, whose) == ["3", "2", "1", "0"]
    assert await begun(store, whose, "new", in_use=0) == 1
    assert await names(store, whose) == ["new", "3", "2", "1"]
    shorter = whose._replace(ttl=0)
    assert await begun(store, shorter, "newer") == 0


async def test_a_list_goes_on_where_it_ended(store: Store) -> None:
    """So many at a time, from those on that were renewed before the last one seen."""
    whose = owner()
    first, *_ = [await opened(store, whose, str(n)) for n in range(MOST)]
    await store.sessions.renew(first, digest("0"), digest("x"))
    page = await store.sessions.listed(whose, 2)
    assert [session.id for session in page] == ["0", "3"]
    await store.sessions.end(SessionRef(whose, b"3"))
    rest = await store.sessions.listed(whose, 2, page[-1].renewed)
    assert [session.id for session in rest] == ["2", "1"]
    assert await store.sessions.listed(whose, 2, rest[-1].renewed) == []
    assert await store.sessions.listed(whose._replace(ttl=0), 2) == []


async def begun(store: Store, whose: SessionOwner, name: str, in_use: float = 60) -> int:
    """How many sessions went for a new one."""
    return await store.sessions.open(SessionRef(whose, name.encode()), digest(name), (), in_use)


async def test_limits_and_session_in_one(store: Store) -> None:
    """A request of a session that lasts is counted, one of a session that is over is not."""
    session = await opened(store, owner())
    charges = [Charge(uuid.uuid4().bytes, Allowance(b'"a"', 1, burst)) for burst in (1, 2)]
    assert (await store.check(charges, session=session)).allowed
    for _ in range(3):
        with pytest.raises(SessionOver):
            await store.check(charges, session=SessionRef(session.owner, b"other"))
    assert (await store.check(charges, session=session)).allowed
    assert not (await store.check(charges, session=session)).allowed


async def test_nothing_is_counted_at_no_cost(store: Store) -> None:
    """A check that costs nothing tells whether there is room, and takes none."""
    full, fuller = Allowance(b'"a"', 1, 1), Allowance(b'"a"', 1, 0)
    key = uuid.uuid4().bytes
    for _ in range(3):
        assert (await store.check([Charge(key, fuller)], 0)).allowed
    assert (await store.check([Charge(key, full)])).allowed
    assert (await store.check([Charge(key, fuller)], 0)).allowed
    assert (await store.check([Charge(key, full)])).allowed
    refused = await store.check([Charge(key, fuller)], 0)
    assert not refused.allowed
    assert 59 < refused.retry_after(0) <= 60
