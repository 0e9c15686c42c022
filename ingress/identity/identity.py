"""What authentication needs for as long as a process runs: its keys, those that are fetched too."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Self

from config.models.auth import Auth
from config.snapshot import Snapshot
from ingress.identity.fetching import fetch as fetch_over_http
from ingress.identity.jwks import Fetch, RemoteKeys, Timing
from ingress.identity.keyring import Keyring
from ingress.identity.keys import Key, KeySet, pem_key, secret_key
from ingress.identity.session_store import SessionStore
from ingress.identity.sessions import Sessions
from ingress.identity.signatures import SignatureChecker
from ingress.identity.tokens import signing_algorithm
from ingress.metrics import IngressListener


class Identity:
    """Makes the keyring for each configuration; an async context manager.

    While it is entered, keys are fetched for the keyring that was made last. Without ``secret`` no
    HMAC is ever good. ``monotonic`` measures seconds, ``jitter`` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        secret: str | None,
        *,
        listener: IngressListener | None = None,
        fetch: Fetch = fetch_over_http,
        timing: Timing | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._secret = secret
        self._listener = listener or IngressListener()
        self._fetch = fetch
        self._timing = timing or Timing()
        self._monotonic = monotonic
        self._jitter = jitter
        self._checker = SignatureChecker(monotonic)
        self._keyring = Keyring(KeySet(), self._checker)
        self._made_for: object = None
        self._remote: RemoteKeys | None = None
        self._fetched_for: object = None
        self._entered = False

    async def __aenter__(self) -> Self:
        self._entered = True
        if self._remote is not None:
            self._remote.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._entered = False
        if self._remote is not None:
            self._remote.stop()

    @property
    def ready(self) -> bool | None:
        """Whether the fetched keys are there; None where there are none to fetch."""
        return None if self._remote is None else self._remote.keys is not None

    @property
    def state(self) -> str | None:
        """Of the fetched keys, in few words; None where there are none to fetch."""
        return None if self._remote is None else self._remote.state

    async def available(self) -> None:
        """Wait until the fetched keys are there, if there are any to fetch."""
        while self._remote is not None and self._remote.keys is None:
            await self._remote.available.wait()

    def keyring(self, snapshot: Snapshot) -> Keyring:
        """The keyring for a configuration: the one there is, where nothing it rests on changed.

        Else a new one, that knows no verified tokens yet. Either way keys are fetched again.
        """
        auth = snapshot.options.auth
        self._fetch_for(auth)
        made_for = (auth, snapshot.public_keys, tuple(snapshot.tiers))
        if made_for != self._made_for:
            keys = KeySet(self._at_hand(auth, snapshot.public_keys))
            self._keyring = Keyring(keys, self._checker, self._remote)
            self._made_for = made_for
        return self._keyring

    def sessions(
        self, auth: Auth, store: SessionStore, clock: Callable[[], float]
    ) -> Sessions | None:
        """The sessions of a configuration's clients.

        None where there are no clients, or nothing to sign their tokens with.
        """
        if not self._secret or not auth.clients or signing_algorithm(auth) is None:
            return None
        return Sessions(auth, self._secret, store, clock=clock, listener=self._listener)

    def _at_hand(self, auth: Auth, pems: Iterable[bytes]) -> Iterator[Key]:
        if self._secret:
            yield secret_key(self._secret, auth.algorithms)
        for pem in pems:
            yield pem_key(pem, auth.algorithms)

    def _fetch_for(self, auth: Auth) -> None:
        """Fetch now; another URL, or other algorithms, begin with what was fetched before."""
        fetched_for = (auth.jwks_url, frozenset(auth.algorithms))
        before = self._remote
        if fetched_for == self._fetched_for:
            if before is not None:
                before.refresh()
            return
        self._fetched_for = fetched_for
        self._remote = self._remote_keys(auth) if auth.jwks_url else None
        if before is not None:
            before.stop()
        if self._remote is not None:
            if before is not None and before.last_good is not None:
                self._remote.inherit(before.last_good)
            if self._entered:
                self._remote.start()

    def _remote_keys(self, auth: Auth) -> RemoteKeys:
        return RemoteKeys(
            str(auth.jwks_url),
            auth.algorithms,
            fetch=self._fetch,
            timing=self._timing,
            listener=self._listener,
            monotonic=self._monotonic,
            jitter=self._jitter,
        )
