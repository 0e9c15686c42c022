"""Sessions: what a store of them keeps, and does.

A session begins when a client fetches a token, and goes on as long as its refresh token is renewed
in time. Kept of it are its scopes, its times, and the digest of the one refresh token that is good
now. So a token that names a session and does not fit is one that was renewed before: two hold what
one was given, and nobody can tell who is the thief (RFC 9700 section 4.14.2).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from broker.messages import Principal
from ingress.limits.keys import home_of, identity

MOST_SESSIONS = 1000  # of a subject; beyond them the one that was not renewed for longest goes
PREFIX = "gws_"
_is_id = re.compile(PREFIX + r"[A-Za-z0-9_-]{22}").fullmatch


class SessionOwner(NamedTuple):
    """A subject's sessions: the key that they are under, and how long each lasts, in seconds."""

    key: bytes
    ttl: int


class SessionRef(NamedTuple):
    """One session."""

    owner: SessionOwner
    id: bytes


@dataclass(frozen=True, slots=True)
class Session:
    """What a subject may know of a session; times are Unix seconds of the store's clock."""

    id: str
    scopes: tuple[str, ...]
    opened: float
    renewed: float


class NoSession(Exception):
    """A session can't be counted on."""


class SessionOver(NoSession):
    """It was ended, or not renewed in time, or never there."""


class TokenReused(SessionOver):
    """Its refresh token was used before. The session was ended."""


class SessionsUnavailable(NoSession):
    """Nothing can be said at the moment; what was to be done may have been done."""


class TooManySessions(Exception):
    """Another one would end one that is in use; ``wait`` is the seconds until one is not."""

    def __init__(self, wait: float) -> None:
        super().__init__(wait)
        self.wait = wait


class SessionStore(Protocol):
    """Keeps sessions. All methods raise SessionsUnavailable."""

    async def open(
        self, session: SessionRef, digest: bytes, scopes: Sequence[str], in_use: float = 0.0
    ) -> int:
        """Begin one; ``digest`` is that of its refresh token (32 bytes).

        Where an owner has as many as it may have, those go that were not renewed for longest; how
        many those are that would have lasted. Raises TooManySessions, and begins none, if one of
        them was renewed less than ``in_use`` seconds ago.
        """

    async def scopes(self, session: SessionRef) -> tuple[str, ...]:
        """What it was opened for. Raises SessionOver where nothing is known of it."""

    async def renew(self, session: SessionRef, used: bytes, new: bytes) -> tuple[str, ...]:
        """Let one digest take the place of another, once; the scopes.

        Raises SessionOver; TokenReused, and ends the session, if ``used`` is not the one kept.
        """

    async def listed(
        self, owner: SessionOwner, most: int, before: float | None = None
    ) -> list[Session]:
        """Up to so many of those that last, the one that was renewed last first.

        Only those that were renewed before a time (Unix seconds), if there is one.
        """

    async def end(self, session: SessionRef) -> bool:
        """End one; whether there was something to end."""


def is_session_id(text: str | None) -> bool:
    """Whether this gateway may have made it."""
    return text is not None and _is_id(text) is not None


def owner_of(principal: Principal, ttl: int) -> SessionOwner:
    """The sessions of a caller's subject, kept where its limits are: see ingress.limits.keys."""
    subject = identity("sub", principal.subject)
    return SessionOwner(f"session:{{{home_of(principal)}}}|{subject}".encode(), ttl)


def session_of(principal: Principal | None, ttl: int) -> SessionRef | None:
    """The session under which a caller acts, if it has one."""
    if principal is None or principal.session is None:
        return None
    return SessionRef(owner_of(principal, ttl), principal.session.encode())
