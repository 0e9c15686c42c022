"""One connection to Redis for all requests of a process, that can't hold any of them up.

What is asked for in one turn of the event loop leaves in one write. Replies are taken in the order
of the commands as they arrive, whether their callers still wait or not: one that is cancelled never
leaves a reply half read for the next one to take for its own (redis-py's CVE-2023-28858).

Every call has a deadline. When it passes, or anything else goes wrong, the connection is closed;
until another one has been tried and found good, whoever asks is told so at once.

redis-py connects, with all that belongs to it (TLS, authentication, database); after that the
connection speaks with this protocol, and hiredis reads it: a task and a timeout for each exchange
would cost more than the exchange itself.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, Self, cast

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

log = logging.getLogger(__name__)

DEADLINE = 0.05  # seconds for a call
_LOOK_EVERY = 0.01  # seconds
RETRY_EVERY = 0.5  # seconds
_CONNECT_WITHIN = 0.5
_SILENCE = 1.0


class RedisUnavailable(Exception):
    """Redis did not answer, or not in time, or not what it should."""


class Script:
    """A Lua script by its digest."""

    def __init__(self, source: str) -> None:
        self.source = source.encode()
        self.digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()


def pack(*parts: bytes) -> bytes:
    """A command as Redis reads it (RESP)."""
    return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(p), p) for p in parts])


PING = pack(b"PING")

_Answer = asyncio.Future[Any]


class _Call(NamedTuple):
    """A command whose reply is due; ``look`` is the last one that was had when it was made."""

    command: bytes
    answer: _Answer
    look: int


class _Wire(asyncio.Protocol):
    """A connection that is up: commands out, replies in, each with its deadline.

    ``ended`` becomes the reason when it can't be used any more.
    """

    def __init__(self, transport: asyncio.Transport, load: bytes, loads: int, looks: int) -> None:
        self._transport = transport
        self._load = load  # commands that load the scripts, and how many those are
        self._loads = loads
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._batch: list[bytes] = []
        self._due: deque[_Call | None] = deque()  # None: a reply that nobody waits for
        # After a pause of the process (no processor to be had, a garbage collection) a timer is due
        # before what lies at the socket has been read. So the deadline passes in several looks.
        self._looks = looks
        self._look = 0
        self._timer: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[Exception] = self._loop.create_future()

    def call(self, command: bytes) -> _Answer:
        """The reply to a packed command; the future raises RedisUnavailable."""
        answer: _Answer = self._loop.create_future()
        self._send(_Call(command, answer, self._look))
        return answer

    def end(self, reason: Exception) -> None:
        """Close, and tell all who wait."""
        if self.ended.done():
            return
        self.ended.set_result(reason)
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        for call in self._due:
            if call is not None and not call.answer.done():
                call.answer.set_exception(RedisUnavailable("the connection was lost"))
        self._due.clear()

    def _send(self, call: _Call) -> None:
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append(call.command)
        self._due.append(call)

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if self.ended.done():
            return
        self._transport.write(b"".join(batch))
        if self._timer is None:
            self._timer = self._loop.call_later(_LOOK_EVERY, self._look_round)

    def _look_round(self) -> None:
        """Whether the oldest call has waited for too long; no further timer when nobody waits."""
        self._look += 1
        self._timer = None
        oldest = next((call for call in self._due if call is not None), None)
        if oldest is None:
            return
        if self._look - oldest.look > self._looks:
            self.end(RedisUnavailable("no answer in time"))
        else:
            self._timer = self._loop.call_later(_LOOK_EVERY, self._look_round)

    # --- asyncio.Protocol -------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take the replies that are whole."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except (hiredis.HiredisError, IndexError) as error:  # no reply, or one that is not due
            self.end(error)

    def connection_lost(self, error: Exception | None) -> None:
        """Redis, or the way to it, has gone."""
        self.end(error or RedisUnavailable("the connection was closed"))

    def _take(self, reply: Any) -> None:
        call = self._due.popleft()
        if isinstance(reply, hiredis.ReplyError):
            self._refused(call, reply)
        elif call is not None and not call.answer.done():
            call.answer.set_result(reply)

    def _refused(self, call: _Call | None, error: Exception) -> None:
        """Redis would not carry it out: for want of the script, or for a reason that will stay."""
        if call is None or not str(error).startswith("NOSCRIPT"):
            if call is not None:
                self._due.appendleft(call)  # for its caller to be told with the others
            self.end(error)
            return
        # A restarted Redis, or one whose scripts were flushed.
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append(self._load)
        self._due.extend([None] * self._loads)
        self._send(call)


class RedisLink:
    """Sends commands, as an async context manager; entering waits for the first attempt.

    ``scripts`` are loaded whenever Redis does not know them. ``probe`` is a packed command that has
    to succeed before a connection counts as one, and each second after that. Times are seconds.
    Raises ValueError for a bad ``url``.
    """

    def __init__(
        self,
        url: str,
        scripts: Sequence[Script] = (),
        *,
        probe: bytes = PING,
        deadline: float = DEADLINE,
        retry_every: float = RETRY_EVERY,
    ) -> None:
        self._pool: ConnectionPool = ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=_CONNECT_WITHIN,
            retry=Retry(NoBackoff(), 0),
        )
        self._load = b"".join([pack(b"SCRIPT", b"LOAD", script.source) for script in scripts])
        self._loads = len(scripts)
        self._probe = probe
        self._looks = max(2, round(deadline / _LOOK_EVERY))
        self._retry_every = retry_every
        self._told_away = False
        self._wire: _Wire | None = None
        self._tried = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        await self._tried.wait()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    @property
    def connected(self) -> bool:
        """Whether Redis answered when it was asked last."""
        return self._wire is not None and not self._wire.ended.done()

    def call(self, command: bytes) -> _Answer:
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
            connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
            try:
                self._lost(await self._serve(connection))
            except Exception as error:  # whatever it is: the next connection may do better
                self._lost(error)
            finally:
                self._tried.set()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(self._retry_every)

    async def _serve(self, connection: AbstractConnection) -> Exception:
        """Use a connection for as long as it is good; why it is not any more."""
        async with asyncio.timeout(2 * _CONNECT_WITHIN):
            await connection.connect()  # type: ignore[no-untyped-call]
        wire = self._take_over(connection)
        try:
            await wire.call(self._probe)  # only one that answers as fast as it will have to counts
            self._wire = wire
            self._found()
            while not wire.ended.done():
                await asyncio.wait([wire.ended], timeout=_SILENCE)
                if not wire.ended.done():  # notice a dead connection before a request does
                    wire.call(self._probe).add_done_callback(asyncio.Future.exception)
            return wire.ended.result()
        finally:
            self._wire = None
            wire.end(RedisUnavailable("the link was left"))

    def _take_over(self, connection: AbstractConnection) -> _Wire:
        """The transport below redis-py's streams, in which nothing is left to read."""
        writer = cast(asyncio.StreamWriter, connection._writer)  # noqa: SLF001 - it has no door
        transport = cast(asyncio.Transport, writer.transport)
        wire = _Wire(transport, self._load, self._loads, self._looks)
        transport.set_protocol(wire)
        return wire

    def _found(self) -> None:
        self._tried.set()
        if self._told_away:
            self._told_away = False
            log.warning("Redis is back")

    def _lost(self, error: Exception) -> None:
        if not self._told_away:
            self._told_away = True
            log.warning("Redis is away: %s", error)
