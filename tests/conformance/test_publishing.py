"""How publishing ends, and what waits in a queue."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from broker.contract import Broker, ConnectionState, Delivery, Published
from broker.messages import Envelope
from broker.topology import RequestQueue
from tests.conformance.carriers import (
    Carrier,
    Inbox,
    envelope,
    pass_time_until,
    publish_all,
    published,
)


async def test_messages_come_in_the_order_of_their_publishing(
    broker: Broker, queue: RequestQueue
) -> None:
    """A queue is first in, first out."""
    messages = [envelope(queue.service) for _ in range(50)]
    assert await publish_all(broker, messages) == [Published.ACCEPTED] * 50
    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 100, inbox)
    assert [d.envelope.id for d in await inbox.take(50)] == [m.id for m in messages]


async def test_an_envelope_arrives_as_it_was(broker: Broker, queue: RequestQueue) -> None:
    """Every field survives the journey, and a first delivery is not marked as redelivered."""
    message = envelope(
        queue.service,
        headers=((b"Set-Cookie", b"a=1"), (b"x-a", b"\xff"), (b"Set-Cookie", b"b=2")),
        body=b"\x00\x01\xfe\xff",
    )
    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 1, inbox)
    assert await published(broker, message) is Published.ACCEPTED
    delivery = await inbox.next()
    assert delivery.envelope == message
    assert not delivery.redelivered


async def test_a_message_larger_than_the_limit(broker: Broker, queue: RequestQueue) -> None:
    """It is refused before it is sent; what fits passes, and the limit may change at any time."""
    broker.max_message = 100_000
    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 10, inbox)
    large, small = (envelope(queue.service, body=bytes(size)) for size in (100_001, 99_000))
    outcomes = [await published(broker, message) for message in (large, small)]
    assert outcomes == [Published.TOO_LARGE, Published.ACCEPTED]
    broker.max_message = 101_000
    assert await published(broker, large) is Published.ACCEPTED
    assert [d.envelope.id for d in await inbox.take(2)] == [small.id, large.id]
    assert broker.state is ConnectionState.CONNECTED


async def test_large_messages_keep_no_other_from_being_sent(
    broker: Broker, queue: RequestQueue
) -> None:
    """While they leave, however many come at once, the connection takes what comes after them."""
    ended: Inbox[Published] = Inbox()
    for _ in range(3):
        broker.publish(envelope(queue.service, body=bytes(15 * 1024**2)), ended)
    for _ in range(3):  # turns of the loop: the socket has been given all that it may have
        await asyncio.sleep(0)
    broker.publish(envelope(queue.service, body=b"x"), ended)
    assert await ended.take(4) == [Published.ACCEPTED] * 4


async def test_a_full_queue_refuses_all_beyond_its_limit(broker: Broker, service: str) -> None:
    """Of a burst as many are accepted as fit, the others are refused; the accepted all arrive."""
    queue = RequestQueue(service, "FREE", limit=10)
    await broker.declare([queue])
    messages = [envelope(service) for _ in range(40)]
    ended: Inbox[tuple[str, Published]] = Inbox()

    def end(id_: str) -> Callable[[Published], None]:
        return lambda outcome: ended((id_, outcome))

    for message in messages:
        broker.publish(message, end(message.id))
    outcomes = dict(await ended.take(40))
    accepted = [m.id for m in messages if outcomes[m.id] is Published.ACCEPTED]
    assert Counter(outcomes.values()) == {Published.ACCEPTED: 10, Published.QUEUE_FULL: 30}

    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 20, inbox)
    assert [d.envelope.id for d in await inbox.take(10)] == accepted
    last = envelope(service)
    assert await published(broker, last) is Published.ACCEPTED
    assert (await inbox.next()).envelope.id == last.id  # no refused one in between


async def test_each_tier_has_a_queue_of_its_own(broker: Broker, service: str) -> None:
    """A full FREE queue refuses while ENTERPRISE accepts, and each delivers only its own."""
    free = RequestQueue(service, "FREE", limit=1)
    enterprise = RequestQueue(service, "ENTERPRISE", limit=1)
    await broker.declare([free, enterprise])
    cheap, dear = envelope(service, "FREE"), envelope(service, "ENTERPRISE")
    assert await published(broker, cheap) is Published.ACCEPTED
    assert await published(broker, envelope(service, "FREE")) is Published.QUEUE_FULL
    assert await published(broker, dear) is Published.ACCEPTED
    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(enterprise, 5, inbox)
    assert (await inbox.next()).envelope.id == dear.id
    await broker.consume(free, 5, inbox)
    assert (await inbox.next()).envelope.id == cheap.id


async def test_without_a_queue_a_message_is_unroutable(broker: Broker, queue: RequestQueue) -> None:
    """A service, or a tier of a service, that nobody declared is told from a full queue."""
    assert await published(broker, envelope("nobody-" + queue.service)) is Published.UNROUTABLE
    assert await published(broker, envelope(queue.service, "GOLD")) is Published.UNROUTABLE
    assert await published(broker, envelope(queue.service)) is Published.ACCEPTED


async def test_what_is_declared_again_stays(broker: Broker, queue: RequestQueue) -> None:
    """Declaring an existing queue keeps its messages."""
    message = envelope(queue.service)
    await published(broker, message)
    await broker.declare([queue])
    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 1, inbox)
    assert (await inbox.next()).envelope.id == message.id


async def test_expired_messages_are_not_delivered(broker: Broker, queue: RequestQueue) -> None:
    """A message whose deadline passed in the queue is skipped; the one behind it arrives."""
    deadline = time.time() + 0.3
    alive = envelope(queue.service)
    await publish_all(broker, [envelope(queue.service, deadline=deadline), alive])
    await pass_time_until(deadline)
    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 5, inbox)
    assert (await inbox.next()).envelope.id == alive.id


async def test_messages_expire_while_their_consumer_is_busy(
    broker: Broker, queue: RequestQueue
) -> None:
    """A message whose deadline passes behind an unsettled one is skipped too."""
    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 1, inbox)
    deadline = time.time() + 0.3
    alive = envelope(queue.service)
    await publish_all(
        broker, [envelope(queue.service), envelope(queue.service, deadline=deadline), alive]
    )
    first = await inbox.next()
    await pass_time_until(deadline)
    first.ack()
    assert (await inbox.next()).envelope.id == alive.id


async def test_expired_messages_make_room(broker: Broker, service: str) -> None:
    """A queue full of expired messages accepts new ones, without any consumer."""
    queue = RequestQueue(service, "FREE", limit=2)
    await broker.declare([queue])
    deadline = time.time() + 0.3
    expiring = [envelope(service, deadline=deadline) for _ in range(2)]
    assert await publish_all(broker, expiring) == [Published.ACCEPTED] * 2
    assert await published(broker, envelope(service)) is Published.QUEUE_FULL
    await pass_time_until(deadline)
    assert await published(broker, envelope(service)) is Published.ACCEPTED


async def test_every_publish_ends_once_and_outside_of_the_call(
    broker: Broker, queue: RequestQueue
) -> None:
    """The callback of each of many publishes runs exactly once, never inside ``publish``."""
    calls: Counter[str] = Counter()
    inside = False
    all_ended: Inbox[None] = Inbox()

    def publish(message: Envelope) -> None:
        nonlocal inside

        def ended(outcome: Published) -> None:
            assert not inside
            calls[message.id] += 1
            all_ended(None)

        inside = True
        broker.publish(message, ended)
        inside = False

    messages = [envelope(queue.service) for _ in range(200)]
    for message in messages:
        publish(message)
    await all_ended.take(200)
    assert await published(broker, envelope(queue.service)) is Published.ACCEPTED
    assert calls == dict.fromkeys((m.id for m in messages), 1)


async def test_a_closed_broker_is_unavailable(carrier: Carrier, service: str) -> None:
    """Publishing to a broker that was left, or never entered, ends at once."""
    broker = carrier.broker()
    assert await published(broker, envelope(service)) is Published.UNAVAILABLE
    async with broker:
        await broker.connected()
    assert await published(broker, envelope(service)) is Published.UNAVAILABLE
