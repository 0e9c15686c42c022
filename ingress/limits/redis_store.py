"""Levels in Redis, for all nodes that share it."""

from collections.abc import Sequence

from ingress.limits.allowance import Charge, Outcome, StoreUnavailable
from ingress.redis_link import RedisLink, RedisUnavailable, Script, pack

# KEYS: one for each charge. ARGV: for how many requests it counts; then for each charge, its rate
# (units a microsecond, which is requests a minute) and its room (units). The clock is Redis's own,
# in microseconds. A level is kept with the time that it was taken at, until it has drained.
# Returns whether all fit (1 or 0), and the levels after that. Doubles are exact up to 2^53 units,
# an allowance of 150,000,000.
GCRA = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local units = ARGV[1] * 60000000
local answer = {1}
for i, key in ipairs(KEYS) do
  local rate, room = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local level = 0
  local state = redis.call('GET', key)
  if state then
    local at, before = struct.unpack('>dd', state)
    level = math.max(0, before - math.max(0, now - at) * rate)
  end
  answer[i + 1] = level
  if level + math.min(units, room) > room then answer[1] = 0 end
end
for i, key in ipairs(KEYS) do
  local level = answer[i + 1] + math.min(units, tonumber(ARGV[2 * i + 1])) * answer[1]
  answer[i + 1] = level
  if level > 0 then
    local drained = math.ceil(level / tonumber(ARGV[2 * i]) / 1000)
    redis.call('SET', key, struct.pack('>dd', now, level), 'PX', drained)
  end
end
return answer
""")

# Redis must not only be there: it must take writes.
PROBE = pack(b"EVALSHA", GCRA.digest, b"1", b"rl:{probe}", b"1", b"60000000", b"6000000000000000")


def open_link(url: str) -> RedisLink:
    """A link that serves this store. Raises ValueError for a bad URL."""
    return RedisLink(url, [GCRA], probe=PROBE)


class RedisStore:
    """Limits of all nodes together; one script call for a request."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def check(self, charges: Sequence[Charge], cost: int = 1) -> Outcome:
        """Count a request under all of its charges, or, if one does not fit, under none.

        Raises StoreUnavailable.
        """
        keys = [key for key, _ in charges]
        command = [b"EVALSHA", GCRA.digest, b"%d" % len(keys), *keys, b"%d" % cost]
        for _, allowance in charges:
            command += (b"%d" % allowance.per_minute, b"%d" % allowance.room)
        try:
            allowed, *levels = await self._link.call(pack(*command))
        except RedisUnavailable as error:
            raise StoreUnavailable from error
        return Outcome(allowed == 1, charges, levels)
