"""The registry in Redis: Lua scripts, each one step for all who share it.

A service's leases are a hash, its fields the URLs, its values ``<end> <lease as JSON>``. Changes
are entries of one stream, written in the same step, so that whoever reads the leases after having
noted the stream's end misses nothing.

All times are milliseconds of a clock of the leases' own. It is that of Redis, but stands still
while nobody can reach Redis: in that time no heartbeat arrives, and a lease must not end for that.
Each script call notes when it was made, and followers make some each second; a gap longer than
``PATIENCE`` is a pause. ``epoch`` is a name for everything that is kept, from when it was ``born``;
another one means that Redis has lost it, or the latest of it; then followers put back what they
know.
"""

PATIENCE = 3.0  # seconds

_NEWS_KEPT = 1000  # entries; who misses more of them hears of it at the next regular reading

CLOCK, NEWS = "sd:{sd}:clock", "sd:{sd}:news"  # the braces keep all on one node of a cluster


def leases_key(service: str) -> str:
    """Where a service's leases are."""
    return f"sd:{{sd}}:leases:{service}"


# KEYS: clock, news, leases. ARGV: the epoch if there is none yet; then the script's own.
_BEGIN = f"""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local clock = redis.call('HMGET', KEYS[1], 'epoch', 'born', 'seen', 'paused')
local epoch, born = clock[1], tonumber(clock[2])
local seen, paused = tonumber(clock[3]), tonumber(clock[4])
if not epoch then epoch, born, seen, paused = ARGV[1], now, now, 0 end
if now < seen or now - seen > {PATIENCE * 1000:.0f} then paused = paused + now - seen end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'born', born, 'seen', now, 'paused', paused)
now = now - paused
local function lease(value)
  local ends, text = string.match(value, '^(%d+) (.*)$')
  return tonumber(ends), text
end
local function keep(ends, text) return string.format('%.0f ', ends) .. text end
local function living()
  local all, found = redis.call('HGETALL', KEYS[3]), {{}}
  for i = 1, #all, 2 do
    local ends, text = lease(all[i + 1])
    if ends and ends > now then
      found[#found + 1] = {{all[i], ends - now, text}}
    else
      redis.call('HDEL', KEYS[3], all[i])
    end
  end
  return found
end
local function tell(...)
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', {_NEWS_KEPT}, '*', ...)
end
"""

# ARGV: the caller's epoch, and the id of the news that it heard last. If only older ones are left,
# data have come back as they once were (from disk, from a replica), which is a loss like any other.
# Returns the epoch, and the id of the latest news.
LOOK = (
    _BEGIN
    + """
local heard = redis.call('XREVRANGE', KEYS[2], ARGV[3], '-', 'COUNT', 1)[1]
if epoch == ARGV[2] and heard and heard[1] ~= ARGV[3] then
  epoch = ARGV[1]
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'born', now)
  redis.call('DEL', KEYS[2])
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
return {epoch, last[1] and last[1][1] or '0-0'}
"""
)

# Returns the epoch and the leases: for each, URL, milliseconds left, JSON.
READ = _BEGIN + "return {epoch, living()}"

# ARGV: service, URL, TTL in milliseconds, JSON, the most instances. Returns 1 for a new instance, 0
# for one that was there, -1 if there is no room.
REGISTER = (
    _BEGIN
    + """
local url, ends = ARGV[3], now + ARGV[4]
local before = redis.call('HGET', KEYS[3], url)
local ended, text
if before then ended, text = lease(before) end
local new = not (ended and ended > now)
if not before and redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[6])
    and #living() >= tonumber(ARGV[6]) then
  return -1
end
redis.call('HSET', KEYS[3], url, keep(ends, ARGV[5]))
if new or text ~= ARGV[5] then tell('service', ARGV[2]) end
return new and 1 or 0
"""
)

# ARGV: service, URL. Returns how many there were. Told even where there was none: after a loss of
# data it may still be put back.
REMOVE = (
    _BEGIN
    + """
tell('service', ARGV[2], 'removed', ARGV[3])
return redis.call('HDEL', KEYS[3], ARGV[3])
"""
)

# ARGV: service; for each lease that was known before the loss: URL, TTL in milliseconds, JSON. Each
# has one TTL from the loss on, however late it is put back; who has said something since, or was
# removed, is left as it is. There is room for more than the most: none must go for a newcomer.
# Returns what READ does.
RESTORE = (
    _BEGIN
    + """
local removed, restored = {}, 0
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+')) do
  local news = entry[2]
  if news[2] == ARGV[2] and news[3] == 'removed' then removed[news[4]] = true end
end
for i = 3, #ARGV, 3 do
  local url, ends = ARGV[i], born + ARGV[i + 1]
  if ends > now and not removed[url] then
    restored = restored + redis.call('HSETNX', KEYS[3], url, keep(ends, ARGV[i + 2]))
  end
end
if restored > 0 then tell('service', ARGV[2]) end
return {epoch, living()}
"""
)
