"""How many nodes share a Redis: what each may admit by itself is its part of the whole."""

import asyncio
from math import ceil
from typing import Self
from uuid import uuid4

from ingress.redis_errors import RedisUnavailable
from ingress.redis_link import RedisLink
from ingress.redis_wire import Script, pack

_BEAT_EVERY = 0.5  # seconds; for so long others may not know of a node that has come
_HEARD = 15.0  # seconds; a node that was silent for so long has gone

_KEY = b"rl:{nodes}"

# KEYS: the nodes by the time of their last beat. ARGV: this node, and for how long one counts
# (microseconds). Returns how many there are.
BEAT = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2] / 1000)
return redis.call('ZCARD', KEYS[1])
""")


class Fleet:
    """Tells the others of this node, and counts them; an async context manager.

    ``size`` grows with what is heard. It falls only when fewer were heard for as long as a silent
    node counts: Redis may have come back empty, and those that are missing are yet to beat. While
    Redis is away it stays: the others have lost it, too.
    """

    def __init__(self, link: RedisLink, beat_every: float = _BEAT_EVERY) -> None:
        self.size = 1
        self._link = link
        self._beat_every = beat_every
        self._fewer = 0  # beats in a row that heard of fewer
        self._believed = ceil(_HEARD / beat_every)
        node = uuid4().hex.encode()
        silence = b"%d" % (_HEARD * 1_000_000)
        self._beat = pack(b"EVALSHA", BEAT.digest, b"1", _KEY, node, silence)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                self._hear(await self._link.call(self._beat))
            except RedisUnavailable:
                self._fewer = 0
            await asyncio.sleep(self._beat_every)

    def _hear(self, count: int) -> None:
        self._fewer = self._fewer + 1 if count < self.size else 0
        if count > self.size or self._fewer >= self._believed:
            self.size, self._fewer = count, 0
