"""A connection to Redis that is up: what is asked in one turn leaves in one write."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import hiredis

from ingress.redis_errors import RedisRefused, RedisUnavailable, means_away

_LOOK_EVERY = 0.005  # seconds
_OF_THE_DEADLINE = 0.7  # in looks: each is a little late, and who was told has work left to do


class Script:
    """A Lua script by its digest."""

    def __init__(self, source: str) -> None:
        self.source = source.encode()
        self.digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()


def pack(*parts: bytes) -> bytes:
    """A command as Redis reads it (RESP)."""
    return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(p), p) for p in parts])


class Scripts(NamedTuple):
    """What loads scripts: packed commands, and how many replies they have."""

    load: bytes
    replies: int


Answer = asyncio.Future[Any]


class _Call(NamedTuple):
    """A command whose reply is due; ``look`` is the last one that was had when it was made.

    A refused ``question`` is an answer, too, and says nothing of the connection.
    """

    command: bytes
    answer: Answer
    look: int
    question: bool


class Wire(asyncio.Protocol):
    """Commands out, replies in, each within ``deadline`` seconds.

    ``scripts`` are loaded whenever Redis does not know one of them; ``refused`` hears why a call
    was refused. ``ended`` becomes the reason when the connection can't be used any more.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        scripts: Scripts,
        deadline: float,
        refused: Callable[[str], object],
    ) -> None:
        self._transport = transport
        self._scripts = scripts
        self._tell_refused = refused
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._batch: list[bytes] = []
        self._due: deque[_Call | None] = deque()  # None: a reply that nobody waits for
        # After a pause of the process (no processor to be had, a garbage collection) a timer is due
        # before what lies at the socket has been read. So the deadline passes in several looks.
        self._looks = max(2, round(deadline * _OF_THE_DEADLINE / _LOOK_EVERY))
        self._look = 0
        self._timer: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[Exception] = self._loop.create_future()

    def call(self, command: bytes, *, question: bool = False) -> Answer:
        """The reply to a packed command; the future raises RedisUnavailable."""
        answer: Answer = self._loop.create_future()
        self._send(_Call(command, answer, self._look, question))
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
        if self._look - oldest.look >= self._looks:
            within = self._looks * _LOOK_EVERY * 1000
            self.end(RedisUnavailable(f"no answer within {within:.0f} ms"))
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
        """Redis would not carry it out: now, without the script, or this one, or anything."""
        reason = str(error)
        if call is None:  # a script that can't be loaded
            self.end(error)
        elif call.question:
            self._fail(call, reason)
        elif reason.startswith("NOSCRIPT"):
            self._load_for(call)
        elif means_away(reason):
            self._due.appendleft(call)  # for its caller to be told with the others
            self.end(error)
        else:
            self._fail(call, reason)
            self._tell_refused(reason)

    def _fail(self, call: _Call, reason: str) -> None:
        if not call.answer.done():
            call.answer.set_exception(RedisRefused(reason))

    def _load_for(self, call: _Call) -> None:
        """Ask again: Redis has restarted, or somebody flushed its scripts."""
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append(self._scripts.load)
        self._due.extend([None] * self._scripts.replies)
        self._send(call)
