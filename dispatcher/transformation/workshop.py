"""Where bodies are changed: the small ones on the loop, the large and the costly ones by threads.

One for a dispatcher, as there is one loop and one processor for all its configurations.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from dispatcher.transformation.bodies import TransformExpired, TransformFailed, changed
from dispatcher.transformation.budget import Budget
from dispatcher.transformation.rules import LARGE, Rules
from dispatcher.transformation.slices import Slices
from dispatcher.transformation.threads import Threads, TooManyWaiting

_ON_THE_LOOP = 0.005  # seconds of work, for nothing else is done meanwhile
_SMALL = 0.05  # seconds for a small body in all
_IN_A_THREAD = 2.0  # seconds for a large one
_CHARACTERS = 10 * 1024**2


@dataclass(eq=False, slots=True)
class BodyWork:
    """A body, the rules to change it by, and its limit in bytes, before and after."""

    body: bytes
    coding: bytes
    rules: Sequence[Rules]
    limit: int

    @property
    def is_small(self) -> bool:
        """Whether it looks as if the loop could do it."""
        return not self.coding and len(self.body) < min(rule.cheap_below for rule in self.rules)

    def learn(self, seconds: float) -> None:
        """Note from which size on such bodies are left to threads."""
        size = len(self.body)
        for rule in self.rules:
            if seconds > _ON_THE_LOOP:
                rule.cheap_below = min(rule.cheap_below, size // 2)
            elif seconds < _ON_THE_LOOP / 2 and not self.coding:
                rule.cheap_below = max(rule.cheap_below, min(size + 1, LARGE))

    def do(self, budget: Budget) -> bytes:
        """The new body; see ``bodies.changed``."""
        began = budget.clock()
        try:
            return changed(self.body, self.coding, self.rules, self.limit, budget)
        finally:
            self.learn(budget.clock() - began)


class Workshop:
    """Changes bodies within their time. ``now`` is Unix seconds, as deadlines are."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._slices = Slices[bytes | None]()
        self._threads = Threads[bytes]()

    async def changed(self, work: BodyWork, service: str, deadline: float) -> bytes:
        """The new body. Raises Untouched, TransformFailed and TransformExpired."""
        on_the_loop = work.is_small
        if on_the_loop and self._slices.free:
            done = self._slices.at_once(partial(_try, work))
            if done is not None:
                return done
            on_the_loop = False
        name = work.rules[0].name
        left = deadline - self._now()
        if left <= 0:
            raise TransformExpired(name)
        try:
            async with asyncio.timeout(left):
                return await self._in_turn(work, service, on_the_loop)
        except TimeoutError as error:
            raise TransformExpired(name) from error
        except TooManyWaiting as error:
            raise TransformFailed(name, "too many bodies of its service wait") from error

    async def _in_turn(self, work: BodyWork, service: str, on_the_loop: bool) -> bytes:
        if on_the_loop:
            done = await self._slices.in_turn(service, partial(_try, work))
            if done is not None:
                return done
        small = len(work.body) < LARGE and not work.coding
        budget = Budget(_SMALL if small else _IN_A_THREAD, _CHARACTERS)
        return await self._threads.run(service, work.do, budget)


def _try(work: BodyWork) -> bytes | None:
    """The new body; None where it takes too long to be made on the loop."""
    # Not on the processor time of the thread, which the system is slow to tell: who is kept from
    # running for so long has its bodies made by threads for once.
    budget = Budget(_ON_THE_LOOP, _CHARACTERS, time.perf_counter)
    try:
        return work.do(budget)
    except TransformFailed:
        if budget.out_of_time:
            return None
        raise
