"""What a carrier of messages must do, whichever it is.

Callbacks, not coroutines, on the path of every message: a task or a future per message would cost
more than the hop itself. Every callback runs on the event loop, never inside the call that caused
it.
"""

from collections.abc import Callable, Collection, Sequence
from enum import Enum, auto
from typing import Protocol, Self

from broker.events import Event, Kind
from broker.messages import Envelope, Reply
from broker.topology import RequestQueue


class Published(Enum):
    """How publishing ended."""

    ACCEPTED = auto()  # the broker has it
    QUEUE_FULL = auto()  # refused: the queue is at its limit
    UNROUTABLE = auto()  # no queue for this service and tier
    TOO_LARGE = auto()  # never sent: larger than what the broker takes
    UNAVAILABLE = auto()  # never sent: no connection, blocked, or its buffer is full
    LOST = auto()  # sent, but the connection ended or the time ran out before the broker's word


class MessageTooLarge(ValueError):
    """The broker would take no message of this size; it was not sent."""


class ConnectionState(Enum):
    """Whether messages can pass."""

    CONNECTED = auto()
    BLOCKED = auto()  # connected, but the broker takes no messages (memory or disk alarm)
    DISCONNECTED = auto()


class Delivery(Protocol):
    """One message in the hands of its consumer, to be settled once.

    Settling a delivery whose connection is gone does nothing: the broker has taken it back already.
    """

    @property
    def envelope(self) -> Envelope:
        """The message."""

    @property
    def redelivered(self) -> bool:
        """Whether an earlier delivery of this copy may have been taken by somebody."""

    def ack(self) -> None:
        """Done with: the broker forgets it."""

    def give_back(self) -> None:
        """Not started: back into its queue, for others.

        It goes to the end as a fresh copy, so that nobody has to doubt whether it was executed, or
        count it as lost. Only what the broker takes no copy of, being full or blocked, goes to the
        front and counts as redelivered.
        """

    def retry(self) -> None:
        """Once more, as a fresh copy with ``attempt`` raised by one, at the end of its queue."""

    def dead_letter(self, reason: str) -> None:
        """Into the dead-letter queue, with the reason; forgotten only once it is there."""


class Consumer(Protocol):
    """A running subscription."""

    async def cancel(self) -> None:
        """Take no more; what was delivered already can still be settled."""


OnPublished = Callable[[Published], None]
OnDelivery = Callable[[Delivery], None]
OnReply = Callable[[Reply], None]
OnEvent = Callable[[Event], None]
OnLeading = Callable[[bool], None]
OnState = Callable[[ConnectionState], None]


class Broker(Protocol):
    """Carries envelopes to dispatchers and replies home.

    An async context manager. Entering starts it without waiting for the broker; ``connected``
    waits. What was declared and subscribed is declared and subscribed again after each reconnect.
    ``max_message``, in bytes, is what requests and replies are measured by before they are sent;
    it may be set at any time. A broker that is sent more ends the connection.
    """

    max_message: int

    async def __aenter__(self) -> Self:
        """Start connecting."""

    async def __aexit__(self, *exc_info: object) -> None:
        """Cancel what runs, wait for the copies under way, flush what was settled, disconnect."""

    @property
    def state(self) -> ConnectionState:
        """Now."""

    def watch(self, on_state: OnState) -> None:
        """Hear of each change of ``state``."""

    async def connected(self) -> None:
        """Return once the state is CONNECTED and all that was declared and subscribed stands."""

    async def declare(self, queues: Sequence[RequestQueue]) -> None:
        """See to it that the request queues exist, now (if connected) and after each reconnect."""

    def publish(self, envelope: Envelope, on_published: OnPublished) -> None:
        """Send a request to the queue of its service and tier; it expires there at its deadline.

        Calls ``on_published`` exactly once, within the carrier's publish timeout. A large message
        may wait as long again for its turn to leave, and others may overtake it meanwhile.
        """

    async def consume(
        self, queue: RequestQueue, prefetch: int, on_delivery: OnDelivery
    ) -> Consumer:
        """Deliver from the queue, at most ``prefetch`` unsettled at a time, oldest first."""

    async def receive_replies(self, node: str, on_reply: OnReply) -> None:
        """Deliver the replies that are sent to this ingress node's reply queue."""

    def reply(self, to: str, reply: Reply, deadline: float) -> None:
        """Send a reply; dropped and counted when its queue is gone or its deadline has passed.

        ``to`` is the queue's name, ``topology.reply_queue(node)``, as ``Envelope.reply_to`` has it.
        Sent before an ``ack`` that follows on the same broker, so that no reply is lost to it.
        Raises MessageTooLarge.
        """

    def publish_event(self, event: Event) -> None:
        """Tell all who subscribed to its kind, this broker among them; at most once.

        Whoever is not connected now never hears of it, nor does anybody while this broker is not.
        Events of one broker come in the order of the calls.
        """

    async def subscribe(self, kinds: Collection[Kind], on_event: OnEvent) -> None:
        """Deliver events of these kinds from now on, and again after each reconnect.

        What was said before, or meanwhile, is gone: ask with ``StateWanted`` at each change of
        ``state`` to CONNECTED. A subscriber that falls far behind loses the oldest.
        """

    async def lead(self, task: str, on_leading: OnLeading) -> None:
        """Stand for a task that one broker leads in at a time; hear when this one does, and stops.

        When the leader leaves, or the carrier loses its connection, another follows within seconds.
        A leader that is cut off hears of it later than its follower may begin: what leaders do must
        bear being done twice.
        """


class BrokerListener:
    """Hears what happens inside a carrier; metrics override what they count."""

    def reply_dropped(self, to: str, reply_id: str) -> None:
        """A reply's queue is gone, or its deadline passed before it could be sent."""

    def dead_lettered(self, queue: str, reason: str) -> None:
        """A message went into the dead-letter queue."""

    def reconnected(self) -> None:
        """The connection was lost and stands again."""
