"""Sessions in the memory of this process; they end with it."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from itertools import islice

from ingress.identity.session_store import (
    MOST_SESSIONS,
    Session,
    SessionOver,
    SessionOwner,
    SessionRef,
    TokenReused,
    TooManySessions,
)


@dataclass(slots=True, eq=False)
class _Kept:
    digest: bytes
    scopes: tuple[str, ...]
    opened: float
    renewed: float


_Sessions = OrderedDict[bytes, _Kept]  # the one that was not renewed for longest first


class EmbeddedSessions:
    """The sessions that one process keeps; ``clock`` gives Unix seconds.

    What is over is forgotten when a session is opened: of its owner, and whole owners.
    """

    def __init__(self, clock: Callable[[], float] = time.time, most: int = MOST_SESSIONS) -> None:
        self._clock = clock
        self._most = most
        self._owners: OrderedDict[bytes, _Sessions] = OrderedDict()  # by their last renewals

    def __len__(self) -> int:
        return sum(map(len, self._owners.values()))

    def holds(self, session: SessionRef) -> bool:
        """Whether it lasts."""
        return self._find(session) is not None

    async def open(
        self, session: SessionRef, digest: bytes, scopes: Sequence[str], in_use: float = 0.0
    ) -> int:
        """Begin one; how many others it ended before their time. Raises TooManySessions."""
        now = self._clock()
        over = now - session.owner.ttl
        self._forget_owners(over)
        sessions = self._owners.setdefault(session.owner.key, OrderedDict())
        while sessions and _first(sessions).renewed <= over:
            sessions.popitem(last=False)
        beyond = max(0, len(sessions) + 1 - self._most)
        if beyond:
            last = next(islice(sessions.values(), beyond - 1, None))
            if (wait := last.renewed + in_use - now) > 0:
                raise TooManySessions(wait)
        for _ in range(beyond):
            sessions.popitem(last=False)
        sessions[session.id] = _Kept(digest, tuple(scopes), now, now)
        self._owners.move_to_end(session.owner.key)
        return beyond

    async def scopes(self, session: SessionRef) -> tuple[str, ...]:
        """What it was opened for. Raises SessionOver."""
        return self._lasting(session).scopes

    async def renew(self, session: SessionRef, used: bytes, new: bytes) -> tuple[str, ...]:
        """Let one digest take the place of another. Raises SessionOver, TokenReused."""
        kept = self._lasting(session)
        if not compare_digest(kept.digest, used):
            await self.end(session)
            raise TokenReused
        kept.digest, kept.renewed = new, self._clock()
        self._owners[session.owner.key].move_to_end(session.id)
        self._owners.move_to_end(session.owner.key)
        return kept.scopes

    async def listed(
        self, owner: SessionOwner, most: int, before: float | None = None
    ) -> list[Session]:
        """Those that last, the one that was renewed last first."""
        since = self._clock() - owner.ttl
        sessions = self._owners.get(owner.key, OrderedDict())
        found = (
            Session(name.decode(), kept.scopes, kept.opened, kept.renewed)
            for name, kept in reversed(sessions.items())
            if kept.renewed > since and (before is None or kept.renewed < before)
        )
        return list(islice(found, most))

    async def end(self, session: SessionRef) -> bool:
        """End one; whether there was something to end."""
        sessions = self._owners.get(session.owner.key, OrderedDict())
        ended = sessions.pop(session.id, None) is not None
        if not sessions:
            self._owners.pop(session.owner.key, None)
        return ended

    def _find(self, session: SessionRef) -> _Kept | None:
        sessions = self._owners.get(session.owner.key)
        kept = None if sessions is None else sessions.get(session.id)
        if kept is None or kept.renewed + session.owner.ttl <= self._clock():
            return None
        return kept

    def _lasting(self, session: SessionRef) -> _Kept:
        kept = self._find(session)
        if kept is None:
            raise SessionOver
        return kept

    def _forget_owners(self, over: float) -> None:
        """Drop those of whom nothing was renewed after that time."""
        while self._owners:
            key, sessions = next(iter(self._owners.items()))
            if next(reversed(sessions.values())).renewed > over:
                return
            del self._owners[key]


def _first(sessions: _Sessions) -> _Kept:
    return next(iter(sessions.values()))
