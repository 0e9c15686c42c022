"""One connection to Redis for all requests of a process, that can't hold any of them up.

What is asked for in one turn of the event loop leaves in one write, and its replies are read by a
task of the link's own. A caller that is cancelled therefore never leaves a reply half read for the
next one to take for its own (redis-py's CVE-2023-28858).

Every exchange has a deadline. When it passes, or anything else goes wrong, the connection is
closed; until another one has been tried and found good, whoever asks is told so at once.
"""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from typing import Any, Self

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError

log = logging.getLogger(__name__)

DEADLINE = 0.05  # seconds for an exchange
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


class RedisLink:
    """Sends commands, as an async context manager; entering waits for the first attempt.

    ``scripts`` are loaded whenever Redis does not know them. ``probe`` is a packed command that has
    to succeed before a connection counts as one, and each second of silence after that. Times are
    seconds. Raises ValueError for a bad ``url``.
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
        self._load = [pack(b"SCRIPT", b"LOAD", script.source) for script in scripts]
        self._probe = probe
        self._deadline = deadline
        self._retry_every = retry_every
        self._connected = False
        self._told_away = False
        self._waiting: list[tuple[bytes, asyncio.Future[Any]]] = []
        self._since = 0.0  # when the first of those came
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())
        await self._tried.wait()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    @property
    def connected(self) -> bool:
        """Whether Redis answered when it was asked last."""
        return self._connected

    def call(self, command: bytes) -> asyncio.Future[Any]:
        """The reply to a packed command; the future raises RedisUnavailable.

        Raises it at once while there is no connection.
        """
        if not self._connected:
            raise RedisUnavailable("there is no connection")
        answer = self._loop.create_future()
        if not self._waiting:
            self._since = self._loop.time()
            self._wake.set()
        self._waiting.append((command, answer))
        return answer

    # --- the link's own task ----------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect, serve until something goes wrong, and again."""
        while True:
            connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
            try:
                await self._connect(connection)
                await self._serve(connection)
            except Exception as error:  # whatever it is: the next connection may do better
                self._lost(error)
            finally:
                self._connected = False
                self._tried.set()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(self._retry_every)

    async def _connect(self, connection: AbstractConnection) -> None:
        """A connection counts only once it has answered as fast as it will have to."""
        async with asyncio.timeout(2 * _CONNECT_WITHIN):
            await connection.connect()  # type: ignore[no-untyped-call]
        await self._exchange(connection, [*self._load, self._probe], self._loop.time())
        self._connected = True
        self._tried.set()
        if self._told_away:
            self._told_away = False
            log.warning("Redis is back")

    async def _serve(self, connection: AbstractConnection) -> None:
        silence = self._loop.call_later(_SILENCE, self._break_silence)
        calls: list[tuple[bytes, asyncio.Future[Any]]] = []
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                calls, self._waiting = self._waiting, []
                commands = [command for command, _ in calls]
                replies = await self._exchange(connection, commands, self._since)
                for (_, answer), reply in zip(calls, replies, strict=True):
                    if not answer.done():
                        answer.set_result(reply)
                silence.cancel()
                silence = self._loop.call_later(_SILENCE, self._break_silence)
        finally:
            self._connected = False
            silence.cancel()
            self._wake.clear()
            calls += self._waiting
            self._waiting = []
            for _, answer in calls:
                if not answer.done():
                    answer.set_exception(RedisUnavailable("the connection was lost"))

    async def _exchange(
        self, connection: AbstractConnection, commands: Sequence[bytes], since: float
    ) -> list[Any]:
        """The replies to commands that have waited since then. Raises RedisUnavailable."""
        try:
            async with asyncio.timeout(None) as limit:
                patience = _Patience(self._loop, limit, self._deadline - self._loop.time() + since)
                try:
                    return await self._replies(connection, commands)
                finally:
                    patience.end()
        except TimeoutError as error:
            raise RedisUnavailable("no answer in time") from error

    async def _replies(
        self, connection: AbstractConnection, commands: Sequence[bytes]
    ) -> list[Any]:
        replies = await _round_trip(connection, commands)
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:  # a restarted Redis, or one whose scripts were flushed
            again = [*self._load, *(commands[at] for at in unknown)]
            for at, reply in zip(
                unknown, (await _round_trip(connection, again))[len(self._load) :], strict=True
            ):
                replies[at] = reply
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    def _break_silence(self) -> None:
        """Notice a dead connection before a request does."""
        self.call(self._probe).add_done_callback(asyncio.Future.exception)

    def _lost(self, error: Exception) -> None:
        if not self._told_away:
            self._told_away = True
            log.warning("Redis is away: %s", error)


class _Patience:
    """Ends a timeout scope after so many seconds in which this process was awake.

    After a pause of the process (no processor to be had, a garbage collection) a timer is due
    before what lies at the socket has been read. So the time is waited for in several short ones.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit: asyncio.Timeout, seconds: float
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._looks = max(2, round(seconds / _LOOK_EVERY))
        self._timer = loop.call_later(_LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._looks -= 1
        if self._looks:
            self._timer = self._loop.call_later(_LOOK_EVERY, self._look)
        else:
            self._limit.reschedule(self._loop.time())

    def end(self) -> None:
        """The scope was left by itself."""
        self._timer.cancel()


async def _round_trip(connection: AbstractConnection, commands: Sequence[bytes]) -> list[Any]:
    """One write, and a reply for each command; it may be a ResponseError."""
    await connection.send_packed_command(b"".join(commands), check_health=False)
    replies = []
    for _ in commands:
        try:
            reply = await connection.read_response(disable_decoding=True)
        except ResponseError as error:
            reply = error
        replies.append(reply)
    return replies
