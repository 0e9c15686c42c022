"""One timer for many deadlines: each message has one, on both sides, and few are ever reached."""

import asyncio
from typing import Generic, Protocol, TypeVar

TICK = 0.05  # seconds


class Expirable(Protocol):
    """Something that a deadline ends."""

    def expire(self) -> None:
        """The deadline has passed."""


Item = TypeVar("Item", bound=Expirable)


class Deadlines(Generic[Item]):
    """Ends items whose time is over, at most two TICKs late.

    A timer of the loop costs more than all other bookkeeping for a message. Here a deadline is an
    entry in the slot of its tick (a hashed wheel: Varghese and Lauck, 1987), and the loop has one
    timer, only while anything waits.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, dict[Item, None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: Item, seconds: float) -> int:
        """Have ``item.expire()`` called in so many seconds; the result is for ``discard``."""
        tick = int((self._loop.time() + seconds) / TICK) + 1
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = {}
            if self._timer is None:
                self._timer = self._loop.call_later(TICK, self._turn)
        slot[item] = None
        return tick

    def discard(self, item: Item, tick: int) -> None:
        """It ended by itself."""
        slot = self._slots.get(tick)
        if slot is not None:
            slot.pop(item, None)

    def close(self) -> None:
        """Nothing expires any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._slots.clear()

    def _turn(self) -> None:
        now = int(self._loop.time() / TICK)
        for tick in [tick for tick, slot in self._slots.items() if tick <= now or not slot]:
            for item in self._slots.pop(tick):
                item.expire()
        self._timer = self._loop.call_later(TICK, self._turn) if self._slots else None
