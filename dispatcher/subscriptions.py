"""The subscriptions of one service: how many messages of each tier are at hand."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from broker.contract import Broker, Consumer, Delivery
from broker.topology import RequestQueue
from dispatcher.policies.concurrency import Limit


def prefetch_for(limit: int) -> int:
    """How many messages of one tier to hold, for so many calls at a time.

    A message that may be redelivered stays unsettled while it is called, so one tier must be able
    to fill every slot, and have some more at hand for slots that free up while the broker is asked.
    Not many more: what waits here is out of reach of an idle dispatcher, and has to be given back
    when this one stops.
    """
    return limit + max(1, limit // 4)


class Subscriptions:
    """Takes as many messages as a limit wants, also when that changes much.

    A consumer's prefetch is fixed once it consumes: another one takes over, and the old one is
    cancelled. What the old one holds is kept and worked off.
    """

    def __init__(self, broker: Broker, on_delivery: Callable[[str, Delivery], None]) -> None:
        self._broker = broker
        self._on_delivery = on_delivery
        self._queues: Sequence[RequestQueue] = ()
        self._consumers: list[tuple[str, Consumer]] = []  # and their tiers
        self._calls = 0  # at a time, for which there is enough at hand
        self._changing: asyncio.Task[None] | None = None
        self._ended = False

    async def start(self, queues: Sequence[RequestQueue], limit: Limit) -> None:
        """Consume these queues."""
        self._queues = queues
        self._calls = _calls_for(limit)
        await self._consume()

    def follow(self, limit: Limit) -> None:
        """See to it that enough is at hand for this limit, but not four times too much.

        The step back is half of that: a limit that swings does not move anything.
        """
        if self._calls // 4 < limit.settled <= self._calls or self._changing or self._ended:
            return
        calls = _calls_for(limit)
        if calls != self._calls:
            self._calls = calls
            self._changing = asyncio.create_task(self._consume())
            self._changing.add_done_callback(self._changed)

    async def cancel(self) -> None:
        """Take no more."""
        self._ended = True
        if self._changing is not None:
            await asyncio.wait([self._changing])
        for entry in list(self._consumers):
            await self._cancel(entry)

    async def _consume(self) -> None:
        """First the new consumer of a queue, then not the old one: it is never left alone."""
        prefetch = prefetch_for(self._calls)
        for queue in self._queues:
            if self._ended:
                return
            old = [entry for entry in self._consumers if entry[0] == queue.tier]
            on_delivery = partial(self._on_delivery, queue.tier)
            consumer = await self._broker.consume(queue, prefetch, on_delivery)
            self._consumers.append((queue.tier, consumer))
            for entry in old:
                await self._cancel(entry)

    async def _cancel(self, entry: tuple[str, Consumer]) -> None:
        await entry[1].cancel()
        self._consumers.remove(entry)

    def _changed(self, task: asyncio.Task[None]) -> None:
        self._changing = None
        if not task.cancelled():
            task.result()  # an error is told by the loop


def _calls_for(limit: Limit) -> int:
    return min(limit.upper, 2 * limit.settled)
