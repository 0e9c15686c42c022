"""How often an address may fail to say who it is."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from math import ceil, inf

from broker.messages import Headers, Principal
from broker.problems import ProblemType
from config.models.rates import OnStoreFailure
from ingress.addresses import Address
from ingress.identity.auth_listener import AuthListener, Credential
from ingress.limits.allowance import Allowance, Charge, Store, StoreUnavailable
from ingress.limits.keys import address_identity, key
from ingress.policies.authentication import Authenticator, NotGenuine
from ingress.problems import Refused
from ingress.request import Request

log = logging.getLogger(__name__)

# Of an address: 30 at once, and then 10 a minute.
_PER_MINUTE = 10
_BURST = 20

_TOLD_FOR = 60.0  # seconds
_MOST_TOLD = 100  # lines in so long


class _Log:
    """Names who failed, once a minute for each address; guesses may come by thousands."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._told: set[tuple[str, str, bool]] = set()
        self._until = -inf

    def failed(self, who: str, address: Address | None, limited: bool) -> None:
        """Tell it, unless that was done a moment ago."""
        now = self._monotonic()
        if now >= self._until:
            self._told.clear()
            self._until = now + _TOLD_FOR
        failure = (who, address_identity(address), limited)
        if failure in self._told or len(self._told) >= _MOST_TOLD:
            return
        self._told.add(failure)
        why = ", as too many before" if limited else ""
        log.warning("authentication of %s from %s: failed%s", who, address, why)
        if len(self._told) == _MOST_TOLD:
            log.warning("further failed authentications are not named, for a minute at most")


class Guesses:
    """The failed authentications of each address, by one kind of credential.

    ``accountable`` tells the address of a client by the peer's and the header fields. ``monotonic``
    measures seconds.
    """

    def __init__(
        self,
        credential: Credential,
        store: Store,
        accountable: Callable[[str, Headers], Address | None],
        listener: AuthListener,
        on_store_failure: OnStoreFailure = "local",
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credential = credential
        self._store = store
        self._accountable = accountable
        self._listener = listener
        self._log = _Log(monotonic)
        self._failure = Allowance(b'"auth"', _PER_MINUTE, _BURST, on_store_failure)
        self._success = Allowance(b'"auth"', _PER_MINUTE, _BURST - 1, on_store_failure)

    async def failed(self, request: Request, who: str = "a caller") -> None:
        """Count one; ``who`` is for the log. Raises Refused (429), StoreUnavailable."""
        address = self._accountable(request.peer, request.raw_headers)
        try:
            await self._count(address, self._failure, 1)
        except Refused:
            self._tell(who, address, limited=True)
            raise
        self._tell(who, address, limited=False)

    def _tell(self, who: str, address: Address | None, *, limited: bool) -> None:
        self._listener.authentication_failed(self._credential, limited)
        self._log.failed(who, address, limited)

    async def passed(self, request: Request) -> None:
        """Refuse who is right, too, where one more failure would be refused, and count nothing.

        So guesses gain nothing by being many at a time, and who guesses right too late does not
        hear of it. Raises Refused (429), StoreUnavailable.
        """
        await self._count(self._accountable(request.peer, request.raw_headers), self._success, 0)

    async def _count(self, address: Address | None, allowance: Allowance, cost: int) -> None:
        who = address_identity(address)
        charge = Charge(key(who, who, f"auth:{self._credential}"), allowance)
        outcome = await self._store.check([charge], cost)
        if not outcome.allowed:
            detail = "There were too many failed authentications from this address."
            wait = ceil(outcome.retry_after(cost))
            raise Refused(ProblemType.RATE_LIMITED, detail, retry_after=wait)


class GuardedAuthenticator:
    """Finds out who asks, and counts who sends what was never given out.

    Who is known costs nothing more, and is not harmed by others at the same address.
    """

    def __init__(self, authenticator: Authenticator, guesses: Guesses) -> None:
        self._authenticator = authenticator
        self._guesses = guesses

    async def authenticate(self, request: Request, *, required: bool) -> Principal | None:
        """As an Authenticator does. Raises Refused: 401, 503, and 429 for too many failures."""
        try:
            return await self._authenticator.authenticate(request.headers, required=required)
        except NotGenuine:
            with suppress(StoreUnavailable):
                await self._guesses.failed(request)
            raise
