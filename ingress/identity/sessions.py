"""Tokens for clients: a session is opened, renewed by its refresh token, and ended.

The grants are those of RFC 6749 (sections 4.4 and 6), as RFC 9700 wants them: access tokens are
short-lived, a refresh token is good for one use, and its reuse ends the session.
"""

import logging
import re
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection
from dataclasses import dataclass
from hashlib import sha256

from broker.messages import Principal
from config.models.auth import Auth, Client
from ingress.identity.auth_listener import AuthListener
from ingress.identity.clients import Clients, generation
from ingress.identity.session_store import (
    PREFIX,
    Session,
    SessionOver,
    SessionOwner,
    SessionRef,
    SessionStore,
    TokenReused,
    TooManySessions,
    is_session_id,
    owner_of,
    session_of,
)
from ingress.identity.tokens import issue

log = logging.getLogger(__name__)

_ID_BYTES = 16
_SECRET_BYTES = 32
_read_refresh_token = re.compile(rf"({PREFIX}[A-Za-z0-9_-]{{22}})\.[A-Za-z0-9_-]{{43}}").fullmatch


class InvalidGrant(Exception):
    """A refresh token is not good: unknown, over, of another client, or used before."""


class InvalidScope(Exception):
    """More was asked for than there is to give."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client gets; ``expires_in`` is the seconds that its access token lives."""

    access_token: str
    expires_in: int
    refresh_token: str
    scopes: tuple[str, ...]


class Sessions:
    """The sessions of the clients of one configuration; the ``store`` outlives it.

    ``clock`` gives Unix seconds, ``random`` so many bytes that nobody can foresee. All that is
    asked of the store raises SessionsUnavailable.
    """

    def __init__(
        self,
        auth: Auth,
        secret: str,
        store: SessionStore,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = secrets.token_bytes,
        listener: AuthListener | None = None,
    ) -> None:
        self.clients = Clients(auth.clients)
        self._auth = auth
        self._secret = secret
        self._store = store
        self._clock = clock
        self._random = random
        self._listener = listener or AuthListener()

    async def open(self, client: Client, asked: Collection[str] | None) -> Tokens:
        """Begin a session, for these scopes or, by default, all.

        Raises InvalidScope; TooManySessions where none has an access token that is over.
        """
        scopes = _narrowed(client.scopes, asked)
        name = PREFIX + self._text(_ID_BYTES)
        refresh_token = self._refresh_token(name)
        session, digest = self._session(client, name), _digest(refresh_token)
        in_use = self._access_ttl + self._auth.leeway
        try:
            ended = await self._store.open(session, digest, scopes, in_use)
        except TooManySessions:
            log.warning(
                "a login was refused: all the sessions that %s may have are in use", client.id
            )
            raise
        for _ in range(ended):
            log.warning("a session of %s was ended, though not over: it has too many", client.id)
            self._listener.session_ended("room")
        return self._tokens(client, name, refresh_token, scopes)

    async def renew(self, client: Client, used: str, asked: Collection[str] | None) -> Tokens:
        """Take a refresh token for a new one, with an access token for these scopes.

        By default they are those of the session. Raises InvalidGrant, InvalidScope.
        """
        match = _read_refresh_token(used)
        if match is None:
            raise InvalidGrant
        name, refresh_token = match[1], self._refresh_token(match[1])
        session = self._session(client, name)
        try:
            if asked is not None:  # before the token is spent
                _narrowed(_left(client, await self._store.scopes(session)), asked)
            scopes = await self._store.renew(session, _digest(used), _digest(refresh_token))
        except TokenReused:
            self._listener.refresh_token_reused()
            self._listener.session_ended("reuse")
            log.warning("a refresh token was used twice: session %s of %s ended", name, client.id)
            raise InvalidGrant from None
        except SessionOver:
            raise InvalidGrant from None
        granted = _narrowed(_left(client, scopes), asked)
        return self._tokens(client, name, refresh_token, granted)

    def of(self, principal: Principal | None) -> SessionRef | None:
        """The session under which a caller acts, if it has one."""
        return session_of(principal, self._auth.refresh_ttl)

    async def listed(
        self, principal: Principal, most: int, before: float | None = None
    ) -> list[Session]:
        """Up to so many of a caller's subject that last, the one that was renewed last first.

        Only those that were renewed before a time (Unix seconds), if there is one.
        """
        return await self._store.listed(self._owner(principal), most, before)

    async def end(self, principal: Principal, name: str) -> bool:
        """End one of the subject's own; whether it had such a one."""
        if not is_session_id(name):
            return False
        ended = await self._store.end(SessionRef(self._owner(principal), name.encode()))
        if ended:
            self._listener.session_ended("client")
        return ended

    def ends(self, session: Session) -> float:
        """When it is over unless it is renewed, in Unix seconds."""
        return session.renewed + self._auth.refresh_ttl

    def _tokens(
        self, client: Client, name: str, refresh_token: str, scopes: tuple[str, ...]
    ) -> Tokens:
        ttl = self._access_ttl
        access_token = issue(
            _principal(client, scopes, name),
            self._secret,
            self._auth,
            ttl=ttl,
            now=self._clock(),
            generation=generation(client),
        )
        return Tokens(access_token, ttl, refresh_token, scopes)

    @property
    def _access_ttl(self) -> int:
        return min(self._auth.access_ttl, self._auth.refresh_ttl)  # of no use when it is over

    def _session(self, client: Client, name: str) -> SessionRef:
        return SessionRef(self._owner(_principal(client, (), name)), name.encode())

    def _owner(self, principal: Principal) -> SessionOwner:
        return owner_of(principal, self._auth.refresh_ttl)

    def _refresh_token(self, name: str) -> str:
        """It names the session, so that one that was used before shows whose it is."""
        return f"{name}.{self._text(_SECRET_BYTES)}"

    def _text(self, size: int) -> str:
        return urlsafe_b64encode(self._random(size)).rstrip(b"=").decode()


def principal_of(client: Client) -> Principal:
    """A client as a caller, before it has a session."""
    return Principal(client.id, client.tier, client.roles, client.scopes, client.customer)


def _principal(client: Client, scopes: tuple[str, ...], session: str) -> Principal:
    return Principal(client.id, client.tier, client.roles, scopes, client.customer, session)


def _left(client: Client, scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a session that the client still has."""
    return tuple(scope for scope in scopes if scope in client.scopes)


def _narrowed(granted: tuple[str, ...], asked: Collection[str] | None) -> tuple[str, ...]:
    if asked is None:
        return granted
    if not frozenset(asked) <= frozenset(granted):
        raise InvalidScope
    return tuple(scope for scope in granted if scope in asked)


def _digest(refresh_token: str) -> bytes:
    return sha256(refresh_token.encode()).digest()
