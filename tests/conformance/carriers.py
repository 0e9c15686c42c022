"""The carriers under test, each behind what the suite needs beyond the contract."""

import asyncio
import time
import uuid
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import aio_pika

from broker.contract import Broker, BrokerListener, Published
from broker.embedded import EmbeddedBroker, EmbeddedServer
from broker.messages import Envelope, encode
from broker.topology import DEAD_LETTER_QUEUE

WITHIN = 15.0  # seconds that any awaited event may take on a busy machine
T = TypeVar("T")


class Inbox(Generic[T]):
    """A callback that keeps what it is called with, for the test to await."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[T] = asyncio.Queue()

    def __call__(self, item: T) -> None:
        self._arrived.put_nowait(item)

    async def next(self) -> T:
        """The next item. Raises TimeoutError."""
        return await asyncio.wait_for(self._arrived.get(), WITHIN)

    async def take(self, number: int) -> list[T]:
        """The next items."""
        return [await self.next() for _ in range(number)]

    @property
    def waiting(self) -> int:
        """How many have arrived and were not taken."""
        return self._arrived.qsize()


class Events(BrokerListener):
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.dropped_replies: Inbox[tuple[str, str]] = Inbox()
        self.dead_letters: Inbox[tuple[str, str]] = Inbox()
        self.reconnections: Inbox[None] = Inbox()

    def reply_dropped(self, to: str, reply_id: str) -> None:
        self.dropped_replies((to, reply_id))

    def dead_lettered(self, queue: str, reason: str) -> None:
        self.dead_letters((queue, reason))

    def reconnected(self) -> None:
        self.reconnections(None)


class Carrier(ABC):
    """A way to make brokers that are clients of one and the same queues."""

    @abstractmethod
    def broker(self, listener: BrokerListener | None = None) -> Broker:
        """One more client, not yet entered."""

    @abstractmethod
    async def dead_letter(self, reason: str) -> bytes:
        """Take from the dead-letter queue the message, as bytes, that has this reason."""


class EmbeddedCarrier(Carrier):
    """Brokers of one process."""

    def __init__(self) -> None:
        self._server = EmbeddedServer()

    def broker(self, listener: BrokerListener | None = None) -> Broker:
        return EmbeddedBroker(listener=listener, server=self._server)

    async def dead_letter(self, reason: str) -> bytes:
        (letter,) = (dead for dead in self._server.dead_letters if dead.reason == reason)
        return encode(letter.envelope)


class RabbitMQCarrier(Carrier):
    """Brokers over RabbitMQ, with the lane or without it."""

    def __init__(self, url: str, *, lane: bool) -> None:
        self.url = url
        self._lane = lane

    def broker(self, listener: BrokerListener | None = None, **options: Any) -> Broker:
        from broker.rabbitmq import RabbitMQBroker

        return RabbitMQBroker(self.url, lane=self._lane, listener=listener, **options)

    async def dead_letter(self, reason: str) -> bytes:
        letters: Inbox[Any] = Inbox()

        async def keep(letter: aio_pika.abc.AbstractIncomingMessage) -> None:
            letters(letter)

        # What is not acked goes back when the connection ends: it may be another test's.
        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            queue = await channel.get_queue(DEAD_LETTER_QUEUE)
            await queue.consume(keep)
            while (letter := await letters.next()).headers["x-reason"] != reason:
                pass
            await letter.ack()
        return bytes(letter.body)


def envelope(service: str, tier: str = "FREE", **changes: Any) -> Envelope:
    """A request with a minute to live."""
    now = time.time()
    fields: dict[str, Any] = {
        "id": uuid.uuid4().hex,
        "route": "GET /things",
        "service": service,
        "tier": tier,
        "method": "GET",
        "path": "/things",
        "target": "/things?a=1&a=2",
        "headers": (),
        "body": b"",
        "principal": None,
        "deadline": now + 60,
        "idempotent": True,
        "reply_to": "",
        "published_at": now,
    }
    return Envelope(**(fields | changes))


async def published(broker: Broker, message: Envelope) -> Published:
    """Publish, and return how it ended."""
    outcomes: Inbox[Published] = Inbox()
    broker.publish(message, outcomes)
    return await outcomes.next()


async def publish_all(broker: Broker, messages: list[Envelope]) -> list[Published]:
    """Publish at one go, and return how each ended, in the order of the endings."""
    outcomes: Inbox[Published] = Inbox()
    for message in messages:
        broker.publish(message, outcomes)
    return await outcomes.take(len(messages))


async def pass_time_until(deadline: float) -> None:
    """Return when the clock is past an absolute time, by a margin for the broker's own clock."""
    await asyncio.sleep(max(0.0, deadline - time.time()) + 0.1)
