"""The embedded carrier, beyond what the conformance suite shows of all carriers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from broker.contract import BrokerListener, Delivery, Published
from broker.embedded import EmbeddedBroker, EmbeddedServer
from broker.embedded_queue import EmbeddedDelivery
from broker.messages import Envelope, Reply
from broker.topology import DEAD_LETTER_LIMIT, RequestQueue, reply_queue

QUEUE = RequestQueue("users", "FREE", limit=3)


class Clock:
    """Time as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Events(BrokerListener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def reply_dropped(self, to: str, reply_id: str) -> None:
        self.heard.append((to, reply_id))

    def dead_lettered(self, queue: str, reason: str) -> None:
        self.heard.append((queue, reason))


def message(number: int = 0, **changes: Any) -> Envelope:
    """A request that expires at 1060, one minute after the clock's start."""
    fields: dict[str, Any] = {
        "id": str(number),
        "route": "r",
        "service": "users",
        "tier": "FREE",
        "method": "GET",
        "path": "/",
        "target": "/",
        "headers": (),
        "body": b"",
        "principal": None,
        "deadline": 1060.0,
        "idempotent": True,
        "reply_to": reply_queue("n1"),
        "published_at": 1000.0,
    }
    return Envelope(**(fields | changes))


async def turns(number: int = 3) -> None:
    """Let the event loop turn; callbacks that were due have run then."""
    for _ in range(number):
        await asyncio.sleep(0)


def ids(deliveries: list[Delivery]) -> list[str]:
    """Of the envelopes."""
    return [delivery.envelope.id for delivery in deliveries]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def broker(clock: Clock) -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker(clock=clock) as broker:
        await broker.declare([QUEUE])
        yield broker


async def test_messages_pass_by_reference(broker: EmbeddedBroker) -> None:
    """Nothing is encoded: the very envelope and reply arrive."""
    deliveries: list[Delivery] = []
    replies: list[Reply] = []
    await broker.consume(QUEUE, 1, deliveries.append)
    await broker.receive_replies("n1", replies.append)
    sent, answer = message(), Reply(id="0")
    broker.publish(sent, lambda outcome: None)
    broker.reply(reply_queue("n1"), answer, 1060.0)
    await turns()
    assert deliveries[0].envelope is sent
    assert replies == [answer]
    assert replies[0] is answer


async def test_no_callback_runs_inside_the_call_that_caused_it(broker: EmbeddedBroker) -> None:
    """Neither publishing, nor consuming, nor settling, nor replying calls anybody back at once."""
    heard: list[object] = []
    broker.publish(message(1), heard.append)
    broker.publish(message(2), heard.append)
    await broker.consume(QUEUE, 1, heard.append)
    await broker.receive_replies("n1", heard.append)
    broker.reply(reply_queue("n1"), Reply(id="0"), 1060.0)
    assert heard == []
    await turns()
    assert len(heard) == 4
    [delivery] = [item for item in heard if isinstance(item, EmbeddedDelivery)]
    delivery.ack()
    assert len(heard) == 4
    await turns()
    assert len(heard) == 5


async def test_many_callbacks_do_not_hold_the_loop(broker: EmbeddedBroker) -> None:
    """A flood is spread over turns, so that others get the loop in between; none is lost."""
    ended: list[Published] = []
    for _ in range(2000):
        broker.publish(message(), ended.append)
    await turns(1)
    assert 0 < len(ended) < 2000
    await turns(20)
    assert ended.count(Published.ACCEPTED) == 3
    assert ended.count(Published.QUEUE_FULL) == 1997


async def test_a_failing_callback_harms_no_other(broker: EmbeddedBroker) -> None:
    """Its error goes to the loop's handler, and the callbacks behind it still run."""
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))
    ended: list[Published] = []

    def fail(outcome: Published) -> None:
        raise RuntimeError("a bug")

    broker.publish(message(), fail)
    broker.publish(message(), ended.append)
    await turns()
    assert [str(context["exception"]) for context in errors] == ["a bug"]
    assert ended == [Published.ACCEPTED]


