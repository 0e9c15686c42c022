"""Sessions in memory: they end in time, and take no more room than those that last."""

from ingress.identity.embedded_sessions import EmbeddedSessions
from ingress.identity.session_store import SessionOwner, SessionRef
from tests.unit.ingress.identity.signing import Clock

DIGEST = bytes(32)
OWNER = SessionOwner(b"a", 60)


async def test_a_session_ends_in_time() -> None:
    """To the second; a renewal gives it as much again."""
    clock = Clock()
    sessions = EmbeddedSessions(clock)
    session = SessionRef(OWNER, b"s")
    await sessions.open(session, DIGEST, ())
    clock.now += 59
    assert sessions.holds(session)
    await sessions.renew(session, DIGEST, DIGEST)
    clock.now += 59
    assert sessions.holds(session)
    clock.now += 1
    assert not sessions.holds(session)
    assert await sessions.listed(OWNER, 1) == []


async def test_what_is_over_is_forgotten() -> None:
    """With the next session: of its owner, and of all others."""
    clock = Clock()
    sessions = EmbeddedSessions(clock)
    for number in range(100):
        await sessions.open(SessionRef(SessionOwner(b"%d" % number, 60), b"s"), DIGEST, ())
    clock.now += 30
    for name in (b"s", b"t"):
        await sessions.open(SessionRef(OWNER, name), DIGEST, ())
    assert len(sessions) == 102
    clock.now += 40
    await sessions.renew(SessionRef(OWNER, b"t"), DIGEST, DIGEST)
    clock.now += 20
    await sessions.open(SessionRef(OWNER, b"u"), DIGEST, ())
    assert [session.id for session in await sessions.listed(OWNER, 3)] == ["u", "t"]
    assert len(sessions) == 2


async def test_an_owner_without_sessions_is_forgotten() -> None:
    """Ending the last one leaves nothing."""
    sessions = EmbeddedSessions()
    session = SessionRef(OWNER, b"s")
    await sessions.open(session, DIGEST, ())
    await sessions.end(session)
    assert len(sessions) == 0
    assert not sessions._owners
