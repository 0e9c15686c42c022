"""The carrier for one process: the broker's semantics without a broker.

Messages pass by reference, as nothing can change them. So their sizes are those of their bodies.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

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
from broker.embedded_queue import Callbacks, Clock, DeadLetter, EmbeddedConsumer, EmbeddedQueue
from broker.events import Event, Kind
from broker.messages import Envelope, Reply
from broker.topology import DEAD_LETTER_LIMIT, MAX_MESSAGE, RequestQueue, reply_queue


@dataclass(frozen=True, slots=True, eq=False)
class Subscriber:
    """Who wants to hear of events of these kinds."""

    kinds: tuple[Kind, ...]
    on_event: OnEvent


class EmbeddedServer:
    """What brokers of one process share, as connections share a server: the queues."""

    def __init__(self, clock: Clock = time.time) -> None:
        self.clock = clock
        self.callbacks = Callbacks()
        self.queues: dict[tuple[str, str], EmbeddedQueue] = {}  # by service and tier
        self.reply_queues: dict[str, OnReply] = {}  # by name
        self.subscribers: list[Subscriber] = []
        self.candidates: defaultdict[str, list[OnLeading]] = defaultdict(list)  # the first leads
        self.dead_letters: deque[DeadLetter] = deque(maxlen=DEAD_LETTER_LIMIT)

    def declare(self, queue: RequestQueue) -> EmbeddedQueue:
        """The queue, made now if it is new; the limit of the last declaration counts."""
        key = (queue.service, queue.tier)
        if key not in self.queues:
            self.queues[key] = EmbeddedQueue(queue.name, self.clock)
        self.queues[key].limit = queue.limit
        return self.queues[key]

    def stand(self, task: str, on_leading: OnLeading) -> None:
        """Lead in a task, now or when all who stood before have stepped down."""
        candidates = self.candidates[task]
        candidates.append(on_leading)
        if len(candidates) == 1:
            self.callbacks.soon(on_leading, True)

    def step_down(self, task: str, on_leading: OnLeading) -> None:
        """Lead no more."""
        candidates = self.candidates[task]
        led = candidates[0] is on_leading
        candidates.remove(on_leading)
        if led:
            self.callbacks.soon(on_leading, False)
            if candidates:
                self.callbacks.soon(candidates[0], True)


class EmbeddedBroker:
    """The contract's Broker within one process.

    Several brokers that share a ``server`` are clients of it: what one leaves unsettled goes to the
    others. Without one it has a server of its own, whose time is ``clock`` (Unix seconds).
    """

    def __init__(
        self,
        *,
        listener: BrokerListener | None = None,
        clock: Clock = time.time,
        server: EmbeddedServer | None = None,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self.max_message = max_message
        self._listener = listener or BrokerListener()
        self._server = server or EmbeddedServer(clock)
        self._soon = self._server.callbacks.soon
        self._watchers: list[OnState] = []
        self._consumers: list[EmbeddedConsumer] = []
        self._reply_queues: set[str] = set()
        self._subscribers: list[Subscriber] = []
        self._candidacies: list[tuple[str, OnLeading]] = []
        self._open = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Open; nothing has to be waited for."""
        self._open.set()
        self._tell_watchers()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Give back what is unsettled, and close."""
        self._open.clear()
        for consumer in self._consumers:
            consumer.close()
        for name in self._reply_queues:
            self._server.reply_queues.pop(name, None)
        for subscriber in self._subscribers:
            self._server.subscribers.remove(subscriber)
        for task, on_leading in self._candidacies:
            self._server.step_down(task, on_leading)
        self._consumers.clear()
        self._reply_queues.clear()
        self._subscribers.clear()
        self._candidacies.clear()
        self._tell_watchers()

    @property
    def state(self) -> ConnectionState:
        """CONNECTED while it is open."""
        if self._open.is_set():
            return ConnectionState.CONNECTED
        return ConnectionState.DISCONNECTED

    @property
    def dead_letters(self) -> Sequence[DeadLetter]:
        """The last messages that could not be handled, the oldest first."""
        return tuple(self._server.dead_letters)

    def watch(self, on_state: OnState) -> None:
        """Hear of each change of ``state``."""
        self._watchers.append(on_state)

    async def connected(self) -> None:
        """Return as soon as it is open."""
        await self._open.wait()

    async def declare(self, queues: Sequence[RequestQueue]) -> None:
        """See to it that the request queues exist."""
        for queue in queues:
            self._server.declare(queue)

    def publish(self, envelope: Envelope, on_published: OnPublished) -> None:
        """Put a request into the queue of its service and tier."""
        self._soon(on_published, self._offer(envelope))

    async def consume(
        self, queue: RequestQueue, prefetch: int, on_delivery: OnDelivery
    ) -> EmbeddedConsumer:
        """Deliver from the queue, at most ``prefetch`` unsettled at a time, oldest first."""
        consumer = EmbeddedConsumer(
            self._server.declare(queue),
            prefetch,
            on_delivery,
            self._dead_letter,
            self._server.callbacks,
        )
        self._consumers = [known for known in self._consumers if not known.done]
        self._consumers.append(consumer)
        return consumer

    async def receive_replies(self, node: str, on_reply: OnReply) -> None:
        """Deliver the replies that are sent to this ingress node's reply queue."""
        name = reply_queue(node)
        self._server.reply_queues[name] = on_reply
        self._reply_queues.add(name)

    def reply(self, to: str, reply: Reply, deadline: float) -> None:
        """Send a reply to a reply queue; dropped when there is none, or after the deadline."""
        on_reply = self._server.reply_queues.get(to) if self._open.is_set() else None
        if on_reply is None or deadline <= self._server.clock():
            asyncio.get_running_loop().call_soon(self._listener.reply_dropped, to, reply.id)
            return
        if len(reply.body) > self.max_message:
            raise MessageTooLarge(f"{len(reply.body)} bytes")
        self._soon(on_reply, reply)

    def publish_event(self, event: Event) -> None:
        """Tell all who subscribed to its kind."""
        if self._open.is_set():
            for subscriber in self._server.subscribers:
                if isinstance(event, subscriber.kinds):
                    self._soon(subscriber.on_event, event)

    async def subscribe(self, kinds: Collection[Kind], on_event: OnEvent) -> None:
        """Deliver events of these kinds from now on."""
        subscriber = Subscriber(tuple(kinds), on_event)
        self._subscribers.append(subscriber)
        self._server.subscribers.append(subscriber)

    async def lead(self, task: str, on_leading: OnLeading) -> None:
        """Stand for a task; the brokers of one server lead in the order in which they stood."""
        self._candidacies.append((task, on_leading))
        self._server.stand(task, on_leading)

    def _offer(self, envelope: Envelope) -> Published:
        if not self._open.is_set():
            return Published.UNAVAILABLE
        if len(envelope.body) > self.max_message:
            return Published.TOO_LARGE
        queue = self._server.queues.get((envelope.service, envelope.tier))
        if queue is None:
            return Published.UNROUTABLE
        return Published.ACCEPTED if queue.offer(envelope) else Published.QUEUE_FULL

    def _dead_letter(self, letter: DeadLetter) -> None:
        self._server.dead_letters.append(letter)
        loop = asyncio.get_running_loop()
        loop.call_soon(self._listener.dead_lettered, letter.queue, letter.reason)

    def _tell_watchers(self) -> None:
        for on_state in self._watchers:
            self._soon(on_state, self.state)
