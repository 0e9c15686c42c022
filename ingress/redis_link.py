"""One connection to Redis for all requests of a process, that can't hold any of them up.

What is asked for in one turn of the event loop leaves in one write. Replies are taken in the order
of the commands as they arrive, whether their callers still wait or not: one that is cancelled never
leaves a reply half read for the next one to take for its own (redis-py's CVE-2023-28858).

Every call has a deadline. When it passes, or Redis can't serve, the connection is closed; until
another one has been tried and found good, whoever asks is told so at once. An error that is about
one call fails that call alone.

redis-py connects, with all that belongs to it (TLS, authentication, database); after that the
connection speaks with this protocol, and hiredis reads it: a task and a timeout for each exchange
would cost more than the exchange itself.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Self, cast

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from config.redis_urls import REDIS_TIMEOUT, check_redis_url
from ingress.redis_errors import RedisRefused, RedisUnavailable, UnsuitableRedis
from ingress.redis_wire import Answer, Script, Scripts, Wire, pack

log = logging.getLogger(__name__)

RETRY_EVERY = 0.5  # seconds
PING = pack(b"PING")
_SLOTS = pack(b"CLUSTER", b"SLOTS")
_CONNECT_WITHIN = 1.0  # seconds, or as long as so many deadlines, for a Redis that is far away
_ROUND_TRIPS = 6  # TCP, TLS 1.2 (two), AUTH, the client's name, SELECT
_SILENCE = 1.0
_REFUSALS_EVERY = 10.0  # seconds; told of at most once in so long


class RedisLink:
    """Sends commands, as an async context manager; entering waits for the first attempt.

    ``scripts`` are loaded whenever Redis does not know them. ``probe`` is a packed command that has
    to succeed before a connection counts as one, and each second after that. Times are seconds.
    Raises ValueError for a bad ``url``; entering raises UnsuitableRedis.
    """

    def __init__(
        self,
        url: str,
        scripts: Sequence[Script] = (),
        *,
        probe: bytes = PING,
        deadline: float = REDIS_TIMEOUT,
        retry_every: float = RETRY_EVERY,
    ) -> None:
        check_redis_url(url)
        self._pool: ConnectionPool = ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=None,  # the whole attempt has one
            retry=Retry(NoBackoff(), 0),
        )
        load = b"".join([pack(b"SCRIPT", b"LOAD", script.source) for script in scripts])
        self._scripts = Scripts(load, len(scripts))
        self._probe = probe
        self._deadline = deadline
        self._connect_within = max(_CONNECT_WITHIN, _ROUND_TRIPS * deadline)
        self._retry_every = retry_every
        self._told_away = False
        self._refusals = 0
        self._refusals_told = float("-inf")
        self._wire: Wire | None = None
        self._tried = asyncio.Event()
        self._good = asyncio.Event()
        self._unsuitable: UnsuitableRedis | None = None
        self.is_cluster = False  # what has several hash tags can't be in one call

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        # Who waits for an attempt does not wait for one that won't come.
        self._task.add_done_callback(lambda _: self._tried.set())
        try:
            await self._tried.wait()
            if self._unsuitable is not None:
                raise self._unsuitable
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    @property
    def connected(self) -> bool:
        """Whether Redis answered when it was asked last."""
        return self._wire is not None and not self._wire.ended.done()

    async def available(self) -> None:
        """Wait until it does."""
        await self._good.wait()

    def call(self, command: bytes) -> Answer:
        """The reply to a packed command; the future raises RedisUnavailable.

        Raises it at once while there is no connection.
        """
        if self._wire is None or self._wire.ended.done():
            raise RedisUnavailable("there is no connection")
        return self._wire.call(command)

    # --- the link's own task ----------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect, serve until something goes wrong, and again."""
        while True:
            try:
                self._lost(await self._attempt())
            except Exception as error:  # whatever it is: the next connection may do better
                self._lost(error)
            await asyncio.sleep(self._retry_every)

    async def _attempt(self) -> Exception:
        """Open a connection and use it for as long as it is good; why it is not any more."""
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(self._connect_within):
                await connection.connect()  # type: ignore[no-untyped-call]
            return await self._serve(connection)
        except TimeoutError:
            return RedisUnavailable(f"no connection within {self._connect_within:g} s")
        finally:
            await connection.disconnect(nowait=True)

    async def _serve(self, connection: AbstractConnection) -> Exception:
        wire = self._take_over(connection)
        try:
            try:
                self.is_cluster = await _is_cluster(wire)
            except RedisUnavailable:
                return wire.ended.result()  # the reason; who called hears only that it has ended
            # Only one that answers as fast as it will have to counts. After that a dead connection
            # is to be noticed before a request does.
            while await self._is_good(wire):
                self._found(wire)
                await asyncio.wait([wire.ended], timeout=_SILENCE)
            return wire.ended.result()
        finally:
            self._wire = None
            self._good.clear()
            wire.end(RedisUnavailable("the link was left"))

    async def _is_good(self, wire: Wire) -> bool:
        if not wire.ended.done():
            try:
                await wire.call(self._probe)
            except RedisRefused as error:
                wire.end(error)
            except RedisUnavailable:
                pass  # it has ended, for a reason of its own
        return not wire.ended.done()

    def _take_over(self, connection: AbstractConnection) -> Wire:
        """The transport below redis-py's streams, in which nothing is left to read."""
        writer = cast(asyncio.StreamWriter, connection._writer)  # noqa: SLF001 - it has no door
        transport = cast(asyncio.Transport, writer.transport)
        wire = Wire(transport, self._scripts, self._deadline, self._refused)
        transport.set_protocol(wire)
        return wire

    def _found(self, wire: Wire) -> None:
        self._wire = wire
        self._good.set()
        self._tried.set()
        if self._told_away:
            self._told_away = False
            log.warning("Redis is back")

    def _lost(self, error: Exception) -> None:
        if isinstance(error, UnsuitableRedis):
            self._unsuitable = error
        self._tried.set()
        if not self._told_away:
            self._told_away = True
            log.warning("Redis is away: %s", error)

    def _refused(self, reason: str) -> None:
        reason = reason.partition(", with args")[0]  # callers' keys are nobody's business
        self._refusals += 1
        now = asyncio.get_running_loop().time()
        if now - self._refusals_told >= _REFUSALS_EVERY:
            log.warning("Redis refused calls, %d by now; the last: %s", self._refusals, reason)
            self._refusals_told = now


async def _is_cluster(wire: Wire) -> bool:
    """Whether this is a node of a Redis Cluster. Raises UnsuitableRedis if it has other shards."""
    try:
        slots = await wire.call(_SLOTS, question=True)
    except RedisRefused:  # it is none, or does not let us know
        return False
    shards = {tuple(primary[:3]) for _, _, primary, *_ in slots}
    if len(shards) > 1:
        raise UnsuitableRedis(
            f"it is a Redis Cluster of {len(shards)} shards, and the gateway keeps to one "
            "connection: give it a cluster of one shard, a Redis of its own, or a proxy"
        )
    return True