async def test_the_limit_counts_what_waits_only(broker: EmbeddedBroker) -> None:
    """Messages in the hands of a consumer take no room in the queue."""
    deliveries: list[Delivery] = []
    await broker.consume(QUEUE, 2, deliveries.append)
    ended: list[Published] = []
    for number in range(6):
        broker.publish(message(number), ended.append)
    await turns()
    assert ended == [Published.ACCEPTED] * 5 + [Published.QUEUE_FULL]
    assert ids(deliveries) == ["0", "1"]


async def test_what_was_accepted_comes_back_whatever_the_limit(broker: EmbeddedBroker) -> None:
    """A full queue still takes what is given back or retried."""
    deliveries: list[Delivery] = []
    consumer = await broker.consume(QUEUE, 3, deliveries.append)
    for number in range(6):
        broker.publish(message(number, idempotent=number != 1), lambda outcome: None)
    await turns()
    await consumer.cancel()
    deliveries[0].give_back()
    deliveries[1].give_back()
    deliveries[2].retry()
    again: list[Delivery] = []
    await broker.consume(QUEUE, 10, again.append)
    await turns()
    assert ids(again) == ["3", "4", "5", "0", "1", "2"]


async def test_messages_expire_at_their_deadline(broker: EmbeddedBroker, clock: Clock) -> None:
    """At the deadline itself a message is not delivered any more; a moment before, it is."""
    for number, deadline in enumerate([1010.0, 1010.1, 1020.0]):
        broker.publish(message(number, deadline=deadline), lambda outcome: None)
    clock.now = 1010.0
    deliveries: list[Delivery] = []
    await broker.consume(QUEUE, 1, deliveries.append)
    await turns()
    assert ids(deliveries) == ["1"]
    clock.now = 1020.0
    deliveries[0].ack()
    await turns()
    assert ids(deliveries) == ["1"]


async def test_a_late_message_is_not_delivered_again(broker: EmbeddedBroker, clock: Clock) -> None:
    """One that is given back or retried after its deadline is dropped."""
    deliveries: list[Delivery] = []
    await broker.consume(QUEUE, 2, deliveries.append)
    broker.publish(message(1), lambda outcome: None)
    broker.publish(message(2), lambda outcome: None)
    await turns()
    clock.now = 1060.0
    deliveries[0].give_back()
    deliveries[1].retry()
    await turns()
    assert ids(deliveries) == ["1", "2"]


async def test_consumers_take_turns(broker: EmbeddedBroker) -> None:
    """Each message goes to the next consumer that has room."""
    one: list[Delivery] = []
    other: list[Delivery] = []
    await broker.consume(QUEUE, 10, one.append)
    await broker.consume(QUEUE, 2, other.append)
    for number in range(6):
        broker.publish(message(number), lambda outcome: None)
    await turns()
    assert ids(one) == ["0", "2", "4", "5"]
    assert ids(other) == ["1", "3"]


async def test_a_message_not_yet_seen_leaves_a_cancelled_consumer(broker: EmbeddedBroker) -> None:
    """What was on its way to it goes to another, in order and without the mark."""
    cancelled: list[Delivery] = []
    consumer = await broker.consume(QUEUE, 5, cancelled.append)
    for number in range(3):
        broker.publish(message(number), lambda outcome: None)
    await consumer.cancel()
    deliveries: list[Delivery] = []
    await broker.consume(QUEUE, 5, deliveries.append)
    await turns()
    assert cancelled == []
    assert ids(deliveries) == ["0", "1", "2"]
    assert not any(delivery.redelivered for delivery in deliveries)


async def test_a_message_keeps_its_mark_through_an_unseen_delivery(clock: Clock) -> None:
    """Once redelivered, it stays marked, though the next consumer never saw it."""
    server = EmbeddedServer(clock)
    deliveries: list[Delivery] = []
    async with EmbeddedBroker(server=server) as last:
        async with EmbeddedBroker(server=server) as first:
            await first.consume(QUEUE, 1, deliveries.append)
            first.publish(message(), lambda outcome: None)
            await turns()
        async with EmbeddedBroker(server=server) as second:
            await second.consume(QUEUE, 1, deliveries.append)
        await last.consume(QUEUE, 1, deliveries.append)
        await turns()
    assert [delivery.redelivered for delivery in deliveries] == [False, True]


