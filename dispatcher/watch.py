"""Looks after what waits."""

import asyncio
from collections.abc import Callable

TICK = 0.05  # seconds


class Watch:
    """Calls ``look`` every tick from ``start`` on, as long as it tells that something waits.

    What waits goes on when something ends, which its consumer sees; but the time of a breaker may
    also be over, or a deadline come near, without anything happening here.
    """

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look = look
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Something waits. To be called as often as one likes."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._turn)

    def _turn(self) -> None:
        self._timer = None
        if self._look():
            self.start()
