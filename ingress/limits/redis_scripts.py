"""The scripts that count in Redis, and the commands that call them."""

from collections.abc import Sequence

from ingress.identity.session_store import SessionRef
from ingress.limits.allowance import Charge
from ingress.redis_wire import Script, pack

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

# KEYS: one for each charge. ARGV: as above, for those. Takes back what a request was counted for.
# Returns the levels after that.
GIVE_BACK = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local units = ARGV[2] * 60000000
local answer = {}
for i = 1, #KEYS do
  local rate, room = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local level = 0
  local state = redis.call('GET', KEYS[i])
  if state then
    local at, before = struct.unpack('>dd', state)
    level = math.max(0, before - math.max(0, now - at) * rate - math.min(units, room))
    local drained = math.ceil(level / rate / 1000)
    if drained > 0 then
      redis.call('SET', KEYS[i], struct.pack('>dd', now, level), 'PX', drained)
    else
      redis.call('DEL', KEYS[i])
    end
  end
  answer[i] = level
end
return answer
""")


def check_command(charges: Sequence[Charge], cost: int, session: SessionRef | None) -> bytes:
    """Count a request under all of these, or none, if its session lasts."""
    keys, given = _of(charges, cost)
    if session is not None:
        keys.append(session.owner.key)
        given += (session.id, b"%d" % (session.owner.ttl * 1_000_000))
    return pack(b"EVALSHA", CHECK.digest, b"%d" % len(keys), *keys, *given)


def give_back_command(charges: Sequence[Charge], cost: int) -> bytes:
    """Take back what a request was counted for under these."""
    keys, given = _of(charges, cost)
    return pack(b"EVALSHA", GIVE_BACK.digest, b"%d" % len(keys), *keys, *given)


def _of(charges: Sequence[Charge], cost: int) -> tuple[list[bytes], list[bytes]]:
    keys = [key for key, _ in charges]
    given = [b"%d" % len(keys), b"%d" % cost]
    for _, allowance in charges:
        given += (b"%d" % allowance.per_minute, b"%d" % allowance.room)
    return keys, given
