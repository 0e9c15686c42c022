"""Short jobs on the event loop, so that all of them together never keep it for long.

A turn of the loop does as many as fit into two milliseconds, and leaves the others to the next one,
after all that came meanwhile.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from dispatcher.transformation.fair_queue import FairQueue

T = TypeVar("T")

_SLICE = 0.002  # seconds of one turn


class Slices(Generic[T]):
    """Does jobs on the loop; services take turns where some have to wait.

    What waits is bounded by the requests that do. ``monotonic`` measures seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._waiting = FairQueue[tuple[Callable[[], T], asyncio.Future[T]]]()
        self._spent = 0.0  # seconds since a turn began: this one, or an earlier one
        self._scheduled = False

    @property
    def free(self) -> bool:
        """Whether this turn has time left, and nobody waits for it."""
        return self._spent < _SLICE and not self._waiting

    def at_once(self, job: Callable[[], T]) -> T:
        """Do it now; this turn is charged for it."""
        began = self._monotonic()
        try:
            return job()
        finally:
            self._spent += self._monotonic() - began
            # A new turn only where it is needed: it costs about as much as a small job.
            if not self.free:
                self._schedule()

    async def in_turn(self, service: str, job: Callable[[], T]) -> T:
        """Do it when there is time for it; cancelled before that, it is not done."""
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        item = (job, result)
        self._waiting.add(service, item)
        self._schedule()
        try:
            return await result
        except asyncio.CancelledError:
            self._waiting.discard(service, item)
            raise

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Work for a slice of time."""
        self._scheduled = False
        self._spent = 0.0
        while self._spent < _SLICE and (taken := self._waiting.take()) is not None:
            job, result = taken[1]
            if result.done():  # nobody waits any more
                continue
            try:
                result.set_result(self.at_once(job))
            except Exception as error:
                result.set_exception(error)
        if self._waiting:
            self._schedule()
