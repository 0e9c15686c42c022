"""One leader among many brokers: whoever is the one consumer of a queue that takes no second.

RabbitMQ keeps the promise, and lets go of a consumer whose connection it has lost. Those who wait
ask how many consumers there are, as a refused one would be an error in the broker's log.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiormq
from aiormq.abc import DeliveredMessage

from broker.contract import OnLeading
from broker.link import Link, LinkError, answered
from broker.topology import leader_queue

log = logging.getLogger(__name__)

CHECK_INTERVAL = 2.0  # seconds between questions whether the place is free, before jitter


async def _no_consumer(_: DeliveredMessage) -> None:
    """Nothing is ever sent there."""


@asynccontextmanager
async def consuming_alone(link: Link, queue: str) -> AsyncIterator[asyncio.Future[None] | None]:
    """Be the only consumer of a queue; gives what is done when it has ended.

    None where somebody else is it. Raises LinkError.
    """
    await link.declare_queue(queue, {"x-max-length": 1, "x-overflow": "drop-head"})
    if await link.consumers_of(queue):
        yield None
        return
    async with answered():
        channel = await link.open_channel(confirms=False)
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    refused = False
    channel.closing.add_done_callback(end)
    channel.on_consumer_cancel_callbacks.add(end)
    link.closed.add_done_callback(end)
    try:
        async with answered():
            try:
                await channel.basic_consume(queue, _no_consumer, no_ack=True, exclusive=True)
            except aiormq.exceptions.ChannelAccessRefused:
                refused = True  # somebody was faster
        yield None if refused else ended
    finally:
        link.closed.remove_done_callback(end)
        with suppress(LinkError):
            async with answered():
                await channel.close()


class Candidate:
    """Stands for one task over one link after another.

    ``connected`` waits for a link, which ``current_link`` gives. ``jitter`` gives numbers from 0
    to 1.
    """

    def __init__(
        self,
        task: str,
        on_leading: OnLeading,
        current_link: Callable[[], Link | None],
        connected: Callable[[], Awaitable[object]],
        jitter: Callable[[], float],
    ) -> None:
        self._queue = leader_queue(task)
        self._on_leading = on_leading
        self._current_link = current_link
        self._connected = connected
        self._jitter = jitter

    async def run(self) -> None:
        """Lead whenever the place is free; ends by cancellation."""
        while True:
            await self._connected()
            link = self._current_link()
            if link is not None:
                try:
                    await self._stand(link)
                except LinkError as error:
                    log.warning("no word on who leads: %s", error)
                except Exception:
                    log.exception("standing for a task failed in an unforeseen way, trying on")
            await asyncio.sleep(CHECK_INTERVAL * (0.5 + self._jitter() / 2))

    async def _stand(self, link: Link) -> None:
        async with consuming_alone(link, self._queue) as ended:
            if ended is not None:
                loop = asyncio.get_running_loop()
                loop.call_soon(self._on_leading, True)
                try:
                    await ended
                finally:
                    loop.call_soon(self._on_leading, False)
