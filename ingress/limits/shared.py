"""The store of a node, for limits and sessions.

Redis where there is one, the memory of the process where there is none.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from config.redis_urls import REDIS_TIMEOUT
from ingress.identity.session_store import SessionRef, SessionStore, SessionsUnavailable
from ingress.limits.allowance import Charge, Outcome, StoreUnavailable
from ingress.limits.embedded import EmbeddedStore

if TYPE_CHECKING:  # else imported only where there is one
    from ingress.redis_link import RedisLink


class LimitListener:
    """Hears of the shared store; metrics override what they count."""

    def limits_not_shared(self) -> None:
        """The shared store could not be asked about a request."""


class NodeStore:
    """Checks in Redis, and by the word of each allowance while Redis can't be asked.

    By itself a node admits its share: an allowance, divided by the nodes that there were. No
    session is good then. An async context manager; entering raises UnsuitableRedis. ``redis_url``
    None leaves all to this process; ``timeout`` is the seconds by which Redis may hold up a
    request. Raises ValueError for a URL that is none.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        listener: LimitListener | None = None,
        timeout: float = REDIS_TIMEOUT,
    ) -> None:
        self._local = EmbeddedStore()
        self._listener = listener or LimitListener()
        self._link: RedisLink | None = None
        self.sessions: SessionStore = self._local.sessions
        if redis_url is not None:
            # Imported only here, as it costs time at the start and memory.
            from ingress.limits.fleet import Fleet
            from ingress.limits.redis_store import RedisStore, open_link

            self._link = open_link(redis_url, timeout)
            self._fleet = Fleet(self._link)
            self._redis = RedisStore(self._link)
            self.sessions = self._redis.sessions
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self._link is not None:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._link)
                await stack.enter_async_context(self._fleet)
                self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    @property
    def state(self) -> str | None:
        """Of the connection to Redis, in a word; None without one."""
        if self._link is None:
            return None
        return "connected" if self.connected else "disconnected"

    @property
    def connected(self) -> bool:
        """Whether there is a Redis, and it answered when it was asked last."""
        return self._link is not None and self._link.connected

    async def available(self) -> None:
        """Wait for Redis, where there is one."""
        if self._link is not None:
            await self._link.available()

    async def check(
        self, charges: Sequence[Charge], cost: int = 1, session: SessionRef | None = None
    ) -> Outcome:
        """Count a request under all of its charges, or, if one does not fit, under none.

        Raises StoreUnavailable if one of them is closed at the moment; SessionOver, and counts
        nothing, if it has a session that does not last; SessionsUnavailable if that can't be told.
        Charges that are open at the moment are not in the outcome.
        """
        if self._link is None:
            return await self._local.check(charges, cost, session)
        if self._link.connected:
            try:
                return await self._redis.check(charges, cost, session)
            except (StoreUnavailable, SessionsUnavailable):
                pass
        self._listener.limits_not_shared()
        if session is not None:
            raise SessionsUnavailable
        return await self._alone(charges, cost)

    async def _alone(self, charges: Sequence[Charge], cost: int) -> Outcome:
        words = [charge.allowance.on_store_failure for charge in charges]
        if "closed" in words:
            raise StoreUnavailable
        shares = [
            Charge(key, allowance.share(self._fleet.size))
            for key, allowance in charges
            if allowance.on_store_failure != "open"
        ]
        return await self._local.check(shares, cost)
