"""What becomes of a delivery."""

import pytest

from broker.contract import Broker, Delivery
from broker.messages import encode
from broker.topology import RequestQueue
from tests.conformance.carriers import (
    Carrier,
    Events,
    Inbox,
    envelope,
    publish_all,
    published,
)
from tests.conformance.conftest import Connect


async def test_acked_messages_are_gone(carrier: Carrier, connect: Connect, service: str) -> None:
    """What was acked does not come again, even when its consumer leaves."""
    queue = RequestQueue(service, "FREE", limit=10)
    inbox: Inbox[Delivery] = Inbox()
    async with carrier.broker() as leaving:
        await leaving.connected()
        await leaving.consume(queue, 5, inbox)
        await published(leaving, envelope(service))
        (await inbox.next()).ack()
    staying = await connect()
    await staying.consume(queue, 5, inbox)
    fresh = envelope(service)
    await published(staying, fresh)
    assert (await inbox.next()).envelope.id == fresh.id


async def test_unsettled_messages_outlive_their_consumer(
    carrier: Carrier, connect: Connect, service: str
) -> None:
    """What a leaving broker had not settled goes to another, in order and marked; once."""
    queue = RequestQueue(service, "FREE", limit=10)
    inbox: Inbox[Delivery] = Inbox()
    messages = [envelope(service) for _ in range(3)]
    async with carrier.broker() as leaving:
        await leaving.connected()
        await leaving.consume(queue, 5, inbox)
        await publish_all(leaving, messages)
        orphans = await inbox.take(3)
    staying = await connect()
    await staying.consume(queue, 5, inbox)
    again = await inbox.take(3)
    assert [d.envelope for d in again] == messages
    assert all(d.redelivered for d in again)

    for orphan in orphans:  # settling what is not theirs any more does nothing
        orphan.retry()
    fresh = envelope(service)
    await published(staying, fresh)
    assert (await inbox.next()).envelope.id == fresh.id


async def test_retry_is_a_fresh_copy_at_the_end(broker: Broker, queue: RequestQueue) -> None:
    """A retried message comes after those that waited, with its attempt raised by one."""
    first, second = envelope(queue.service), envelope(queue.service)
    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 1, inbox)
    await publish_all(broker, [first, second])
    (await inbox.next()).retry()
    other = await inbox.next()
    other.ack()
    again = await inbox.next()
    assert other.envelope.id == second.id
    assert (again.envelope.id, again.envelope.attempt) == (first.id, 2)
    assert not again.redelivered
    again.retry()
    assert (await inbox.next()).envelope.attempt == 3


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_message_given_back_is_a_fresh_copy(
    broker: Broker, queue: RequestQueue, idempotent: bool
) -> None:
    """It goes to the end, its attempt unchanged, without the mark: nobody has to doubt."""
    messages = [envelope(queue.service, idempotent=idempotent) for _ in range(2)]
    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 1, inbox)
    await publish_all(broker, messages)
    (await inbox.next()).give_back()
    (await inbox.next()).ack()
    again = await inbox.next()
    assert again.envelope == messages[0]
    assert not again.redelivered


@pytest.mark.parametrize("idempotent", [True, False])
async def test_who_leaves_has_given_back(
    carrier: Carrier, connect: Connect, service: str, idempotent: bool
) -> None:
    """What a broker gives back as it leaves goes to another once, and without the mark."""
    queue = RequestQueue(service, "FREE", limit=100)
    inbox: Inbox[Delivery] = Inbox()
    messages = [envelope(service, idempotent=idempotent) for _ in range(50)]
    async with carrier.broker() as leaving:
        await leaving.connected()
        consumer = await leaving.consume(queue, 50, inbox)
        await publish_all(leaving, messages)
        given_back = await inbox.take(50)
        await consumer.cancel()
        for delivery in given_back:
            delivery.give_back()
    staying = await connect()
    await staying.consume(queue, 100, inbox)
    last = envelope(service)
    await published(staying, last)
    again = await inbox.take(51)
    assert [d.envelope for d in again] == [*messages, last]
    assert not any(d.redelivered for d in again)


async def test_messages_given_back_keep_their_order(
    connect: Connect, broker: Broker, queue: RequestQueue
) -> None:
    """Several that a draining dispatcher gives back come after the rest, in the old order."""
    messages = [envelope(queue.service) for _ in range(4)]
    inbox: Inbox[Delivery] = Inbox()
    consumer = await broker.consume(queue, 3, inbox)
    await publish_all(broker, messages)
    deliveries = await inbox.take(3)
    await consumer.cancel()
    for delivery in deliveries:
        delivery.give_back()
    await broker.consume(queue, 10, inbox)
    expected = [messages[3], *messages[:3]]
    assert [d.envelope for d in await inbox.take(4)] == expected


@pytest.mark.parametrize("first", ["ack", "give_back", "retry", "dead_letter"])
async def test_a_delivery_is_settled_once(broker: Broker, queue: RequestQueue, first: str) -> None:
    """Only the first settlement counts."""
    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 5, inbox)
    await published(broker, envelope(queue.service))
    delivery = await inbox.next()
    getattr(delivery, first)(*["broken"] * (first == "dead_letter"))
    delivery.retry()
    delivery.give_back()
    delivery.dead_letter("late")
    delivery.ack()
    if first in ("give_back", "retry"):
        (await inbox.next()).ack()
    last = envelope(queue.service)
    await published(broker, last)
    assert (await inbox.next()).envelope.id == last.id


async def test_dead_letters_keep_their_reason(
    carrier: Carrier, connect: Connect, service: str
) -> None:
    """A dead-lettered message is in the dead-letter queue, with the reason, and was counted."""
    events = Events()
    broker = await connect(events)
    queue = RequestQueue(service, "FREE", limit=10)
    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 1, inbox)
    bad, good = envelope(service, body=b"bad"), envelope(service)
    reason = f"crashed three dispatchers of {service}"
    await publish_all(broker, [bad, good])
    (await inbox.next()).dead_letter(reason)
    assert await events.dead_letters.next() == (queue.name, reason)
    assert (await inbox.next()).envelope.id == good.id  # its place is free again
    assert await carrier.dead_letter(reason) == encode(bad)
