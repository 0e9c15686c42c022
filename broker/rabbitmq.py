"""The RabbitMQ carrier: keeps one link open, and on it all that was declared and subscribed.

When a link ends, everything on it has ended: unconfirmed publishes are LOST, unsettled deliveries
are the broker's again. The supervisor opens the next one, and it is set up from nothing here.
"""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import msgspec

from broker.contract import (
    BrokerListener,
    ConnectionState,
    MessageTooLarge,
    OnDelivery,
    OnEvent,
    OnLeading,
    OnPublished,
    OnReply,
    OnState,
    Published,
)
from broker.event_queue import EventSender, declare_event_queue, new_event_queue, take_event
from broker.events import Event, Kind
from broker.lane_link import LaneLink
from broker.large_messages import LARGE_MESSAGE, LargeMessages
from broker.leadership import Candidate
from broker.link import RPC_TIMEOUT, Link, LinkError, LinkSilent
from broker.messages import (
    Envelope,
    Reply,
    UndecodableMessage,
    decode_envelope,
    decode_reply,
    encode,
)
from broker.plain_link import PlainLink
from broker.supervisor import Supervisor
from broker.topology import (
    DEAD_LETTER_LIMIT,
    DEAD_LETTER_LIMIT_BYTES,
    DEAD_LETTER_QUEUE,
    EVENT_EXCHANGE,
    MAX_MESSAGE,
    REPLY_QUEUE_EXPIRES_MS,
    REPLY_QUEUE_LIMIT,
    REQUEST_EXCHANGE,
    RequestQueue,
    reply_queue,
    routing_key,
)

log = logging.getLogger(__name__)

REQUEUE_DELAY = 0.1  # seconds
CONSUMER_CHECK_INTERVAL = 3.0  # seconds between questions to the broker


@dataclass(slots=True, eq=False)
class _Subscription:
    """What was asked to be consumed; holds for this link and those that follow."""

    tag: str
    queue: str
    prefetch: int
    on_message: Callable[[Link, int, bool, bytes], None]
    declare: Callable[[Link], Awaitable[None]]
    unsubscribe: Callable[["_Subscription"], Awaitable[None]]

    async def cancel(self) -> None:
        await self.unsubscribe(self)


@dataclass(slots=True, eq=False)
class _Delivery:
    """A message from one link; settling it after that link's end does nothing."""

    envelope: Envelope
    redelivered: bool
    _tag: int
    _queue: str
    _link: Link
    _broker: "RabbitMQBroker"
    _settled: bool = False

    def ack(self) -> None:
        if self._settle():
            self._link.ack(self._tag)

    def give_back(self) -> None:
        self._replace_by(self.envelope)

    def retry(self) -> None:
        self._replace_by(msgspec.structs.replace(self.envelope, attempt=self.envelope.attempt + 1))

    def dead_letter(self, reason: str) -> None:
        if self._settle():
            self._broker.dead_letter(
                self._link, self._tag, encode(self.envelope), self._queue, reason
            )

    def _replace_by(self, copy: Envelope) -> None:
        if self._settle():
            self._broker.replace(self._link, self._tag, copy)

    def _settle(self) -> bool:
        first, self._settled = not self._settled, True
        return first and not self._link.closed.done()


def requeue_later(link: Link, tag: int) -> None:
    """Back to the front of its queue, but not so soon that it circles at full speed."""
    asyncio.get_running_loop().call_later(REQUEUE_DELAY, link.requeue, tag)