async def test_a_closed_broker_takes_and_gives_nothing(clock: Clock) -> None:
    """Its consumers and reply queues are gone, for other brokers of the server too."""
    server = EmbeddedServer(clock)
    events = Events()
    replies: list[Reply] = []
    async with EmbeddedBroker(server=server, listener=events) as staying:
        async with EmbeddedBroker(server=server) as leaving:
            await leaving.receive_replies("n1", replies.append)
        staying.reply(reply_queue("n1"), Reply(id="late"), 1060.0)
        await turns()
    staying.reply(reply_queue("n1"), Reply(id="closed"), 1060.0)
    await turns()
    assert replies == []
    assert events.heard == [(reply_queue("n1"), "late"), (reply_queue("n1"), "closed")]


async def test_leaving_ends_every_subscription(clock: Clock) -> None:
    """Of several consumers none stays behind, nor what a cancelled one had not settled."""
    server = EmbeddedServer(clock)
    seen: list[Delivery] = []
    deliveries: list[Delivery] = []
    async with EmbeddedBroker(server=server) as staying:
        async with EmbeddedBroker(server=server) as leaving:
            cancelled = await leaving.consume(QUEUE, 1, seen.append)
            leaving.publish(message(1), lambda outcome: None)
            await turns()
            await cancelled.cancel()
            await leaving.consume(QUEUE, 1, seen.append)
            await leaving.consume(QUEUE, 1, seen.append)
        staying.publish(message(2), lambda outcome: None)
        await turns()
        await staying.consume(QUEUE, 5, deliveries.append)
        await turns()
    assert ids(seen) == ["1"]
    assert ids(deliveries) == ["1", "2"]


async def test_dead_letters_can_be_looked_into(clock: Clock) -> None:
    """Each is kept with its queue and reason, and counted."""
    events = Events()
    async with EmbeddedBroker(clock=clock, listener=events) as broker:
        await broker.consume(QUEUE, 1, lambda delivery: delivery.dead_letter("poison"))
        await broker.receive_replies("n1", lambda reply: None)
        broker.publish(message(7), lambda outcome: None)
        await turns()
        (letter,) = broker.dead_letters
    assert (letter.envelope.id, letter.queue, letter.reason) == ("7", QUEUE.name, "poison")
    assert events.heard == [(QUEUE.name, "poison")]


async def test_dead_letters_are_bounded(broker: EmbeddedBroker) -> None:
    """Beyond the limit the oldest makes room, as at RabbitMQ."""
    await broker.consume(QUEUE, 1000, lambda delivery: delivery.dead_letter("poison"))
    for number in range(DEAD_LETTER_LIMIT + 5):
        broker.publish(message(number), lambda outcome: None)
        if number % 200 == 0:
            await turns(5)
    await turns(20)
    kept = broker.dead_letters
    assert len(kept) == DEAD_LETTER_LIMIT
    assert (kept[0].envelope.id, kept[-1].envelope.id) == ("5", str(DEAD_LETTER_LIMIT + 4))


async def test_cancelled_consumers_are_forgotten(broker: EmbeddedBroker) -> None:
    """Subscribing and cancelling again and again leaves nothing behind."""
    for _ in range(50):
        consumer = await broker.consume(QUEUE, 1, lambda delivery: None)
        await consumer.cancel()
    await broker.consume(QUEUE, 1, lambda delivery: None)
    assert len(broker._consumers) == 1


async def test_the_last_declared_limit_counts(broker: EmbeddedBroker) -> None:
    """A changed limit holds for what is published from then on."""
    await broker.declare([RequestQueue("users", "FREE", limit=1)])
    ended: list[Published] = []
    broker.publish(message(1), ended.append)
    broker.publish(message(2), ended.append)
    await turns()
    assert ended == [Published.ACCEPTED, Published.QUEUE_FULL]
