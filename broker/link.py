"""One live connection to RabbitMQ, from its opening to its end.

A link has three channels: one for topology and what is rare, one in confirm mode for publishing,
one for deliveries, their settlements and replies. The last two are the fast path, and it comes in
two kinds: over the lane, and over plain aio-pika, so that the lane's gain stays measured.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal, Self, cast

import aio_pika
import aiormq
from aio_pika.abc import ConnectionParameter
from aiormq.abc import DeliveredMessage
from pamqp import commands as spec
from pamqp.common import Arguments
from yarl import URL

from broker.contract import OnPublished
from broker.lane import OnMessage, OnReturn
from broker.transport import LaneProtocol, LaneTransportFactory

log = logging.getLogger(__name__)

RPC_TIMEOUT = 5.0  # seconds for connecting, and for every answer of the broker
HEARTBEAT = 10  # seconds, where the URL is silent
_UNLIMITED_FRAME = 2**31


class _Connection(aio_pika.Connection):
    """An aio-pika connection over a transport of our own."""

    PARAMETERS = (
        *aio_pika.Connection.PARAMETERS,
        ConnectionParameter(
            name="transport_factory", parser=lambda factory: factory, is_kwarg=True
        ),
    )


class LinkError(ConnectionError):
    """The broker refused, stayed silent, or the connection ended: the link is of no more use."""


class LinkSilent(LinkError):
    """No answer within RPC_TIMEOUT: nobody may be there any more, though nothing was closed."""


@asynccontextmanager
async def answered() -> AsyncIterator[None]:
    """Whatever way the client library fails: a LinkError; silence: a LinkSilent."""
    try:
        async with asyncio.timeout(RPC_TIMEOUT):
            yield
    except TimeoutError as error:
        raise LinkSilent(f"no answer within {RPC_TIMEOUT:g} s") from error
    except (aiormq.exceptions.AMQPError, OSError, RuntimeError) as error:
        raise LinkError(f"{type(error).__name__}: {error}") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # aiormq ends what waits on a connection that is lost by cancelling it.
        raise LinkError("the connection ended") from error


class Link(ABC):
    """A connection with its channels; unusable as soon as ``closed`` is done.

    Every coroutine raises LinkError, within RPC_TIMEOUT.
    """

    _connection: aio_pika.Connection
    _protocol: LaneProtocol
    _control: aiormq.abc.AbstractChannel
    _publishing: aiormq.abc.AbstractChannel
    _delivering: aiormq.abc.AbstractChannel

    def __init__(self, publish_timeout: float) -> None:
        self.publish_timeout = publish_timeout
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_blocked: Callable[[bool], None] = lambda blocked: None
        self.on_cancelled: Callable[[str], None] = lambda consumer_tag: None
        self.on_unroutable: OnReturn = lambda routing_key, message_id: None
        self.on_reply_dropped: OnReturn = lambda queue, message_id: None
        self._consume_lock = asyncio.Lock()

    # --- life -----------------------------------------------------------------------------------

    @classmethod
    async def open(cls, url: str, publish_timeout: float) -> Self:
        """Connect and open the channels."""
        link = cls(publish_timeout)
        address = URL(url)
        if "heartbeat" not in address.query:
            address = address.update_query(heartbeat=HEARTBEAT)
        factory = LaneTransportFactory()
        connection = _Connection(address, transport_factory=factory)
        try:
            async with answered():
                await connection.connect()
                link._connection, link._protocol = connection, factory.protocol
                await link._open_channels()
        except BaseException:
            with suppress(LinkError):
                async with answered():
                    await connection.close()
            raise
        return link

    async def _open_channels(self) -> None:
        transport = cast(aio_pika.abc.UnderlayConnection, self._connection.transport)
        tune = transport.connection.connection_tune
        self._protocol.frame_max = tune.frame_max or _UNLIMITED_FRAME
        self._protocol.on_blocked = lambda blocked: self.on_blocked(blocked)
        self._protocol.lost.add_done_callback(self._end)
        self._control = await self.open_channel(confirms=True)
        self._control_lock = asyncio.Lock()
        self._publishing = await self.open_channel(confirms=True)
        self._delivering = await self.open_channel(confirms=False)
        self._publishing.closing.add_done_callback(self._channel_closed)
        self._delivering.closing.add_done_callback(self._channel_closed)
        self._delivering.on_consumer_cancel_callbacks.add(self._cancelled)

    async def open_channel(self, *, confirms: bool) -> aiormq.abc.AbstractChannel:
        """One more channel, for its caller to close; await it within ``answered``."""
        channel = self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        await channel.initialize(timeout=RPC_TIMEOUT)
        return await channel.get_underlay_channel()

    def _channel_closed(self, closing: asyncio.Future[Any]) -> None:
        """Tell why, where the broker did it: as it does over a message that it finds too large."""
        error = None if closing.cancelled() else closing.exception()
        if isinstance(error, aiormq.exceptions.AMQPChannelError):
            log.warning("the broker closed a channel: %s", error)
        self._end(closing)

    def _end(self, _: object) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def _cancelled(self, frame: spec.Basic.Cancel) -> None:
        if frame.consumer_tag:
            self.on_cancelled(frame.consumer_tag)

    def give_up(self) -> None:
        """The link can't be trusted any more."""
        self._end(None)

    async def close(self) -> None:
        """Send what was settled, then leave; never raises."""
        try:
            async with answered():
                await self.flush()
                await self._connection.close()
        except LinkError:
            self._protocol.abort()
        self._end(None)
        self.abandon()

    @property
    def blocked(self) -> bool:
        """Whether the broker takes no messages for now."""
        return self._protocol.blocked

    @property
    def silent(self) -> bool:
        """Whether not a byte has come for as long as a confirm may take."""
        return self._protocol.time() - self._protocol.heard_at > self.publish_timeout

    def allow_large(self, size: int) -> None:
        """So many bytes of large messages may wait for the socket, beside all others."""
        self._protocol.allow_large(size)

    @property
    def can_publish(self) -> bool:
        """Whether a message that is sent now would leave soon."""
        return not self._protocol.blocked and self._protocol.writable and not self.closed.done()

    # --- topology, and what is rare -------------------------------------------------------------

    @asynccontextmanager
    async def _controlling(self) -> AsyncIterator[aiormq.abc.AbstractChannel]:
        """The channel for what is rare; the broker closes it over every fault, so open it again."""
        async with self._control_lock, answered():
            if self._control.is_closed:
                self._control = await self.open_channel(confirms=True)
            yield self._control

    async def declare_exchange(self, name: str, kind: Literal["direct", "topic"]) -> None:
        """A durable exchange."""
        async with self._controlling() as channel:
            await channel.exchange_declare(name, exchange_type=kind, durable=True)

    async def declare_queue(self, name: str, arguments: Arguments) -> None:
        """A durable queue; one that exists with other arguments stays as it is, with a warning."""
        async with self._controlling() as channel:
            try:
                await channel.queue_declare(name, durable=True, arguments=arguments)
            except aiormq.exceptions.ChannelPreconditionFailed:
                log.warning(
                    "queue %s exists with other limits; they hold until it is deleted", name
                )

    async def declare_own_queue(self, name: str, arguments: Arguments) -> None:
        """A queue for this connection alone; it goes with its last consumer, or with the link."""
        async with self._controlling() as channel:
            await channel.queue_declare(name, exclusive=True, auto_delete=True, arguments=arguments)

    async def bind_queue(self, name: str, exchange: str, key: str) -> None:
        """Messages of this exchange and key go into the queue."""
        async with self._controlling() as channel:
            await channel.queue_bind(name, exchange, key)

    async def consumers_of(self, queue: str) -> int:
        """How many consumers the broker counts."""
        async with self._controlling() as channel:
            return (await channel.queue_declare(queue, passive=True)).consumer_count or 0

    async def publish_persistent(self, queue: str, body: bytes, headers: dict[str, str]) -> None:
        """Put a message straight into a queue, to outlive a restart; returns when it is there."""
        async with self._controlling() as channel:
            await channel.basic_publish(
                body,
                routing_key=queue,
                properties=spec.Basic.Properties(headers=headers, delivery_mode=2),  # type: ignore[arg-type]
                mandatory=True,
            )

    async def publish_transient(self, exchange: str, key: str, body: bytes) -> None:
        """Send to whoever is bound, if anybody; not at all while the broker takes nothing."""
        async with self._controlling() as channel:
            if self.can_publish:
                properties = spec.Basic.Properties(delivery_mode=1)
                await channel.basic_publish(
                    body, exchange=exchange, routing_key=key, properties=properties
                )

    async def consume(
        self, queue: str, consumer_tag: str, prefetch: int, on_message: OnMessage
    ) -> None:
        """Subscribe; a prefetch of 0 means that deliveries need no settling."""
        async with self._consume_lock, answered():  # a prefetch holds for the next consumers
            await self._delivering.basic_qos(prefetch_count=prefetch)
            await self._delivering.basic_consume(
                queue,
                self._subscriber(consumer_tag, on_message),
                no_ack=prefetch == 0,
                consumer_tag=consumer_tag,
            )

    async def cancel(self, consumer_tag: str) -> None:
        """Unsubscribe; deliveries on their way still come."""
        async with answered():
            await self._delivering.basic_cancel(consumer_tag)

    # --- the fast path --------------------------------------------------------------------------

    @abstractmethod
    def _subscriber(
        self, consumer_tag: str, on_message: OnMessage
    ) -> Callable[[DeliveredMessage], Coroutine[Any, Any, None]]:
        """The callback for aiormq; whoever takes the deliveries is ready when this returns."""

    @abstractmethod
    def publish(
        self,
        exchange: str,
        routing_key: str,
        message_id: str,
        expiration_ms: int,
        body: bytes,
        on_published: OnPublished,
    ) -> None:
        """Send with confirm; ``on_published`` is called once, at the latest by ``expire``."""

    @abstractmethod
    def reply(self, queue: str, message_id: str, expiration_ms: int, body: bytes) -> None:
        """Send without confirm, ahead of every settlement that follows."""

    @abstractmethod
    def ack(self, tag: int) -> None:
        """Settle a delivery for good."""

    @abstractmethod
    def requeue(self, tag: int) -> None:
        """Put a delivery back to the front of its queue."""

    @abstractmethod
    def expire(self) -> bool:
        """Give up on publishes whose confirm is overdue: they are LOST. Whether there were any."""

    @abstractmethod
    def abandon(self) -> None:
        """Whatever still waits for its confirm is LOST: the link is closed, or was blocked."""

    @abstractmethod
    async def flush(self) -> None:
        """Return when the socket has all that was sent and settled."""
