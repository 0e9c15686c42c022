"""Where messages wait for a breaker to close, without taking a slot from anybody."""

import asyncio
from collections.abc import Callable

from dispatcher.settle import Work

_TICK = 0.05  # seconds


class Holding:
    """Keeps what was added, in its order, and calls ``look`` every tick while there is something.

    A breaker closes when a call ends, which its consumer sees; but its time may also be over, or a
    deadline pass, without anything happening here.
    """

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._works: list[Work] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._works)

    def add(self, work: Work) -> None:
        """Have it wait."""
        self._works.append(work)
        self._start()

    def take_all(self) -> list[Work]:
        """Nothing waits any more."""
        works, self._works = self._works, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return works

    def take_expired(self, now: float) -> list[Work]:
        """What nobody waits for any more; ``now`` is Unix seconds."""
        expired = [work for work in self._works if work.envelope.deadline <= now]
        if expired:
            self._works = [work for work in self._works if work.envelope.deadline > now]
        return expired

    def _start(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK, self._turn)

    def _turn(self) -> None:
        self._timer = None
        self._look()
        if self._works:
            self._start()
