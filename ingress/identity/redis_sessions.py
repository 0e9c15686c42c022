"""Sessions in Redis, for all nodes that share it.

Of each owner there are two keys: a sorted set of the sessions' ids by the time of their last
renewal, which is all that a request needs (see ingress.limits.redis_store), and a hash with what
else is kept of them. Times are microseconds on the clock of Redis.
"""

import struct
from collections.abc import Sequence
from typing import Any

from ingress.identity.session_store import (
    MOST_SESSIONS,
    Session,
    SessionOver,
    SessionOwner,
    SessionRef,
    SessionsUnavailable,
    TokenReused,
    TooManySessions,
)
from ingress.redis_errors import RedisUnavailable
from ingress.redis_link import RedisLink
from ingress.redis_wire import Script, pack

_SECOND = 1_000_000
_DIGEST = 32  # bytes; a record is the digest, the time of opening, and the scopes
_OPENED = struct.Struct(">d")

# KEYS: the two of an owner. ARGV: how long a session lasts, its id, and what else is named.
_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ttl = tonumber(ARGV[1])
"""
_KEEP = """
redis.call('PEXPIRE', KEYS[1], ttl / 1000)
redis.call('PEXPIRE', KEYS[2], ttl / 1000)
"""

# ARGV: and the digest, the scopes, how many sessions there may be, and for how long after its last
# renewal one is in use. Those that are over make room, and beyond them the oldest; a hundred at a
# time, as Redis does nothing else meanwhile. Returns how many went before their time; or, with
# nothing changed, minus the time until one of those is not in use.
_OPEN = Script(
    _NOW
    + """
local over = redis.call('ZCOUNT', KEYS[1], '-inf', now - ttl)
local beyond = redis.call('ZCARD', KEYS[1]) + 1 - ARGV[5]
local drop = math.min(math.max(over, beyond), 100)
if beyond > over then
  local last = redis.call('ZRANGE', KEYS[1], drop - 1, drop - 1, 'WITHSCORES')
  local wait = last[2] + ARGV[6] - now
  if wait > 0 then return -math.ceil(wait) end
end
if drop > 0 then
  local ids = redis.call('ZRANGE', KEYS[1], 0, drop - 1)
  redis.call('ZREM', KEYS[1], unpack(ids))
  redis.call('HDEL', KEYS[2], unpack(ids))
end
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3] .. struct.pack('>d', now) .. ARGV[4])
"""
    + _KEEP
    + "return math.max(0, math.min(beyond, drop) - over)"
)

# ARGV: and the digest that was used, and the one that takes its place. Returns the record; 0 if the
# session is over, 1 if another digest is kept.
_RENEW = Script(
    _NOW
    + """
local renewed = redis.call('ZSCORE', KEYS[1], ARGV[2])
local record = redis.call('HGET', KEYS[2], ARGV[2])
if not renewed or not record or renewed + ttl <= now then return 0 end
if string.sub(record, 1, 32) ~= ARGV[3] then
  redis.call('ZREM', KEYS[1], ARGV[2])
  redis.call('HDEL', KEYS[2], ARGV[2])
  return 1
end
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4] .. string.sub(record, 33))
"""
    + _KEEP
    + "return record"
)

# ARGV: and before what time they were renewed, and how many there may be. Returns, of those that
# last, ids and times of renewal in turn; and their records.
_LIST = Script(
    _NOW
    + """
local since = string.format('(%.0f', now - ttl)
local range = {KEYS[1], ARGV[2], since, 'WITHSCORES', 'LIMIT', 0, ARGV[3]}
local found = redis.call('ZREVRANGEBYSCORE', unpack(range))
if #found == 0 then return {found, found} end
local ids = {}
for i = 1, #found, 2 do ids[#ids + 1] = found[i] end
return {found, redis.call('HMGET', KEYS[2], unpack(ids))}
"""
)

_END = Script("""
redis.call('HDEL', KEYS[2], ARGV[2])
return redis.call('ZREM', KEYS[1], ARGV[2])
""")

SCRIPTS = (_OPEN, _RENEW, _LIST, _END)


class RedisSessions:
    """The sessions of all nodes together; each step is one script call."""

    def __init__(self, link: RedisLink, most: int = MOST_SESSIONS) -> None:
        self._link = link
        self._most = most

    async def open(
        self, session: SessionRef, digest: bytes, scopes: Sequence[str], in_use: float = 0.0
    ) -> int:
        """Begin one; how many others it ended before their time.

        Raises TooManySessions, SessionsUnavailable.
        """
        bounds = (b"%d" % self._most, b"%d" % (in_use * _SECOND))
        what = (digest, " ".join(scopes).encode(), *bounds)
        ended: int = await self._run(_OPEN, session.owner, session.id, *what)
        if ended < 0:
            raise TooManySessions(-ended / _SECOND)
        return ended

    async def scopes(self, session: SessionRef) -> tuple[str, ...]:
        """What it was opened for. Raises SessionOver, SessionsUnavailable."""
        record = await self._call(b"HGET", _kept(session.owner), session.id)
        if record is None:
            raise SessionOver
        return _scopes(record)

    async def renew(self, session: SessionRef, used: bytes, new: bytes) -> tuple[str, ...]:
        """Let one digest take the place of another, once, and whoever asks.

        Raises SessionOver, TokenReused, SessionsUnavailable.
        """
        record = await self._run(_RENEW, session.owner, session.id, used, new)
        if record == 0:
            raise SessionOver
        if record == 1:
            raise TokenReused
        return _scopes(record)

    async def listed(
        self, owner: SessionOwner, most: int, before: float | None = None
    ) -> list[Session]:
        """Those that last, the one that was renewed last first. Raises SessionsUnavailable."""
        bound = b"+inf" if before is None else b"(%d" % round(before * _SECOND)
        found, records = await self._run(_LIST, owner, bound, b"%d" % most)
        return [
            Session(name.decode(), _scopes(record), _opened(record), float(renewed) / _SECOND)
            for name, renewed, record in zip(found[::2], found[1::2], records, strict=True)
            if record is not None
        ]

    async def end(self, session: SessionRef) -> bool:
        """End one; whether there was something to end. Raises SessionsUnavailable."""
        return bool(await self._run(_END, session.owner, session.id) == 1)

    async def _run(self, script: Script, owner: SessionOwner, *what: bytes) -> Any:
        keys = (owner.key, _kept(owner))
        ttl = b"%d" % (owner.ttl * _SECOND)
        return await self._call(b"EVALSHA", script.digest, b"2", *keys, ttl, *what)

    async def _call(self, *command: bytes) -> Any:
        try:
            return await self._link.call(pack(*command))
        except RedisUnavailable as error:
            raise SessionsUnavailable from error


def _kept(owner: SessionOwner) -> bytes:
    return owner.key + b"|kept"


def _scopes(record: bytes) -> tuple[str, ...]:
    return tuple(record[_DIGEST + _OPENED.size :].decode().split())


def _opened(record: bytes) -> float:
    """Unix seconds."""
    microseconds: float = _OPENED.unpack_from(record, _DIGEST)[0]
    return microseconds / _SECOND
