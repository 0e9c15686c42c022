"""How long an upstream that has the whole request may keep silent."""

from asyncio import AbstractEventLoop, Transport
from collections.abc import Callable


class Silence:
    """Watches one connection; ``limit`` is seconds.

    A timer that is moved at every read would cost more than reading. This one runs out, looks when
    something was heard last, and runs again for what is left.
    """

    __slots__ = ("_due", "_heard_at", "_limit", "_loop", "_on_silence", "_running", "_transport")

    def __init__(
        self,
        loop: AbstractEventLoop,
        limit: float,
        transport: Transport,
        due: Callable[[], bool],
        on_silence: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._transport = transport
        self._due = due
        self._on_silence = on_silence
        self._heard_at = 0.0
        self._running = False

    def begin(self) -> None:
        """A request is written; from now on something is due."""
        self._heard_at = self._loop.time()
        if not self._running:
            self._running = True
            self._loop.call_later(self._limit, self._look)

    def heard(self) -> None:
        """Bytes came."""
        self._heard_at = self._loop.time()

    def _look(self) -> None:
        self._running = False
        if not self._due():
            return
        now = self._loop.time()
        if self._transport.get_write_buffer_size():
            self._heard_at = now  # it is not silence while the upstream has not been told all
        left = self._heard_at + self._limit - now
        if left <= 0:
            self._on_silence()
        else:
            self._running = True
            self._loop.call_later(left, self._look)
