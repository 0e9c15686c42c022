"""Who gets what, and how much at a time."""

import asyncio

from broker.contract import Broker, ConnectionState, Delivery, Published
from broker.topology import RequestQueue
from tests.conformance.carriers import (
    WITHIN,
    Carrier,
    Inbox,
    envelope,
    publish_all,
    published,
)
from tests.conformance.conftest import Connect


async def test_prefetch_bounds_what_is_unsettled(
    connect: Connect, broker: Broker, queue: RequestQueue
) -> None:
    """A consumer has its prefetch and no more; the rest waits for others."""
    messages = [envelope(queue.service) for _ in range(5)]
    one: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 2, one)
    await publish_all(broker, messages)
    first, _ = await one.take(2)

    other: Inbox[Delivery] = Inbox()
    await (await connect()).consume(queue, 2, other)
    assert [d.envelope.id for d in await other.take(2)] == [m.id for m in messages[2:4]]
    assert one.waiting == 0
    first.ack()
    assert (await one.next()).envelope.id == messages[4].id


async def test_consumers_share_a_queue(
    connect: Connect, broker: Broker, queue: RequestQueue
) -> None:
    """Two dispatchers of one queue both work, and no message goes to both."""
    taken: Inbox[tuple[str, str]] = Inbox()
    other = await connect()
    await broker.consume(queue, 50, lambda delivery: taken(("one", delivery.envelope.id)))
    await other.consume(queue, 50, lambda delivery: taken(("other", delivery.envelope.id)))
    messages = [envelope(queue.service) for _ in range(40)]
    await publish_all(broker, messages)
    who, ids = zip(*await taken.take(40), strict=True)
    assert sorted(ids) == sorted(message.id for message in messages)
    assert set(who) == {"one", "other"}


async def test_a_cancelled_consumer_gets_no_more(broker: Broker, queue: RequestQueue) -> None:
    """After ``cancel`` messages wait for others; what was delivered can still be settled."""
    cancelled: Inbox[Delivery] = Inbox()
    consumer = await broker.consume(queue, 5, cancelled)
    await published(broker, envelope(queue.service))
    delivery = await cancelled.next()
    await consumer.cancel()
    waiting = envelope(queue.service)
    assert await published(broker, waiting) is Published.ACCEPTED

    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 5, inbox)
    assert (await inbox.next()).envelope.id == waiting.id
    delivery.retry()
    assert (await inbox.next()).envelope.attempt == 2
    assert cancelled.waiting == 0


async def test_a_prefetch_is_changed_by_another_consumer(
    broker: Broker, queue: RequestQueue
) -> None:
    """A second consumer of the same queue, and the first one cancelled: each message comes once."""
    messages = [envelope(queue.service) for _ in range(8)]
    inbox: Inbox[Delivery] = Inbox()
    first = await broker.consume(queue, 2, inbox)
    await publish_all(broker, messages)
    deliveries = await inbox.take(2)

    await broker.consume(queue, 4, inbox)
    await first.cancel()

    deliveries += await inbox.take(4)
    for delivery in deliveries:
        delivery.ack()
    deliveries += await inbox.take(2)
    assert sorted(d.envelope.id for d in deliveries) == sorted(m.id for m in messages)
    assert not any(delivery.redelivered for delivery in deliveries)


async def test_cancelling_twice_is_harmless(broker: Broker, queue: RequestQueue) -> None:
    """A second ``cancel`` does nothing."""
    consumer = await broker.consume(queue, 5, Inbox[Delivery]())
    await consumer.cancel()
    await consumer.cancel()
    assert await published(broker, envelope(queue.service)) is Published.ACCEPTED


async def test_subscribing_does_not_wait_for_the_connection(carrier: Carrier, service: str) -> None:
    """What was declared and subscribed while connecting stands once ``connected`` returns."""
    queue = RequestQueue(service, "FREE", limit=10)
    inbox: Inbox[Delivery] = Inbox()
    async with carrier.broker() as broker:
        await broker.declare([queue])
        await broker.consume(queue, 5, inbox)
        await asyncio.wait_for(broker.connected(), WITHIN)
        assert broker.state is ConnectionState.CONNECTED
        assert await published(broker, envelope(service)) is Published.ACCEPTED
        await inbox.next()


async def test_the_state_is_told(carrier: Carrier) -> None:
    """Those who watch hear of CONNECTED, and of DISCONNECTED when the broker is left."""
    states: Inbox[ConnectionState] = Inbox()
    broker = carrier.broker()
    assert broker.state is ConnectionState.DISCONNECTED
    broker.watch(states)
    async with broker:
        assert await states.next() is ConnectionState.CONNECTED
    assert await states.next() is ConnectionState.DISCONNECTED
    assert broker.state is ConnectionState.DISCONNECTED
