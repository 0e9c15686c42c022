"""A bystander at the broker: looks into queues, puts there what the gateway never would."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import ChannelNotFoundEntity

from broker.messages import Envelope, Reply, decode_envelope, encode
from broker.topology import DEAD_LETTER_QUEUE
from tests.integration.faults.waiting import WITHIN


class Bystander:
    """One connection of its own, by plain aio-pika."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel

    @classmethod
    @asynccontextmanager
    async def at(cls, amqp_url: str) -> AsyncIterator[Self]:
        """Connect for a while."""
        async with await aio_pika.connect(amqp_url) as connection:
            yield cls(await connection.channel())

    async def consumers(self, queue: str) -> int:
        """How many the broker counts; none where there is no such queue."""
        try:
            declared = await self._channel.declare_queue(queue, passive=True)
        except ChannelNotFoundEntity:
            return 0
        return declared.declaration_result.consumer_count or 0

    async def put(self, queue: str, body: bytes) -> None:
        """Straight into a queue."""
        await self._channel.default_exchange.publish(aio_pika.Message(body), queue)

    async def reply(self, to: str, reply: Reply) -> None:
        """As a dispatcher would."""
        await self.put(to, encode(reply))

    async def take(self, queue: str) -> Envelope:
        """The next request in a queue, waited for, as a dispatcher would."""
        requests = await self._channel.get_queue(queue, ensure=False)
        async with asyncio.timeout(WITHIN):
            while (message := await requests.get(fail=False)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await message.ack()
        return decode_envelope(message.body)

    async def delete(self, queue: str) -> None:
        """A queue, with all that is in it."""
        await self._channel.queue_delete(queue)

    async def dead_letters(self, queue: str) -> list[AbstractIncomingMessage]:
        """What came from one queue, taken out of the dead-letter queue."""
        dead_letters = await self._channel.get_queue(DEAD_LETTER_QUEUE)
        found = []
        while (message := await dead_letters.get(fail=False)) is not None:
            if message.headers.get("x-queue") == queue:
                await message.ack()
                found.append(message)
        return found