class RabbitMQBroker:
    """Broker over RabbitMQ (3.10 to 4.x), by the lane or by plain aio-pika; see broker.contract."""

    def __init__(
        self,
        url: str,
        *,
        lane: bool = True,
        listener: BrokerListener | None = None,
        max_message: int = MAX_MESSAGE,
        publish_timeout: float = 2.0,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._max_message = max_message
        self._large = LargeMessages(self._send, max_message, publish_timeout)
        self._url = url
        self._link_class = LaneLink if lane else PlainLink
        self._listener = listener or BrokerListener()
        self._publish_timeout = publish_timeout
        self._clock = clock
        self._supervisor = Supervisor(
            self._open_link, self._check_consumers, self._listener.reconnected, jitter
        )
        self._running: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()  # what is asked for, and whether the link has it, as one
        self._queues: dict[str, RequestQueue] = {}
        self._subscriptions: dict[str, _Subscription] = {}
        self._tags = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._replacing: set[asyncio.Future[None]] = set()
        self._redeclaring = False
        self._jitter = jitter
        self._candidates: list[asyncio.Task[None]] = []
        self._events = EventSender(lambda: self._supervisor.link, self._spawn)

    # --- life -----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._running = asyncio.get_running_loop().create_task(self._supervisor.run())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for candidate in self._candidates:
            candidate.cancel()
        if waiting := {*self._tasks, *self._candidates, *self._replacing}:
            await asyncio.wait(waiting, timeout=RPC_TIMEOUT)
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    @property
    def state(self) -> ConnectionState:
        return self._supervisor.state

    @property
    def max_message(self) -> int:
        return self._max_message

    @max_message.setter
    def max_message(self, size: int) -> None:
        self._max_message = self._large.room = size
        if self._supervisor.link is not None:
            self._supervisor.link.allow_large(size)

    def watch(self, on_state: OnState) -> None:
        self._supervisor.watchers.append(on_state)

    async def connected(self) -> None:
        await self._supervisor.connected.wait()

    async def _open_link(self) -> Link:
        link = await self._link_class.open(self._url, self._publish_timeout)
        try:
            link.on_cancelled = partial(self._consumer_cancelled, link)
            link.on_unroutable = partial(self._unroutable, link)
            link.on_reply_dropped = self._listener.reply_dropped
            async with self._changing:
                await self._declare_all(link)
                link.allow_large(self._max_message)
                self._supervisor.link = link  # deliveries may be answered as soon as they come
                for subscription in self._subscriptions.values():
                    await self._subscribe(link, subscription)
        except BaseException:
            self._supervisor.link = None
            await link.close()
            raise
        return link

    # --- topology -------------------------------------------------------------------------------

    async def declare(self, queues: Sequence[RequestQueue]) -> None:
        async with self._changing:
            self._queues |= {queue.name: queue for queue in queues}
            link = self._supervisor.link
            if link is not None:
                with self._giving_up(link):
                    await self._declare_queues(link, queues)

    async def _declare_all(self, link: Link) -> None:
        await link.declare_exchange(REQUEST_EXCHANGE, "direct")
        await link.declare_exchange(EVENT_EXCHANGE, "topic")
        await link.declare_queue(
            DEAD_LETTER_QUEUE,
            {
                "x-max-length": DEAD_LETTER_LIMIT,
                "x-max-length-bytes": DEAD_LETTER_LIMIT_BYTES,
                "x-overflow": "drop-head",
            },
        )
        await self._declare_queues(link, list(self._queues.values()))

    async def _declare_queues(self, link: Link, queues: Sequence[RequestQueue]) -> None:
        for queue in queues:
            await link.declare_queue(
                queue.name, {"x-max-length": queue.limit, "x-overflow": "reject-publish"}
            )
            await link.bind_queue(queue.name, REQUEST_EXCHANGE, queue.routing_key)

    def _unroutable(self, link: Link, key: str, message_id: str) -> None:
        """A message found no queue: see whether one of ours was deleted, one look at a time."""
        if not self._redeclaring:
            self._redeclaring = True
            self._spawn(self._redeclare(link))

    async def _redeclare(self, link: Link) -> None:
        try:
            await self._declare_all(link)
        finally:
            self._redeclaring = False

    # --- consumers ------------------------------------------------------------------------------

    async def _subscribe(self, link: Link, subscription: _Subscription) -> None:
        await subscription.declare(link)
        await link.consume(
            subscription.queue,
            subscription.tag,
            subscription.prefetch,
            partial(subscription.on_message, link),
        )

    async def _unsubscribe(self, subscription: _Subscription) -> None:
        async with self._changing:
            self._subscriptions.pop(subscription.tag, None)
            link = self._supervisor.link
            if link is not None:
                with self._giving_up(link):
                    await link.cancel(subscription.tag)

    def _consumer_cancelled(self, link: Link, tag: str) -> None:
        """The broker ended a subscription, as it does when a queue is deleted: take it up again."""
        subscription = self._subscriptions.get(tag)
        if subscription is not None:
            self._spawn(self._resubscribe(link, subscription))

    async def _resubscribe(self, link: Link, subscription: _Subscription) -> None:
        async with self._changing:
            with self._giving_up(link):
                await self._subscribe(link, subscription)

    @contextmanager
    def _giving_up(self, link: Link) -> Iterator[None]:
        """A change that failed is made by the next link, which is set up from nothing."""
        try:
            yield
        except LinkError as error:
            log.warning("connecting anew: %s", error)
            link.give_up()

    async def _check_consumers(self, link: Link) -> None:
        """Ask the broker now and then whether our consumers are there: clients have lost them."""
        while True:
            await asyncio.sleep(CONSUMER_CHECK_INTERVAL)
            try:
                for tag, subscription in list(self._subscriptions.items()):
                    missing = not await link.consumers_of(subscription.queue)
                    if missing and tag in self._subscriptions:
                        log.warning("no consumer at queue %s; connecting anew", subscription.queue)
                        link.give_up()
            except LinkError as error:
                if not link.blocked:
                    log.warning("consumers could not be checked: %s", error)
                    if isinstance(error, LinkSilent):  # heartbeats would take half a minute
                        link.give_up()

    async def _add(self, subscription: _Subscription) -> None:
        async with self._changing:
            self._subscriptions[subscription.tag] = subscription
            link = self._supervisor.link
            if link is not None:
                with self._giving_up(link):
                    await self._subscribe(link, subscription)

    # --- requests out ---------------------------------------------------------------------------

    def publish(self, envelope: Envelope, on_published: OnPublished) -> None:
        if LARGE_MESSAGE < len(envelope.body) <= self._max_message:
            self._large.publish(envelope, on_published)
        else:
            self._send(envelope, on_published)

    def _send(self, envelope: Envelope, on_published: OnPublished) -> None:
        link = self._supervisor.link
        if link is None or not link.can_publish:
            asyncio.get_running_loop().call_soon(on_published, Published.UNAVAILABLE)
            return
        body = encode(envelope)
        if len(body) > self._max_message:
            asyncio.get_running_loop().call_soon(on_published, Published.TOO_LARGE)
            return
        link.publish(
            REQUEST_EXCHANGE,
            routing_key(envelope.service, envelope.tier),
            envelope.id,
            self._remaining_ms(envelope.deadline),
            body,
            on_published,
        )

    async def consume(
        self, queue: RequestQueue, prefetch: int, on_delivery: OnDelivery
    ) -> _Subscription:
        async def declare(link: Link) -> None:
            await self._declare_queues(link, [queue])

        subscription = _Subscription(
            tag=f"requests-{next(self._tags)}",
            queue=queue.name,
            prefetch=prefetch,
            on_message=partial(self._take_request, queue.name, on_delivery),
            declare=declare,
            unsubscribe=self._unsubscribe,
        )
        await self._add(subscription)
        return subscription

    def _take_request(
        self,
        queue: str,
        on_delivery: OnDelivery,
        link: Link,
        tag: int,
        redelivered: bool,
        body: bytes,
    ) -> None:
        try:
            envelope = decode_envelope(body)
        except UndecodableMessage as error:
            self.dead_letter(link, tag, body, queue, str(error))
            return
        on_delivery(_Delivery(envelope, redelivered, tag, queue, link, self))

    def replace(self, link: Link, tag: int, copy: Envelope) -> None:
        """Publish the copy; only when the broker has it may it forget the delivery.

        Who closes this waits for that: or both could be handed out.
        """
        replaced: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(ended: Published) -> None:
            if ended is Published.ACCEPTED:
                link.ack(tag)
            else:
                requeue_later(link, tag)
            self._replacing.discard(replaced)
            replaced.set_result(None)

        self._replacing.add(replaced)
        self.publish(copy, settle)

    def dead_letter(self, link: Link, tag: int, body: bytes, queue: str, reason: str) -> None:
        """Move a delivery into the dead-letter queue; it is forgotten only once it is there."""
        self._spawn(self._move_to_dead_letters(link, tag, body, queue, reason))

    async def _move_to_dead_letters(
        self, link: Link, tag: int, body: bytes, queue: str, reason: str
    ) -> None:
        try:
            await link.publish_persistent(
                DEAD_LETTER_QUEUE, body, {"x-reason": reason, "x-queue": queue}
            )
        except LinkError:
            requeue_later(link, tag)
            raise
        link.ack(tag)
        self._listener.dead_lettered(queue, reason)

    # --- replies --------------------------------------------------------------------------------

    async def receive_replies(self, node: str, on_reply: OnReply) -> None:
        name = reply_queue(node)
        await self._add(
            _Subscription(
                tag=f"replies-{next(self._tags)}",
                queue=name,
                prefetch=0,
                on_message=partial(self._take_reply, on_reply),
                declare=partial(self._declare_reply_queue, name),
                unsubscribe=self._unsubscribe,
            )
        )

    async def _declare_reply_queue(self, name: str, link: Link) -> None:
        await link.declare_queue(
            name,
            {
                "x-expires": REPLY_QUEUE_EXPIRES_MS,
                "x-max-length": REPLY_QUEUE_LIMIT,
                "x-overflow": "drop-head",
            },
        )

    def _take_reply(
        self, on_reply: OnReply, link: Link, tag: int, redelivered: bool, body: bytes
    ) -> None:
        try:
            reply = decode_reply(body)
        except UndecodableMessage as error:
            log.error("dropped a reply: %s", error)
            return
        on_reply(reply)

    def reply(self, to: str, reply: Reply, deadline: float) -> None:
        remaining_ms = self._remaining_ms(deadline)
        link = self._supervisor.link
        if link is None or not remaining_ms:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._listener.reply_dropped, to, reply.id)
            return
        body = encode(reply)
        if len(body) > self._max_message:
            raise MessageTooLarge(f"{len(body)} bytes with its head")
        link.reply(to, reply.id, remaining_ms, body)

    # --- events ---------------------------------------------------------------------------------

    def publish_event(self, event: Event) -> None:
        self._events.send(event)

    async def subscribe(self, kinds: Collection[Kind], on_event: OnEvent) -> None:
        async def declare(link: Link) -> None:
            subscription.queue = new_event_queue()
            await declare_event_queue(link, subscription.queue, kinds)

        subscription = _Subscription(
            tag=f"events-{next(self._tags)}",
            queue=new_event_queue(),
            prefetch=0,
            on_message=partial(take_event, on_event),
            declare=declare,
            unsubscribe=self._unsubscribe,
        )
        await self._add(subscription)

    async def lead(self, task: str, on_leading: OnLeading) -> None:
        candidate = Candidate(
            task, on_leading, lambda: self._supervisor.link, self.connected, self._jitter
        )
        self._candidates.append(asyncio.create_task(candidate.run()))

    # --- help -----------------------------------------------------------------------------------

    def _remaining_ms(self, deadline: float) -> int:
        return max(0, int((deadline - self._clock()) * 1000))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("the broker refused a change: %s", error)
