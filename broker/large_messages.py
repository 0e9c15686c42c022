"""Large messages leave in turn, so that the others find room on the connection."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from broker.contract import OnPublished, Published
from broker.messages import Envelope

LARGE_MESSAGE = 64 * 1024  # bytes of body: hundreds of smaller ones fit beside the large ones


@dataclass(slots=True, eq=False)
class _Waiting:
    envelope: Envelope
    on_published: OnPublished
    timer: asyncio.TimerHandle | None = None

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class LargeMessages:
    """First come, first sent: ``room`` bytes of bodies at a time, or a single one, without a word.

    ``send`` publishes a message and calls back later, once, with how it ended; by then the message
    has left, or never will. One whose turn doesn't come within ``timeout`` seconds is UNAVAILABLE.
    What waits is not encoded yet, so it takes no memory beside the request's own.
    """

    def __init__(
        self, send: Callable[[Envelope, OnPublished], None], room: int, timeout: float
    ) -> None:
        self.room = room
        self._send = send
        self._timeout = timeout
        self._under_way = 0  # bytes
        self._waiting: deque[_Waiting] = deque()

    def publish(self, envelope: Envelope, on_published: OnPublished) -> None:
        """Send it now, or when it is its turn."""
        if not self._waiting and self._fits(envelope):
            self._go(envelope, on_published)
            return
        waiting = _Waiting(envelope, on_published)
        waiting.timer = asyncio.get_running_loop().call_later(self._timeout, self._expire, waiting)
        self._waiting.append(waiting)

    def _fits(self, envelope: Envelope) -> bool:
        return not self._under_way or self._under_way + len(envelope.body) <= self.room

    def _go(self, envelope: Envelope, on_published: OnPublished) -> None:
        size = len(envelope.body)
        self._under_way += size
        self._send(envelope, partial(self._ended, size, on_published))

    def _ended(self, size: int, on_published: OnPublished, ended: Published) -> None:
        self._under_way -= size
        self._advance()
        on_published(ended)

    def _advance(self) -> None:
        while self._waiting and self._fits(self._waiting[0].envelope):
            waiting = self._waiting.popleft()
            waiting.stop_timer()
            self._go(waiting.envelope, waiting.on_published)

    def _expire(self, waiting: _Waiting) -> None:
        self._waiting.remove(waiting)
        waiting.on_published(Published.UNAVAILABLE)
        self._advance()
