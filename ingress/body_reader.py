"""The body of the request in hand, between the socket that brings it and whoever wants it."""

import asyncio
from math import inf
from typing import Protocol

from broker.problems import ProblemType
from ingress.bodies import ChunkedBody, FixedBody
from ingress.heads import CHUNKED, Head
from ingress.problems import Refused

AHEAD = 65_536  # bytes that a client may send before anybody asks for them


class Flow(Protocol):
    """What reading a body needs of its connection."""

    def pause_reading(self) -> None:
        """Let the client wait."""

    def resume_reading(self) -> None:
        """Let it send."""

    def ask_for_body(self) -> None:
        """Send 100 Continue."""

    def await_body(self, waiting: bool) -> None:
        """The time for the body starts to run, or stops."""


class BodyReader:
    """Takes a body from the socket, and gives it away once, whole."""

    __slots__ = ("_body", "_broken", "_expects_continue", "_flow", "_limit", "_waiter")

    def __init__(self, head: Head, flow: Flow) -> None:
        self._flow = flow
        self._body = ChunkedBody() if head.length == CHUNKED else FixedBody(head.length)
        self._expects_continue = head.expects_continue
        self._broken: Refused | None = None  # why the rest can't be read
        self._limit = inf  # bytes
        self._waiter: asyncio.Future[None] | None = None  # of whoever reads

    @property
    def complete(self) -> bool:
        """Whether the last byte is here."""
        return self._body.complete

    @property
    def droppable(self) -> bool:
        """Whether what is left is certain to come, and so little that it may come for nothing."""
        if self._body.complete:
            return True
        if self._broken or self._expects_continue or isinstance(self._body, ChunkedBody):
            return False
        return self._body.expected <= AHEAD

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body, return what is behind it."""
        if self._broken:
            return b""
        try:
            rest = self._body.feed(data)
        except Refused as refused:
            self._refuse(refused)
            return b""
        body = self._body
        if body.expected > self._limit:
            self._refuse(self._too_large())
        elif body.complete:
            self._wake()
        elif self._waiter is None and body.size > AHEAD:
            self._flow.pause_reading()
        return rest

    async def read(self, limit: int) -> bytes:
        """The whole body, of ``limit`` bytes at most. Raises Refused (413, 408, 400)."""
        self._limit = limit
        if self._broken:
            raise self._broken
        if self._body.expected > limit:
            raise self._too_large()
        if not self._body.complete:
            await self._arrival()
        return self._body.take()

    def expire(self, refused: Refused) -> None:
        """The time for the body is over."""
        if self._waiter is not None:
            self._refuse(refused)

    async def _arrival(self) -> None:
        flow = self._flow
        self._waiter = asyncio.get_running_loop().create_future()
        flow.await_body(True)
        if self._expects_continue:
            flow.ask_for_body()
        flow.resume_reading()
        try:
            await self._waiter
        finally:
            self._waiter = None
            flow.await_body(False)

    def _refuse(self, refused: Refused) -> None:
        """Take no more, and keep nothing: more may come before whoever reads has its turn."""
        self._broken = refused.with_traceback(None)  # its frames hold what was read
        self._body.take()
        self._wake(refused)

    def _wake(self, refused: Refused | None = None) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if refused is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(refused)

    def _too_large(self) -> Refused:
        return Refused(ProblemType.BODY_TOO_LARGE, f"The body has more than {self._limit} bytes.")


async def no_body(limit: int) -> bytes:
    """What a request without a body has to read."""
    return b""
