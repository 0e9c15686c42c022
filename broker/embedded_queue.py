"""A queue within one process: what RabbitMQ would do to its messages is done here too.

Limits count what waits (not what is unsettled), expired messages are dropped as they come to the
head, consumers take turns, and what a leaving client had not settled goes back to where it was.
"""

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from operator import attrgetter
from typing import Any

import msgspec

from broker.contract import OnDelivery
from broker.messages import Envelope

Clock = Callable[[], float]

_position = attrgetter("position")
_CALLS_PER_TURN = 256  # further ones wait for the next turn, so that sockets get theirs


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be handled, the queue it came from, and why."""

    envelope: Envelope
    queue: str
    reason: str


class Callbacks:
    """Runs callbacks from the event loop: many a turn, none inside the call that caused it."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._scheduled = False

    def soon(self, callback: Callable[[Any], None], argument: object) -> None:
        """Call it from the loop, after all that were asked for before."""
        self._waiting.append((callback, argument))
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(min(len(self._waiting), _CALLS_PER_TURN)):
            callback, argument = self._waiting.popleft()
            try:
                callback(argument)
            except Exception as error:
                context = {"message": f"error in callback {callback!r}", "exception": error}
                loop.call_exception_handler(context)
        if self._waiting:
            loop.call_soon(self._turn)
        else:
            self._scheduled = False


class EmbeddedDelivery:
    """A message in its queue, then in the hands of a consumer; what goes back is a copy of it."""

    __slots__ = ("consumer", "envelope", "position", "redelivered", "taken")

    def __init__(self, envelope: Envelope, position: int, redelivered: bool = False) -> None:
        self.envelope = envelope
        self.position = position  # in its queue; who comes back has the old one
        self.redelivered = redelivered
        self.consumer: EmbeddedConsumer | None = None  # None in the queue, and again once settled
        self.taken = False  # its consumer has seen it

    def ack(self) -> None:
        """Done with."""
        if consumer := self._settle():
            consumer.queue.match()

    def give_back(self) -> None:
        """Not started: a fresh copy at the end of its queue, for others."""
        if consumer := self._settle():
            consumer.queue.put(self.envelope)
            consumer.queue.match()

    def retry(self) -> None:
        """Once more, as a fresh copy, at the end of its queue."""
        if consumer := self._settle():
            attempt = self.envelope.attempt + 1
            consumer.queue.put(msgspec.structs.replace(self.envelope, attempt=attempt))
            consumer.queue.match()

    def dead_letter(self, reason: str) -> None:
        """Into the dead-letter queue."""
        if consumer := self._settle():
            consumer.on_dead_letter(DeadLetter(self.envelope, consumer.queue.name, reason))
            consumer.queue.match()

    def _settle(self) -> "EmbeddedConsumer | None":
        consumer = self.consumer
        if consumer is not None:
            self.consumer = None
            del consumer.unsettled[self]
        return consumer


class EmbeddedQueue:
    """The messages of one service and tier that wait, and the consumers that take them by turns."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.limit = 0
        self.consumers: deque[EmbeddedConsumer] = deque()
        self._clock = clock
        self._ready: deque[EmbeddedDelivery] = deque()
        self._positions = count()

    def offer(self, envelope: Envelope) -> bool:
        """Take a new message, unless as many as the limit wait already."""
        if len(self._ready) >= self.limit:
            self._drop_expired()
            if len(self._ready) >= self.limit:
                return False
        self.put(envelope)
        self.match()
        return True

    def put(self, envelope: Envelope) -> None:
        """At the end, whatever the limit: it was accepted once."""
        self._ready.append(EmbeddedDelivery(envelope, next(self._positions)))

    def put_back(self, delivery: EmbeddedDelivery) -> None:
        """Where it was; RabbitMQ keeps the order of what comes back too."""
        copy = EmbeddedDelivery(
            delivery.envelope, delivery.position, delivery.taken or delivery.redelivered
        )
        insort(self._ready, copy, key=_position)

    def match(self) -> None:
        """Hand out what can be: afterwards nothing waits, or no consumer has room."""
        while self._ready and (consumer := self._next_with_room()):
            self._drop_expired()
            if self._ready:
                consumer.accept(self._ready.popleft())

    def _next_with_room(self) -> "EmbeddedConsumer | None":
        consumers = self.consumers
        for _ in range(len(consumers)):
            consumer = consumers[0]
            consumers.rotate(-1)
            if len(consumer.unsettled) < consumer.prefetch:
                return consumer
        return None

    def _drop_expired(self) -> None:
        ready = self._ready
        now = self._clock()
        while ready and ready[0].envelope.deadline <= now:
            ready.popleft()


class EmbeddedConsumer:
    """A subscription of one client to one queue."""

    def __init__(
        self,
        queue: EmbeddedQueue,
        prefetch: int,
        on_delivery: OnDelivery,
        on_dead_letter: Callable[[DeadLetter], None],
        callbacks: Callbacks,
    ) -> None:
        self.queue = queue
        self.prefetch = prefetch
        self.on_dead_letter = on_dead_letter
        self.unsettled: dict[EmbeddedDelivery, None] = {}  # in the order of delivery
        self._on_delivery = on_delivery
        self._callbacks = callbacks
        queue.consumers.append(self)
        queue.match()

    @property
    def done(self) -> bool:
        """Cancelled, with nothing left to settle."""
        return self not in self.queue.consumers and not self.unsettled

    def accept(self, delivery: EmbeddedDelivery) -> None:
        """Take the delivery in; ``on_delivery`` hears of it from the event loop."""
        delivery.consumer = self
        self.unsettled[delivery] = None
        self._callbacks.soon(self._deliver, delivery)

    async def cancel(self) -> None:
        """Take no more; what was delivered already can still be settled."""
        if self in self.queue.consumers:
            self.queue.consumers.remove(self)
            self._return([delivery for delivery in self.unsettled if not delivery.taken])

    def close(self) -> None:
        """Its client is gone: so is the subscription, and all that is unsettled goes back."""
        if self in self.queue.consumers:
            self.queue.consumers.remove(self)
        self._return(list(self.unsettled))

    def _deliver(self, delivery: EmbeddedDelivery) -> None:
        if delivery.consumer is not None:  # else it went back before its turn
            delivery.taken = True
            self._on_delivery(delivery)

    def _return(self, deliveries: list[EmbeddedDelivery]) -> None:
        # The last first, so that each comes to the front of the queue, where inserting is cheap.
        for delivery in reversed(deliveries):
            delivery.consumer = None
            del self.unsettled[delivery]
            self.queue.put_back(delivery)
        self.queue.match()
