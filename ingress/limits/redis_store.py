"""Levels, and sessions, in Redis, for all nodes that share it."""

from collections.abc import Sequence

from ingress.identity.redis_sessions import SCRIPTS, RedisSessions
from ingress.identity.session_store import SessionOver, SessionRef, SessionsUnavailable
from ingress.limits.allowance import Charge, Outcome, StoreUnavailable
from ingress.limits.fleet import BEAT
from ingress.redis_link import RedisLink, RedisUnavailable, Script, pack

# KEYS: one for each charge; and that of the sessions of the caller's subject, if it has a session.
# ARGV: how many charges; for how many requests it counts; then for each charge, its rate (units a
# microsecond, which is requests a minute) and its room (units); then the session's id, and how long
# it lasts (microseconds). The clock is Redis's own, in microseconds. A level is kept with the time
# that it was taken at, until it has drained. Returns whether all fit (1 or 0), and the levels after
# that; or -1, with nothing counted, if the session is over. Doubles are exact up to 2^53 units, an
# allowance of 150,000,000.
CHECK = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local charges = tonumber(ARGV[1])
if #KEYS > charges then
  local renewed = redis.call('ZSCORE', KEYS[#KEYS], ARGV[#ARGV - 1])
  if not renewed or renewed + ARGV[#ARGV] <= now then return {-1} end
end
local units = ARGV[2] * 60000000
local answer = {1}
for i = 1, charges do
  local rate, room = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local level = 0
  local state = redis.call('GET', KEYS[i])
  if state then
    local at, before = struct.unpack('>dd', state)
    level = math.max(0, before - math.max(0, now - at) * rate)
  end
  answer[i + 1] = level
  if level + math.min(units, room) > room then answer[1] = 0 end
end
for i = 1, charges do
  local room = tonumber(ARGV[2 * i + 2])
  local level = answer[i + 1] + math.min(units, room) * answer[1]
  answer[i + 1] = level
  if level > 0 then
    local drained = math.ceil(level / tonumber(ARGV[2 * i + 1]) / 1000)
    redis.call('SET', KEYS[i], struct.pack('>dd', now, level), 'PX', drained)
  end
end
return answer
""")

# Redis must not only be there: it must take writes.
_FOR_PROBE = (b"rl:{probe}", b"1", b"1", b"60000000", b"6000000000000000")
PROBE = pack(b"EVALSHA", CHECK.digest, b"1", *_FOR_PROBE)


def open_link(url: str) -> RedisLink:
    """A link that serves this store. Raises ValueError for a bad URL."""
    return RedisLink(url, [CHECK, BEAT, *SCRIPTS], probe=PROBE)


class RedisStore:
    """Limits and sessions of all nodes together; one script call for a request."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self.sessions = RedisSessions(link)

    async def check(
        self, charges: Sequence[Charge], cost: int = 1, session: SessionRef | None = None
    ) -> Outcome:
        """Count a request under all of its charges, or, if one does not fit, under none.

        Raises StoreUnavailable; SessionOver, and counts nothing, if it has a session that does not
        last; SessionsUnavailable if that can't be told.
        """
        keys = [key for key, _ in charges]
        given = [b"%d" % len(keys), b"%d" % cost]
        for _, allowance in charges:
            given += (b"%d" % allowance.per_minute, b"%d" % allowance.room)
        if session is not None:
            keys.append(session.owner.key)
            given += (session.id, b"%d" % (session.owner.ttl * 1_000_000))
        command = pack(b"EVALSHA", CHECK.digest, b"%d" % len(keys), *keys, *given)
        try:
            allowed, *levels = await self._link.call(command)
        except RedisUnavailable as error:
            raise (StoreUnavailable if session is None else SessionsUnavailable) from error
        if allowed < 0:
            raise SessionOver
        return Outcome(allowed == 1, charges, levels)
