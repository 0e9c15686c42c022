"""The fast path of a link over plain aio-pika, as in a textbook: a task for each step."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

import aiormq
from aiormq.abc import DeliveredMessage
from pamqp import commands as spec

from broker.contract import OnPublished, Published
from broker.lane import OnMessage
from broker.link import Link

_ENDED = (aiormq.exceptions.AMQPError, OSError, RuntimeError)  # what a closed channel raises


class PlainLink(Link):
    """Publishes and takes deliveries by aiormq's channels."""

    async def _open_channels(self) -> None:
        await super()._open_channels()
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest_reply: asyncio.Task[None] | None = None

    def _subscriber(
        self, consumer_tag: str, on_message: OnMessage
    ) -> Callable[[DeliveredMessage], Coroutine[Any, Any, None]]:
        async def deliver(message: DeliveredMessage) -> None:
            delivery = cast(spec.Basic.Deliver, message.delivery)
            on_message(delivery.delivery_tag or 0, bool(delivery.redelivered), message.body)

        return deliver

    def publish(
        self,
        exchange: str,
        routing_key: str,
        message_id: str,
        expiration_ms: int,
        body: bytes,
        on_published: OnPublished,
    ) -> None:
        async def publish() -> None:
            ended = await self._send(exchange, routing_key, message_id, expiration_ms, body)
            if ended is Published.UNROUTABLE:
                self.on_unroutable(routing_key, message_id)
            on_published(ended)

        self._spawn(publish())

    def reply(self, queue: str, message_id: str, expiration_ms: int, body: bytes) -> None:
        async def reply() -> None:
            ended = await self._send("", queue, message_id, expiration_ms, body)
            if ended is Published.UNROUTABLE:
                self.on_reply_dropped(queue, message_id)

        self._latest_reply = self._spawn(reply())

    def ack(self, tag: int) -> None:
        self._spawn(self._settle(self._delivering.basic_ack(tag, wait=False)))

    def requeue(self, tag: int) -> None:
        self._spawn(self._settle(self._delivering.basic_nack(tag, requeue=True, wait=False)))

    def expire(self) -> bool:
        """Nothing to do: every publish here has its own deadline."""
        return False

    def abandon(self) -> None:
        """Nothing to do: aiormq ends what waits on a channel when the channel ends."""

    async def flush(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _send(
        self, exchange: str, routing_key: str, message_id: str, expiration_ms: int, body: bytes
    ) -> Published:
        properties = spec.Basic.Properties(
            correlation_id=message_id, expiration=str(expiration_ms), delivery_mode=1
        )
        try:
            await self._publishing.basic_publish(
                body,
                exchange=exchange,
                routing_key=routing_key,
                properties=properties,
                mandatory=True,
                timeout=self.publish_timeout,
            )
        except aiormq.exceptions.PublishError:
            return Published.UNROUTABLE
        except aiormq.exceptions.DeliveryError:
            return Published.QUEUE_FULL
        except (*_ENDED, TimeoutError, asyncio.CancelledError):
            return Published.LOST  # aiormq ends what waits on a closing channel by cancelling it
        return Published.ACCEPTED

    async def _settle(self, settlement: Awaitable[None]) -> None:
        """Settle after the replies that were given before: none is lost to its own settlement."""
        if self._latest_reply is not None and not self._latest_reply.done():
            await asyncio.wait([self._latest_reply])
        with suppress(*_ENDED):
            await settlement

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
