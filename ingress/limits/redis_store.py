"""Levels, and sessions, in Redis, for all nodes that share it."""

from collections.abc import Sequence
from functools import lru_cache

from config.redis_urls import REDIS_TIMEOUT
from ingress.identity.redis_sessions import SCRIPTS, RedisSessions
from ingress.identity.session_store import SessionOver, SessionRef, SessionsUnavailable
from ingress.limits.allowance import Charge, Outcome, StoreUnavailable
from ingress.limits.fleet import BEAT
from ingress.limits.redis_cluster import check_by_tag
from ingress.limits.redis_scripts import CHECK, GIVE_BACK, check_command
from ingress.redis_errors import RedisUnavailable
from ingress.redis_link import RedisLink
from ingress.redis_wire import pack

_CACHE_SIZE = 4096

# Redis must not only be there: it must take writes.
_FOR_PROBE = (b"rl:{probe}", b"1", b"1", b"60000000", b"6000000000000000")
PROBE = pack(b"EVALSHA", CHECK.digest, b"1", *_FOR_PROBE)


def open_link(url: str, deadline: float = REDIS_TIMEOUT) -> RedisLink:
    """A link that serves this store. Raises ValueError for a bad URL."""
    scripts = [CHECK, GIVE_BACK, BEAT, *SCRIPTS]
    return RedisLink(url, scripts, probe=PROBE, deadline=deadline)


class RedisStore:
    """Limits and sessions of all nodes together; one script call for a request.

    In a Redis Cluster it is one for each hash tag: see ingress.limits.redis_cluster.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._command = lru_cache(_CACHE_SIZE)(check_command)  # a caller asks the same each time
        self.sessions = RedisSessions(link)

    async def check(
        self, charges: Sequence[Charge], cost: int = 1, session: SessionRef | None = None
    ) -> Outcome:
        """Count a request under all of its charges, or, if one does not fit, under none.

        Raises StoreUnavailable; SessionOver, and counts nothing, if it has a session that does not
        last; SessionsUnavailable if that can't be told.
        """
        try:
            if self._link.is_cluster:
                allowed, *levels = await check_by_tag(self._link, charges, cost, session)
            else:
                command = self._command(tuple(charges), cost, session)
                allowed, *levels = await self._link.call(command)
        except RedisUnavailable as error:
            raise (StoreUnavailable if session is None else SessionsUnavailable) from error
        if allowed < 0:
            raise SessionOver
        return Outcome(allowed == 1, charges, levels)
