"""Long jobs on threads: a few at a time, one of each service, dropped when nobody waits for them.

Threads share one interpreter, so more of them would do no more; and a body that is read takes many
times its size. One for each service is what keeps a service with costly jobs from the others.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from dispatcher.transformation.budget import Budget
from dispatcher.transformation.fair_queue import FairQueue

T = TypeVar("T")

AT_ONCE = 3  # the loop's own threads, which look up names too, are five at the least
MOST_WAITING = 256  # of one service


class TooManyWaiting(Exception):
    """A service has so many jobs waiting that one more can't be taken."""


@dataclass(eq=False, slots=True)
class _Job(Generic[T]):
    work: Callable[[Budget], T]
    budget: Budget
    result: asyncio.Future[T]


class Threads(Generic[T]):
    """Does jobs in the order in which they come, services in turns."""

    def __init__(self) -> None:
        self._waiting = FairQueue[_Job[T]]()
        self._busy: set[str] = set()  # services that have a job under way

    async def run(self, service: str, work: Callable[[Budget], T], budget: Budget) -> T:
        """Do it on a thread; cancelled, it is not begun, or ends at the budget's next tick.

        Raises TooManyWaiting, and what the work raises.
        """
        if self._waiting.waiting(service) >= MOST_WAITING:
            raise TooManyWaiting
        job = _Job(work, budget, asyncio.get_running_loop().create_future())
        self._waiting.add(service, job)
        self._start()
        try:
            done: T = await job.result
        except asyncio.CancelledError:
            budget.stop()
            self._waiting.discard(service, job)
            raise
        return done

    def _start(self) -> None:
        while len(self._busy) < AT_ONCE and (taken := self._waiting.take(self._busy)) is not None:
            service, job = taken
            self._busy.add(service)
            loop = asyncio.get_running_loop()
            doing = loop.run_in_executor(None, job.work, job.budget)
            doing.add_done_callback(partial(self._ended, service, job))

    def _ended(self, service: str, job: _Job[T], doing: "asyncio.Future[T]") -> None:
        """The thread is free, whether anybody still waits for what it has made or not."""
        self._busy.discard(service)
        if doing.cancelled():
            job.result.cancel()
            return
        error = doing.exception()
        if job.result.done():
            pass
        elif error is not None:
            job.result.set_exception(error)
        else:
            job.result.set_result(doing.result())
        self._start()
